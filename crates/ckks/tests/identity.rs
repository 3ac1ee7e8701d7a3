//! The same ciphertexts, bit for bit, from every CPU path and every number of threads; algebraic laws that hold exactly.
mod fixture;

use fixture::{Fixture, Slot};
use proptest::prelude::*;
use std::sync::Arc;
use tacit_ckks::{Ciphertext, LinearMap, encode};
use tacit_ring::CpuPath;
use tacit_team::Team;

/// Every operation once, from fixed seeds.
fn transcript(
    log_n: u32,
    limbs: usize,
    alpha: usize,
    path: CpuPath,
    threads: usize,
) -> Vec<Ciphertext> {
    let mut f = Fixture::with_path(
        log_n,
        limbs,
        alpha,
        &[1, 2, 3, 4, 8],
        path,
        Some(Arc::new(Team::new(threads).unwrap())),
    );
    let (x, y) = (f.values(), f.values());
    let (a, b) = (f.encrypt(&x), f.encrypt(&y));
    let top = f.params.max_level();
    let plain = encode(&f.params, &y, top, f.params.scale()).unwrap();
    let public = f
        .secret
        .public_key(&mut f.rng)
        .encrypt(&plain, &mut f.rng)
        .unwrap();
    let diagonals = (0..10).map(|k| (k, f.values())).collect();
    let map = LinearMap::new(&f.params, &diagonals, top, f.params.scale(), 4).unwrap();
    let e = &f.evaluator;
    let mut all = vec![
        e.add(&a, &b).unwrap(),
        e.sub(&a, &b).unwrap(),
        e.neg(&a).unwrap(),
        e.add_plain(&a, &plain).unwrap(),
        e.sub_plain(&a, &plain).unwrap(),
        e.mul_plain(&a, &plain).unwrap(),
        e.add_complex_const(&a, 0.3, 0.7).unwrap(),
        e.mul_const(&a, 0.3, 1e9).unwrap(),
        e.mul(&a, &b).unwrap(),
        e.square(&a).unwrap(),
        e.relinearize(&e.mul(&a, &b).unwrap()).unwrap(),
        e.mul_relin_rescale(&a, &b).unwrap(),
        e.square_relin_rescale(&b).unwrap(),
        e.rescale(&e.mul(&a, &b).unwrap()).unwrap(),
        e.rotate(&a, 3).unwrap(),
        e.conjugate(&a).unwrap(),
        e.rotate_sum(&a, &[1, 2, 4]).unwrap(),
        e.linear(&a, &map, false).unwrap(),
        e.linear(&a, &map, true).unwrap(),
    ];
    all.extend(e.rotate_hoisted(&a, &[1, 4, 0]).unwrap());
    all.extend(
        e.linear_combinations(&[&a, &b], &[0.5, -0.25, 1.0, 2.0], 1e9)
            .unwrap(),
    );
    all.extend([a, b, public]);
    all
}

fn assert_same(left: &[Ciphertext], right: &[Ciphertext], what: &str) {
    assert_eq!(left.len(), right.len());
    for (i, (a, b)) in left.iter().zip(right).enumerate() {
        assert!(
            a.parts() == b.parts() && a.scale() == b.scale(),
            "entry {i} differs: {what}"
        );
    }
}

#[test]
fn paths_and_threads_agree_bit_for_bit() {
    for (log_n, limbs, alpha) in [(5, 3, 1), (7, 5, 2), (12, 12, 3)] {
        let reference = transcript(log_n, limbs, alpha, CpuPath::Portable, 1);
        for path in CpuPath::all_available() {
            assert_same(
                &reference,
                &transcript(log_n, limbs, alpha, path, 1),
                &format!("path {path}"),
            );
        }
        for threads in [2, 3, 5] {
            let threaded = transcript(log_n, limbs, alpha, CpuPath::detect(), threads);
            assert_same(&reference, &threaded, &format!("{threads} threads"));
        }
    }
}

#[test]
fn large_ring_with_threads() {
    let one = transcript(14, 5, 2, CpuPath::detect(), 1);
    assert_same(
        &one,
        &transcript(14, 5, 2, CpuPath::detect(), 2),
        "two threads at 2^14",
    );
}

fn setup(log_n: u32, limbs: usize, alpha: usize) -> (Fixture, Ciphertext, Ciphertext, Vec<Slot>) {
    let mut f = Fixture::new(log_n, limbs, alpha, &[1, 2, 3, -1]);
    let (x, y) = (f.values(), f.values());
    let (a, b) = (f.encrypt(&x), f.encrypt(&y));
    (f, a, b, x)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn laws(log_n in 5u32..8, limbs in 2usize..7, alpha in 1usize..5, drop in 0usize..3) {
        let (f, a, b, x) = setup(log_n, limbs, alpha);
        let e = &f.evaluator;
        let level = (limbs - 1).saturating_sub(drop).max(1);
        let low = |c: &Ciphertext| e.drop_level(c, level).unwrap();
        let (a, b) = (low(&a), low(&b));
        let sum = e.add(&a, &b).unwrap();
        prop_assert!(e.sub(&sum, &b).unwrap().parts() == a.parts());
        prop_assert!(e.add(&b, &a).unwrap().parts() == sum.parts());
        prop_assert!(e.mul(&a, &b).unwrap().parts() == e.mul(&b, &a).unwrap().parts());
        prop_assert!(e.square(&a).unwrap().parts() == e.mul(&a, &a).unwrap().parts());
        prop_assert!(e.neg(&e.sub(&a, &b).unwrap()).unwrap().parts() == e.sub(&b, &a).unwrap().parts());
        let product = e.mul(&a, &b).unwrap();
        let distributed = e.add(&product, &e.square(&a).unwrap()).unwrap();
        prop_assert!(e.mul(&a, &sum).unwrap().parts() == distributed.parts());
        let mixed = e.sub(&a, &a.with_scale(product.scale()).unwrap().with_scale(a.scale()).unwrap()).unwrap();
        prop_assert!(mixed.is_transparent());
        let back = e.rotate(&e.rotate(&a, 1).unwrap(), -1).unwrap();
        f.assert_decrypts(&back, &x, -22);
        let once = e.add(&a, &e.rotate(&a, 2).unwrap()).unwrap();
        let twice = e.add(&once, &once).unwrap();
        let folded = e.add(&twice, &e.rotate(&twice, 3).unwrap()).unwrap();
        prop_assert!(e.rotate_sum(&a, &[2, 0, 3]).unwrap().parts() == folded.parts());
        let hoisted = e.rotate_hoisted(&a, &[2, 3]).unwrap();
        prop_assert!(hoisted[0].parts() == e.rotate(&a, 2).unwrap().parts());
        prop_assert!(hoisted[1].parts() == e.rotate(&a, 3).unwrap().parts());
    }
}
