//! Key-switching operations at the shapes of docs/design/key-switching.md, 128-bit secure.
//!
//! `cargo bench -p tacit-ckks --bench keyswitch -- 2^14` runs one ring degree.
use criterion::{Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use tacit_ckks::{Evaluator, LinearMap, Parameters, ParametersLiteral, SecretKey, encode};
use tacit_ring::CpuPath;

/// log_n, (number, bits) of q, (number, bits) of p.
const SHAPES: [(u32, (usize, u32), (usize, u32)); 4] = [
    (13, (3, 50), (1, 50)),
    (14, (8, 38), (3, 41)),
    (15, (18, 36), (6, 36)),
    (16, (26, 50), (9, 49)),
];

const ROTATIONS: [i64; 6] = [1, 2, 3, 4, 8, 12];

fn operations(c: &mut Criterion) {
    for (log_n, q, p) in SHAPES {
        // One shape at a time: the keys of the largest take 1 GB.
        shape(c, log_n, q, p);
    }
}

fn shape(
    c: &mut Criterion,
    log_n: u32,
    (limbs, q_bits): (usize, u32),
    (alpha, p_bits): (usize, u32),
) {
    let name = format!("2^{log_n} L{limbs} K{alpha}");
    let mut group = c.benchmark_group(&name);
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    let literal = ParametersLiteral {
        log_n,
        log_q: vec![q_bits; limbs],
        log_p: vec![p_bits; alpha],
        log_scale: q_bits - 4,
    };
    let params = Parameters::from_literal(&literal, CpuPath::detect()).unwrap();
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let secret = SecretKey::generate(&params, &mut rng);
    let top = params.max_level();
    let galois: BTreeMap<u64, usize> = ROTATIONS
        .iter()
        .map(|&k| (params.galois_element(k), top))
        .collect();
    let keys = Arc::new(
        secret
            .evaluation_keys(&galois, Some(top), &mut rng)
            .unwrap(),
    );
    let values: Vec<(f64, f64)> = (0..params.slots())
        .map(|i| ((i as f64).sin(), 0.0))
        .collect();
    let plaintext = encode(&params, &values, top, params.scale()).unwrap();
    let a = secret.encrypt(&plaintext, &mut rng).unwrap();
    let diagonals = (0..16).map(|k| (k, values.clone())).collect();
    let map =
        (log_n < 16).then(|| LinearMap::new(&params, &diagonals, top, params.scale(), 4).unwrap());
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let pool = (threads > 1).then(|| Arc::new(pool));
        let evaluator = Evaluator::new(&params, Some(Arc::clone(&keys)), pool).unwrap();
        let mut bench = |operation: &str, run: &dyn Fn()| {
            group.bench_function(format!("{operation}, threads {threads}"), |b| b.iter(run));
        };
        bench("add", &|| drop(black_box(evaluator.add(&a, &a).unwrap())));
        bench("mul_plain", &|| {
            drop(black_box(evaluator.mul_plain(&a, &plaintext).unwrap()))
        });
        bench("rescale", &|| {
            drop(black_box(evaluator.rescale(&a).unwrap()))
        });
        bench("rotate", &|| {
            drop(black_box(evaluator.rotate(&a, 1).unwrap()))
        });
        bench("6 hoisted rotations", &|| {
            drop(black_box(evaluator.rotate_hoisted(&a, &ROTATIONS).unwrap()))
        });
        bench("mul_relin_rescale", &|| {
            drop(black_box(evaluator.mul_relin_rescale(&a, &a).unwrap()))
        });
        if let Some(map) = &map {
            bench("linear, 16 diagonals as 4 x 4", &|| {
                drop(black_box(evaluator.linear(&a, map, true).unwrap()))
            });
        }
    }
    group.finish();
}

criterion_group!(benches, operations);
criterion_main!(benches);
