//! Misuse has typed errors, and secrets do not show.
mod fixture;

use fixture::{Fixture, parameters};
use std::collections::BTreeMap;
use std::sync::Arc;
use tacit_ckks::{CkksError, Evaluator, SecretKey, encode};
use tacit_ring::CpuPath;

macro_rules! assert_error {
    ($result:expr, $pattern:pat) => {
        let error = $result.unwrap_err();
        assert!(matches!(error, $pattern), "{error:?}");
        assert!(!error.to_string().is_empty());
    };
}

#[test]
fn levels_scales_and_degrees() {
    let mut f = Fixture::new(5, 3, 1, &[1]);
    let x = f.values();
    let a = f.encrypt(&x);
    let e = &f.evaluator;
    let low = e.drop_level(&a, 0).unwrap();
    assert_error!(
        e.add(&a, &low),
        CkksError::LevelMismatch {
            op: "add",
            left: 2,
            right: 0
        }
    );
    assert_error!(e.mul(&low, &a), CkksError::LevelMismatch { op: "mul", .. });
    assert_error!(
        e.drop_level(&low, 1),
        CkksError::LevelTooHigh {
            level: 1,
            max_level: 0,
            ..
        }
    );
    assert_error!(
        e.rescale(&low),
        CkksError::LevelUnderflow {
            op: "rescale",
            needed: 1,
            level: 0
        }
    );
    assert_error!(
        e.mul_relin_rescale(&low, &low),
        CkksError::ScaleOverflow { .. }
    );
    let scaled = a.with_scale(a.scale() * 1.001).unwrap();
    assert_error!(
        e.sub(&a, &scaled),
        CkksError::ScaleMismatch { op: "sub", .. }
    );
    assert!(
        e.add(
            &a,
            &a.with_scale(a.scale() * (1.0 + 2f64.powi(-40))).unwrap()
        )
        .is_ok()
    );
    assert_error!(a.with_scale(f64::NAN), CkksError::InvalidScale { .. });
    assert_error!(a.with_scale(-1.0), CkksError::InvalidScale { .. });
    assert_error!(e.mul_const(&a, 1.0, 0.0), CkksError::InvalidScale { .. });
    assert_error!(e.mul_const(&a, 1.0, 1e60), CkksError::ScaleOverflow { .. });
    assert_error!(
        e.mul_const(&a, f64::INFINITY, 1e9),
        CkksError::NonFiniteValue { .. }
    );
    let plain = encode(&f.params, &x, 1, a.scale()).unwrap();
    assert_error!(
        e.add_plain(&a, &plain),
        CkksError::LevelMismatch {
            left: 2,
            right: 1,
            ..
        }
    );
    assert!(e.add_plain(&low, &plain).is_ok());
    let square = e.square(&a).unwrap();
    assert_error!(
        e.rotate(&square, 1),
        CkksError::DegreeMismatch {
            needed: 1,
            degree: 2,
            ..
        }
    );
    assert_error!(e.mul(&square, &square), CkksError::DegreeMismatch { .. });
    assert_error!(
        e.relinearize(&a),
        CkksError::DegreeMismatch {
            needed: 2,
            degree: 1,
            ..
        }
    );
}

#[test]
fn keys() {
    let mut f = Fixture::new(5, 3, 1, &[1]);
    let x = f.values();
    let a = f.encrypt(&x);
    assert_error!(
        f.evaluator.rotate(&a, 2),
        CkksError::MissingGaloisKey {
            rotation: Some(2),
            ..
        }
    );
    assert_error!(
        f.evaluator.rotate_hoisted(&a, &[1, 5]),
        CkksError::MissingGaloisKey { .. }
    );
    let bare = Evaluator::new(&f.params, None, None).unwrap();
    assert_error!(
        bare.relinearize(&bare.square(&a).unwrap()),
        CkksError::MissingRelinearizationKey
    );
    assert_error!(
        bare.conjugate(&a),
        CkksError::MissingGaloisKey { rotation: None, .. }
    );
    let trimmed = BTreeMap::from([(f.params.galois_element(1), 1)]);
    let keys = f
        .secret
        .evaluation_keys(&trimmed, Some(0), &mut f.rng)
        .unwrap();
    let evaluator = Evaluator::new(&f.params, Some(Arc::new(keys)), None).unwrap();
    assert_error!(
        evaluator.rotate(&a, 1),
        CkksError::KeyLevelTooLow {
            key_level: 1,
            level: 2,
            ..
        }
    );
    assert_error!(
        evaluator.square_relin_rescale(&a),
        CkksError::KeyLevelTooLow { key_level: 0, .. }
    );
    let low = evaluator.drop_level(&a, 1).unwrap();
    f.assert_decrypts(
        &evaluator.rotate(&low, 1).unwrap(),
        &fixture::rotated(&x, 1),
        -24,
    );
    assert_error!(
        f.secret.galois_key(4, 1, &mut f.rng),
        CkksError::InvalidGaloisElement { galois_element: 4 }
    );
    assert_error!(
        f.secret.galois_key(65, 1, &mut f.rng),
        CkksError::InvalidGaloisElement { .. }
    );
    assert_error!(
        f.secret.relinearization_key(3, &mut f.rng),
        CkksError::LevelTooHigh { .. }
    );
    let no_special = parameters(5, 3, 0, CpuPath::detect());
    let secret = SecretKey::generate(&no_special, &mut f.rng);
    assert_error!(
        secret.relinearization_key(0, &mut f.rng),
        CkksError::InvalidParameters {
            parameter: "log_p",
            ..
        }
    );
}

#[test]
fn products_without_special_primes() {
    let mut f = Fixture::new(5, 3, 1, &[]);
    let params = parameters(5, 3, 0, CpuPath::detect());
    let secret = SecretKey::generate(&params, &mut f.rng);
    let x = f.values();
    let plain = encode(&params, &x, 2, params.scale()).unwrap();
    let a = secret.encrypt(&plain, &mut f.rng).unwrap();
    let e = Evaluator::new(&params, None, None).unwrap();
    assert!(e.rotate_hoisted(&a, &[0]).unwrap()[0].parts() == a.parts());
    let product = e.rescale(&e.mul_plain(&a, &plain).unwrap()).unwrap();
    let slots = tacit_ckks::decode(&params, &secret.decrypt(&product).unwrap()).unwrap();
    assert!(fixture::distance(&slots, &fixture::zip(&x, &x, fixture::mul)) < 2f64.powi(-24));
}

#[test]
fn foreign_parameters() {
    let mut f = Fixture::new(5, 3, 1, &[]);
    let mut other = Fixture::new(5, 4, 1, &[]);
    let x = f.values();
    let (a, foreign) = (f.encrypt(&x), other.encrypt(&x));
    let plain = encode(&other.params, &x, 2, a.scale()).unwrap();
    assert_error!(
        f.evaluator.add(&a, &foreign),
        CkksError::ParametersMismatch { .. }
    );
    assert_error!(
        f.evaluator.mul_plain(&a, &plain),
        CkksError::ParametersMismatch { .. }
    );
    assert_error!(
        f.secret.decrypt(&foreign),
        CkksError::ParametersMismatch { .. }
    );
    assert_error!(
        f.secret.encrypt(&plain, &mut f.rng),
        CkksError::ParametersMismatch { .. }
    );
    let keys = other
        .secret
        .evaluation_keys(&BTreeMap::new(), Some(1), &mut other.rng)
        .unwrap();
    assert_error!(
        Evaluator::new(&f.params, Some(Arc::new(keys)), None),
        CkksError::ParametersMismatch { .. }
    );
}

#[test]
fn transparent_ciphertexts_are_not_decrypted() {
    let mut f = Fixture::new(5, 3, 1, &[]);
    let x = f.values();
    let a = f.encrypt(&x);
    let zero = f.evaluator.sub(&a, &a).unwrap();
    assert!(zero.is_transparent() && !a.is_transparent());
    assert_error!(f.secret.decrypt(&zero), CkksError::TransparentCiphertext);
}

#[test]
fn secrets_do_not_show() {
    let mut f = Fixture::new(5, 3, 1, &[]);
    assert_eq!(format!("{:?}", f.secret), "SecretKey { .. }");
    let x = f.values();
    let plain = encode(&f.params, &x, 2, 1024.0).unwrap();
    assert_eq!(
        format!("{plain:?}"),
        "Plaintext { level: 2, scale: 1024.0, .. }"
    );
    let coefficients = f.secret.reveal_coefficients().to_vec();
    assert!(coefficients.iter().all(|c| (-1..=1).contains(c)));
    let again = SecretKey::from_coefficients(&f.params, coefficients.clone()).unwrap();
    let a = f.encrypt(&x);
    assert!(again.decrypt(&a).unwrap().poly() == f.secret.decrypt(&a).unwrap().poly());
    for bad in [2, -2, i8::MIN, i8::MAX] {
        let mut wrong = coefficients.clone();
        wrong[7] = bad;
        assert_error!(
            SecretKey::from_coefficients(&f.params, wrong),
            CkksError::Malformed { .. }
        );
    }
    assert_error!(
        SecretKey::from_coefficients(&f.params, vec![0; 31]),
        CkksError::Malformed { .. }
    );
}

#[test]
fn seeds_are_lost_by_operations() {
    let mut f = Fixture::new(5, 3, 1, &[1]);
    let x = f.values();
    let a = f.encrypt(&x);
    assert!(a.seed().is_some());
    assert!(f.evaluator.drop_level(&a, 1).unwrap().seed().is_none());
    assert!(f.evaluator.rotate(&a, 0).unwrap().seed().is_none());
    assert!(f.evaluator.rotate_sum(&a, &[]).unwrap().seed().is_none());
    assert!(f.evaluator.neg(&a).unwrap().seed().is_none());
}
