//! Linear maps and linear combinations against float arithmetic on the slots.
mod fixture;

use fixture::{Fixture, Slot, add, mul, rotated, zip};
use std::collections::BTreeMap;
use tacit_ckks::{CkksError, LinearMap};

fn expected(x: &[Slot], diagonals: &BTreeMap<i64, Vec<Slot>>) -> Vec<Slot> {
    let zero = vec![(0.0, 0.0); x.len()];
    diagonals.iter().fold(zero, |sum, (&k, d)| {
        zip(&sum, &zip(d, &rotated(x, k), mul), add)
    })
}

fn check(shape: (u32, usize, usize), indices: &[i64], baby: usize) {
    let all: Vec<i64> = (-16..16).collect();
    let mut f = Fixture::new(shape.0, shape.1, shape.2, &all);
    let x = f.values();
    let diagonals: BTreeMap<i64, Vec<Slot>> = indices.iter().map(|&k| (k, f.values())).collect();
    let top = f.params.max_level();
    let map = LinearMap::new(&f.params, &diagonals, top, 2f64.powi(36), baby).unwrap();
    let mut a = f.encrypt(&x);
    for level in (1..=top).rev() {
        a = f.evaluator.drop_level(&a, level).unwrap();
        let raw = f.evaluator.linear(&a, &map, false).unwrap();
        assert_eq!(
            (raw.level(), raw.scale()),
            (level, a.scale() * 2f64.powi(36))
        );
        f.assert_decrypts(&raw, &expected(&x, &diagonals), -20);
        let rescaled = f.evaluator.linear(&a, &map, true).unwrap();
        assert_eq!(rescaled.level(), level - 1);
        f.assert_decrypts(&rescaled, &expected(&x, &diagonals), -20);
    }
}

#[test]
fn maps_with_baby_and_giant_steps() {
    check((5, 4, 1), &[0, 1, 2, 3, 4, 5, 6, 7, 9], 4);
    check((5, 4, 1), &[-15, -2, 0, 1, 3], 4);
    check((5, 4, 1), &[-15, -3, 0, 1], 16);
    check((8, 5, 2), &[-5, -2, 0, 1, 3, 8, 11], 4);
}

#[test]
fn maps_of_one_kind_of_step() {
    check((6, 4, 2), &[0], 1);
    check((6, 4, 2), &[5], 8);
    check((6, 4, 2), &[0, 1, 2, 3], 4);
    check((6, 4, 2), &[0, 4, 8, -4], 1);
    check((6, 4, 2), &[4, 8, 12], 4);
}

#[test]
fn rotations_are_those_in_use() {
    let f = Fixture::new(5, 2, 1, &[]);
    let one = vec![(1.0, 0.0); f.params.slots()];
    let diagonals = [-1, 0, 5, 6].map(|k| (k, one.clone())).into();
    let map = LinearMap::new(&f.params, &diagonals, 1, 2f64.powi(20), 4).unwrap();
    assert_eq!(map.rotations(), [-4, 1, 2, 3, 4]);
    assert_eq!(map.memory_bytes(), 4 * 3 * 32 * 8);
}

/// With nothing that was rotated in the sum, all coefficients of a division by P·q_l would be rounded to one side: an error
/// near 2^18 of slot 0, which is near the root 1, where rounding makes 2^11.
#[test]
fn diagonals_of_nothing_are_left_out() {
    let mut f = Fixture::new(13, 3, 1, &[1, 2]);
    let (slots, top) = (f.params.slots(), f.params.max_level());
    let weights = [(0.6, 0.0), (0.9, 0.0)].repeat(slots / 2);
    let nothing = vec![(1e-15, 0.0); slots];
    let diagonals = [(0, weights), (1, nothing.clone()), (2, nothing.clone())].into();
    let map = LinearMap::new(&f.params, &diagonals, top, 2f64.powi(36), 2).unwrap();
    assert!(map.rotations().is_empty());
    let x = f.values();
    let a = f.encrypt(&x);
    let result = f.evaluator.linear(&a, &map, true).unwrap();
    f.assert_decrypts(&result, &expected(&x, &diagonals), -21);
    let none = [(1, nothing)].into();
    let map = LinearMap::new(&f.params, &none, top, 2f64.powi(36), 2).unwrap();
    assert!(map.rotations().is_empty());
    assert!(f.evaluator.linear(&a, &map, true).unwrap().is_transparent());
}

#[test]
fn combinations_of_ciphertexts() {
    let mut f = Fixture::new(9, 4, 2, &[]);
    let inputs: Vec<Vec<Slot>> = (0..5).map(|_| f.values()).collect();
    let encrypted: Vec<_> = inputs.iter().map(|x| f.encrypt(x)).collect();
    let operands: Vec<_> = encrypted.iter().collect();
    let weights: Vec<f64> = (0..15).map(|i| (i as f64 - 7.0) / 5.0).collect();
    let outputs = f
        .evaluator
        .linear_combinations(&operands, &weights, 2f64.powi(36))
        .unwrap();
    assert_eq!(outputs.len(), 3);
    for (output, row) in outputs.iter().zip(weights.chunks(5)) {
        let zero = vec![(0.0, 0.0); f.params.slots()];
        let terms = row.iter().zip(&inputs);
        let sum = terms.fold(zero, |sum, (w, x)| {
            zip(&sum, x, |s, v| (s.0 + w * v.0, s.1 + w * v.1))
        });
        f.assert_decrypts(output, &sum, -22);
        f.assert_decrypts(&f.evaluator.rescale(output).unwrap(), &sum, -22);
    }
}

#[test]
fn misuse_has_typed_errors() {
    let mut f = Fixture::new(5, 3, 1, &[]);
    let x = f.values();
    let a = f.encrypt(&x);
    let one = BTreeMap::from([(3, vec![(1.0, 0.0); f.params.slots()])]);
    let map = LinearMap::new(&f.params, &one, 2, 2f64.powi(20), 1).unwrap();
    let error = f.evaluator.linear(&a, &map, true).unwrap_err();
    assert!(matches!(
        error,
        CkksError::MissingGaloisKey {
            rotation: Some(3),
            ..
        }
    ));
    let low = LinearMap::new(&f.params, &one, 1, 2f64.powi(20), 1).unwrap();
    let error = f.evaluator.linear(&a, &low, true).unwrap_err();
    assert!(matches!(
        error,
        CkksError::LevelMismatch {
            left: 2,
            right: 1,
            ..
        }
    ));
    for (diagonals, baby) in [
        (BTreeMap::new(), 1),
        (one.clone(), 0),
        (BTreeMap::from([(16, one[&3].clone())]), 1),
    ] {
        let error = LinearMap::new(&f.params, &diagonals, 2, 2f64.powi(20), baby).unwrap_err();
        assert!(matches!(error, CkksError::InvalidLinearMap { .. }));
    }
    let error = f
        .evaluator
        .linear_combinations(&[&a], &[], 2f64.powi(20))
        .unwrap_err();
    assert!(matches!(error, CkksError::WeightsMismatch { .. }));
    let error = f
        .evaluator
        .linear_combinations(&[], &[1.0], 2f64.powi(20))
        .unwrap_err();
    assert!(matches!(error, CkksError::EmptyOperands { .. }));
}
