//! Row kernels, automorphisms and samplers at one degree that fits the second cache.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tacit_ring::{Automorphism, CpuPath, Eval, Modulus, Poly, kernel, ntt_primes, sampler};

const LOG_N: u32 = 13;
const N: usize = 1 << LOG_N;

/// A prime and six random rows.
fn setup(bits: u32) -> Option<(Modulus, Poly<Eval>)> {
    let m = Modulus::new(ntt_primes(LOG_N, bits, 1, &[]).ok()?[0]).ok()?;
    let mut poly = Poly::zeroed(N, 6);
    for (stream, row) in (0..).zip(poly.rows_mut()) {
        sampler::uniform(&[1; 32], stream, row, &m);
    }
    Some((m, poly))
}

fn rows(c: &mut Criterion) {
    let Some((m, poly)) = setup(50) else { return };
    let s = m.scalar(0x1_2345_6789);
    let weights = [3, 5, 7, 11, 13, 17];
    let Ok(automorphism) = Automorphism::new(LOG_N, 5) else {
        return;
    };
    let x = poly.rows_ref();
    let (mut first, mut second) = (Poly::<Eval>::zeroed(N, 1), Poly::<Eval>::zeroed(N, 1));
    let (out, other) = (first.row_mut(0), second.row_mut(0));
    let mut group = c.benchmark_group(format!("rows/2^{LOG_N}"));
    group.throughput(Throughput::Elements(N as u64));
    for path in CpuPath::all_available() {
        let id = |name: &str| BenchmarkId::new(name, path);
        group.bench_function(id("add"), |b| {
            b.iter(|| kernel::add(path, out, x[0], x[1], &m))
        });
        group.bench_function(id("mul"), |b| {
            b.iter(|| kernel::mul(path, out, x[0], x[1], &m))
        });
        group.bench_function(id("mul_scalar"), |b| {
            b.iter(|| kernel::mul_scalar(path, out, x[0], &s, &m))
        });
        group.bench_function(id("sub_mul_scalar"), |b| {
            b.iter(|| kernel::sub_mul_scalar(path, out, x[0], x[1], &s, &m));
        });
        group.bench_function(id("reduce"), |b| {
            b.iter(|| kernel::reduce(path, out, x[0], &m))
        });
        for terms in [1, 3, 6] {
            group.bench_function(id(&format!("weighted_sum_lazy, {terms} terms")), |b| {
                b.iter(|| {
                    kernel::weighted_sum_lazy(path, out, &x[..terms], &weights[..terms], 1, &m)
                });
            });
            group.bench_function(id(&format!("inner_product2, {terms} terms")), |b| {
                b.iter(|| {
                    kernel::inner_product2(
                        path,
                        out,
                        other,
                        &x[..terms],
                        &x[..terms],
                        &x[6 - terms..],
                        &m,
                    )
                });
            });
        }
        group.bench_function(id("automorphism"), |b| {
            b.iter(|| automorphism.apply_eval(path, out, x[0]))
        });
    }
    group.finish();
}

fn samplers(c: &mut Criterion) {
    let Some((m, mut poly)) = setup(50) else {
        return;
    };
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let mut small = vec![0i8; N];
    let mut group = c.benchmark_group(format!("samplers/2^{LOG_N}"));
    group.throughput(Throughput::Bytes(8 * N as u64));
    group.bench_function("uniform", |b| {
        b.iter(|| sampler::uniform(&[1; 32], 0, poly.row_mut(0), &m))
    });
    group.throughput(Throughput::Elements(N as u64));
    group.bench_function("ternary", |b| {
        b.iter(|| sampler::ternary(&mut rng, &mut small))
    });
    group.bench_function("gaussian", |b| {
        b.iter(|| sampler::gaussian(&mut rng, &mut small))
    });
    group.bench_function("lift_signed", |b| {
        b.iter(|| sampler::lift_signed(poly.row_mut(0), &small, &m))
    });
    group.finish();
}

criterion_group!(benches, rows, samplers);
criterion_main!(benches);
