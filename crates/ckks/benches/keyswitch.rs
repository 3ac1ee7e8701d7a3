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
use tacit_team::Team;

/// A ring degree with `limbs` primes of `q_bits` and `alpha` special primes of `p_bits`.
struct Shape {
    log_n: u32,
    limbs: usize,
    q_bits: u32,
    alpha: usize,
    p_bits: u32,
}

const SHAPES: [Shape; 4] = [
    Shape {
        log_n: 13,
        limbs: 3,
        q_bits: 45,
        alpha: 1,
        p_bits: 48,
    },
    Shape {
        log_n: 14,
        limbs: 8,
        q_bits: 38,
        alpha: 3,
        p_bits: 41,
    },
    Shape {
        log_n: 15,
        limbs: 18,
        q_bits: 36,
        alpha: 6,
        p_bits: 36,
    },
    Shape {
        log_n: 16,
        limbs: 26,
        q_bits: 45,
        alpha: 9,
        p_bits: 48,
    },
];

const ROTATIONS: [i64; 6] = [1, 2, 3, 4, 8, 12];

fn operations(c: &mut Criterion) {
    for shape in SHAPES {
        // One shape at a time: the keys of the largest take 1 GB.
        measure(c, shape);
    }
}

fn measure(
    c: &mut Criterion,
    Shape {
        log_n,
        limbs,
        q_bits,
        alpha,
        p_bits,
    }: Shape,
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
        let team = (threads > 1).then(|| Arc::new(Team::new(threads).unwrap()));
        let evaluator = Evaluator::new(&params, Some(Arc::clone(&keys)), team).unwrap();
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
