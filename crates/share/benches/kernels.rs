//! Products, streams, bits and truncation at sizes that protocols use.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tacit_share::CpuPath;
use tacit_share::bits::{self, CarryTree};
use tacit_share::dcf::{self, Batch};
use tacit_share::gemm::{self, Multiplier, Shape, Term};
use tacit_share::prg::{Stream, ZeroSharing};
use tacit_share::trunc;
use tacit_team::Team;

fn words(n: usize) -> Vec<u64> {
    (0..n as u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i << 40)
        .collect()
}

fn products(c: &mut Criterion) {
    let team = Team::new(2).ok();
    for (rows, depth, columns) in [
        (1, 784, 128),
        (128, 784, 128),
        (256, 784, 128),
        (1024, 1024, 1024),
    ] {
        let shape = Shape {
            rows,
            depth,
            columns,
        };
        let (left, right) = (words(rows * depth), words(depth * columns));
        let mut out = words(rows * columns);
        let mut group = c.benchmark_group(format!("product/{rows}x{depth}x{columns}"));
        group.sample_size(10);
        group.throughput(Throughput::Elements((rows * depth * columns) as u64));
        let term = Term {
            left: &left,
            right: &right,
            plus: None,
        };
        for path in CpuPath::all_available() {
            for multiplier in [Multiplier::Whole, Multiplier::Fused52] {
                if path != CpuPath::Ifma && multiplier == Multiplier::Whole {
                    continue;
                }
                for (threads, team) in [(1, None), (2, team.as_ref())] {
                    let id = BenchmarkId::new(format!("{path} {multiplier:?}"), threads);
                    group.bench_function(id, |b| {
                        b.iter(|| {
                            gemm::matmul_add_by(path, multiplier, team, &mut out, shape, &[term]);
                        });
                    });
                }
            }
        }
    }
}

fn streams(c: &mut Criterion) {
    // In the second cache, and in memory.
    for n in [1 << 15, 1 << 23] {
        let mut out = words(n);
        let mut group = c.benchmark_group(format!("stream/{} kB", n >> 7));
        group.sample_size(10);
        group.throughput(Throughput::Bytes(8 * n as u64));
        for path in CpuPath::all_available() {
            // Each has one stream of one seed; it ends long after the measurement.
            let mut stream = Stream::new(path, &[1; 32], 0);
            group.bench_function(BenchmarkId::new("fill", path), |b| {
                b.iter(|| stream.fill(&mut out))
            });
            group.bench_function(BenchmarkId::new("add", path), |b| {
                b.iter(|| stream.add_to(&mut out))
            });
            let mut zero = ZeroSharing::new(path, &[1; 32], &[2; 32], 0);
            group.bench_function(BenchmarkId::new("zero", path), |b| {
                b.iter(|| zero.add_to(&mut out))
            });
        }
    }
}

fn elementwise(c: &mut Criterion) {
    let n = 1 << 16;
    let (x, mut out) = (words(n), words(n));
    let (mut planes, mut high) = (words(n), words(n));
    let mut group = c.benchmark_group(format!("numbers/{n}"));
    group.sample_size(10);
    group.throughput(Throughput::Elements(n as u64));
    for path in CpuPath::all_available() {
        let id = |name: &str| BenchmarkId::new(name, path);
        group.bench_function(id("to_planes"), |b| {
            b.iter(|| bits::to_planes(path, &mut planes, &x, None));
        });
        group.bench_function(id("from_planes"), |b| {
            b.iter(|| bits::from_planes(path, &mut out, &planes));
        });
        let mut zero = ZeroSharing::new(path, &[1; 32], &[2; 32], 0);
        // One party's side of all rounds; its own messages stand for what it receives.
        group.bench_function(id("carry tree"), |b| {
            let given = || ([x.clone(), x.clone()], [planes.clone(), planes.clone()]);
            let work = |(a, b)| {
                let mut tree = CarryTree::new(path, n, 64, a, b);
                while !tree.is_done() {
                    let message = &mut high[..tree.message_words()];
                    if tree.message(path, &mut zero, message).is_err() {
                        return None;
                    }
                    tree.receive(path, message, message);
                }
                Some(tree.finish(path))
            };
            b.iter_batched(given, work, BatchSize::LargeInput);
        });
        group.bench_function(id("quotient"), |b| {
            b.iter(|| trunc::quotient(path, &mut out, &x, &high, &planes, 18, true));
        });
    }
}

fn comparisons(c: &mut Criterion) {
    let n = 1 << 14;
    let (roots, alpha, flips) = (words(2 * n), words(n), words(n / 64));
    for bits in [15, 31, 63] {
        let batch = Batch {
            bits,
            prg_key: [7; 16],
        };
        let mut keys = words(dcf::key_words(bits, n));
        let mut out = words(n / 64);
        let mut group = c.benchmark_group(format!("comparison/{bits}"));
        group.sample_size(10);
        group.throughput(Throughput::Elements(n as u64));
        for path in CpuPath::all_available() {
            let id = |name: &str| BenchmarkId::new(name, path);
            group.bench_function(id("generate"), |b| {
                b.iter(|| {
                    dcf::generate(path, &batch, [&roots, &roots], &alpha, &flips, &mut keys);
                });
            });
            group.bench_function(id("evaluate"), |b| {
                b.iter(|| dcf::evaluate(path, &batch, true, &roots, &keys, &alpha, &mut out));
            });
        }
    }
}

criterion_group!(benches, products, streams, elementwise, comparisons);
criterion_main!(benches);
