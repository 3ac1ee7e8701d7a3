//! Number theoretic transforms: every path, every degree, a 45-bit and a 50-bit prime.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tacit_ring::{Coeff, CpuPath, Modulus, NttTable, Poly, ntt_primes, sampler};

fn transforms(c: &mut Criterion) {
    for (log_n, bits) in (12..=16).flat_map(|log_n| [45, 50].map(|bits| (log_n, bits))) {
        let n = 1 << log_n;
        let Ok(primes) = ntt_primes(log_n, bits, 1, &[]) else {
            continue;
        };
        let Ok(m) = Modulus::new(primes[0]) else {
            continue;
        };
        let Ok(table) = NttTable::new(log_n, &m) else {
            continue;
        };
        let mut poly = Poly::<Coeff>::zeroed(n, 1);
        let row = poly.row_mut(0);
        sampler::uniform(&[1; 32], 0, row, &m);
        let mut group = c.benchmark_group(format!("ntt/2^{log_n}/{bits} bits"));
        // Butterflies.
        group.throughput(Throughput::Elements(n as u64 / 2 * u64::from(log_n)));
        for path in CpuPath::all_available() {
            let id = |name| BenchmarkId::new(name, path);
            group.bench_function(id("forward"), |b| b.iter(|| table.forward(path, row)));
            group.bench_function(id("forward_lazy"), |b| {
                b.iter(|| table.forward_lazy(path, row))
            });
            sampler::uniform(&[1; 32], 0, row, &m);
            group.bench_function(id("inverse"), |b| b.iter(|| table.inverse(path, row)));
        }
        group.finish();
    }
}

criterion_group!(benches, transforms);
criterion_main!(benches);
