//! Every operation against float arithmetic on the slots.
mod fixture;

use fixture::{Fixture, Slot, add, mul, rotated, sub, zip};
use tacit_ckks::encode;

/// (log_n, primes, special primes): one, full, partial and no-remainder digits.
const SHAPES: [(u32, usize, usize); 4] = [(5, 4, 1), (8, 5, 2), (9, 6, 3), (6, 3, 4)];

#[test]
fn encryption_and_linear_operations() {
    for (log_n, limbs, alpha) in SHAPES {
        let mut f = Fixture::new(log_n, limbs, alpha, &[]);
        let (x, y) = (f.values(), f.values());
        let (a, b) = (f.encrypt(&x), f.encrypt(&y));
        let plain = encode(&f.params, &y, f.params.max_level(), f.params.scale()).unwrap();
        f.assert_decrypts(&a, &x, -25);
        f.assert_decrypts(&f.evaluator.add(&a, &b).unwrap(), &zip(&x, &y, add), -25);
        f.assert_decrypts(&f.evaluator.sub(&a, &b).unwrap(), &zip(&x, &y, sub), -25);
        f.assert_decrypts(
            &f.evaluator.neg(&a).unwrap(),
            &zip(&x, &x, |p, _| (-p.0, -p.1)),
            -25,
        );
        f.assert_decrypts(
            &f.evaluator.add_plain(&a, &plain).unwrap(),
            &zip(&x, &y, add),
            -25,
        );
        f.assert_decrypts(
            &f.evaluator.sub_plain(&a, &plain).unwrap(),
            &zip(&x, &y, sub),
            -25,
        );
        let shifted = f.evaluator.add_complex_const(&a, 0.75, -0.5).unwrap();
        f.assert_decrypts(&shifted, &zip(&x, &x, |p, _| (p.0 + 0.75, p.1 - 0.5)), -25);
        let scaled = f.evaluator.mul_const(&a, -1.75, 2f64.powi(30)).unwrap();
        f.assert_decrypts(
            &scaled,
            &zip(&x, &x, |p, _| (-1.75 * p.0, -1.75 * p.1)),
            -24,
        );
        f.assert_decrypts(&f.evaluator.drop_level(&a, 0).unwrap(), &x, -25);
    }
}

#[test]
fn public_key_encryption() {
    let mut f = Fixture::new(8, 4, 2, &[]);
    let x = f.values();
    let public = f.secret.public_key(&mut f.rng);
    for level in 0..=f.params.max_level() {
        let plain = encode(&f.params, &x, level, f.params.scale()).unwrap();
        let encrypted = public.encrypt(&plain, &mut f.rng).unwrap();
        f.assert_decrypts(&encrypted, &x, -22);
    }
}

#[test]
fn products() {
    for (log_n, limbs, alpha) in SHAPES {
        let mut f = Fixture::new(log_n, limbs, alpha, &[]);
        let (x, y) = (f.values(), f.values());
        let (mut a, mut b) = (f.encrypt(&x), f.encrypt(&y));
        let plain = encode(&f.params, &y, f.params.max_level(), f.params.scale()).unwrap();
        let product: Vec<Slot> = zip(&x, &y, mul);
        let squared: Vec<Slot> = zip(&x, &x, mul);
        for level in (1..limbs).rev() {
            a = f.evaluator.drop_level(&a, level).unwrap();
            b = f.evaluator.drop_level(&b, level).unwrap();
            let masked = f.evaluator.mul_plain(&a, &plain).unwrap();
            f.assert_decrypts(&masked, &product, -22);
            f.assert_decrypts(&f.evaluator.rescale(&masked).unwrap(), &product, -22);
            let raw = f.evaluator.mul(&a, &b).unwrap();
            f.assert_decrypts(&raw, &product, -22);
            f.assert_decrypts(&f.evaluator.relinearize(&raw).unwrap(), &product, -22);
            f.assert_decrypts(&f.evaluator.rescale(&raw).unwrap(), &product, -20);
            f.assert_decrypts(
                &f.evaluator.mul_relin_rescale(&a, &b).unwrap(),
                &product,
                -22,
            );
            f.assert_decrypts(&f.evaluator.square(&a).unwrap(), &squared, -22);
            f.assert_decrypts(
                &f.evaluator.square_relin_rescale(&a).unwrap(),
                &squared,
                -22,
            );
            let sum = f
                .evaluator
                .sub(&a, &f.evaluator.drop_level(&b, level).unwrap())
                .unwrap();
            f.assert_decrypts(&sum, &zip(&x, &y, sub), -22);
        }
    }
}

#[test]
fn rotations() {
    for (log_n, limbs, alpha) in SHAPES {
        let mut f = Fixture::new(log_n, limbs, alpha, &[1, -3, 4, 0, 2]);
        let x = f.values();
        let mut a = f.encrypt(&x);
        for level in (0..limbs).rev() {
            a = f.evaluator.drop_level(&a, level).unwrap();
            for k in [1, -3, 4, 0] {
                f.assert_decrypts(&f.evaluator.rotate(&a, k).unwrap(), &rotated(&x, k), -23);
            }
            let conjugated = f.evaluator.conjugate(&a).unwrap();
            f.assert_decrypts(&conjugated, &zip(&x, &x, |p, _| (p.0, -p.1)), -23);
            let ks = [4, 0, 1, -3];
            for (k, b) in ks.iter().zip(f.evaluator.rotate_hoisted(&a, &ks).unwrap()) {
                f.assert_decrypts(&b, &rotated(&x, *k), -23);
                assert!(b.parts() == f.evaluator.rotate(&a, *k).unwrap().parts());
            }
            let sum = f.evaluator.rotate_sum(&a, &[1, 2, 4]).unwrap();
            let expected = (1..8).fold(x.clone(), |sum, k| zip(&sum, &rotated(&x, k), add));
            f.assert_decrypts(&sum, &expected, -21);
        }
    }
}
