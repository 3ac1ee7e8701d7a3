//! Scalar arithmetic, primes, polynomials and the pool.

use proptest::prelude::*;
use tacit_ring::{Coeff, Eval, Modulus, NttTable, Poly, RingError, buffer, is_prime, ntt_primes};

fn any_modulus() -> impl Strategy<Value = Modulus> {
    (4u32..=12, 20u32..=50, 0usize..3).prop_map(|(log_n, bits, i)| {
        Modulus::new(ntt_primes(log_n, bits, i + 1, &[]).unwrap()[i]).unwrap()
    })
}

proptest! {
    #[test]
    fn scalar_operations_are_residues(m in any_modulus(), a: u64, b: u64, wide: u128, signed: i64) {
        let q = m.q() as u128;
        prop_assert_eq!(m.reduce(a) as u128, a as u128 % q);
        prop_assert_eq!(m.reduce_u128(wide) as u128, wide % q);
        prop_assert_eq!(m.reduce_i64(signed) as i128, (signed as i128).rem_euclid(q as i128));
        let (x, y) = (m.reduce(a), m.reduce(b));
        prop_assert_eq!(m.add(x, y) as u128, (x as u128 + y as u128) % q);
        prop_assert_eq!(m.sub(x, y) as u128, (x as u128 + q - y as u128) % q);
        prop_assert_eq!(m.neg(x) as u128, (q - x as u128) % q);
        prop_assert_eq!(m.mul(x, y) as u128, x as u128 * y as u128 % q);
        let s = m.scalar(b);
        prop_assert_eq!(s.value, y);
        prop_assert_eq!(s.shoup52 as u128, ((y as u128) << 52) / q);
        prop_assert_eq!(s.shoup64 as u128, ((y as u128) << 64) / q);
        prop_assert_eq!(m.mul_scalar(a, &s) as u128, a as u128 * y as u128 % q);
        if x != 0 {
            prop_assert_eq!(m.mul(x, m.inv(x)), 1);
        }
    }
}

#[test]
fn edges_of_scalar_operations() {
    for bits in 20..=50 {
        let m = Modulus::new(ntt_primes(4, bits, 1, &[]).unwrap()[0]).unwrap();
        let q = m.q();
        for a in [0, 1, q - 1] {
            for b in [0, 1, q - 1] {
                assert_eq!(m.mul(a, b) as u128, a as u128 * b as u128 % q as u128);
            }
            let s = m.scalar(a);
            assert_eq!(
                m.mul_scalar(u64::MAX, &s) as u128,
                u64::MAX as u128 * a as u128 % q as u128
            );
        }
        assert_eq!(m.reduce(u64::MAX), u64::MAX % q);
        assert_eq!(m.reduce_u128(u128::MAX) as u128, u128::MAX % q as u128);
        assert_eq!(
            m.reduce_i64(i64::MIN) as i128,
            (i64::MIN as i128).rem_euclid(q as i128)
        );
    }
}

#[test]
fn small_primes_are_moduli_too() {
    for q in [3, 5, 7, 11, 65_537] {
        let m = Modulus::new(q).unwrap();
        for a in 0..q.min(50) {
            for b in 0..q.min(50) {
                assert_eq!(m.mul(a, b), a * b % q);
            }
        }
    }
}

#[test]
fn refused_moduli() {
    for q in [0, 1, 2, 4, 9, (1 << 50) + 55, u64::MAX, 3 * ((1 << 20) + 7)] {
        assert_eq!(Modulus::new(q), Err(RingError::InvalidModulus { q }));
    }
}

#[test]
fn primality() {
    let sieve = |n: u64| {
        n >= 2
            && (2..n)
                .take_while(|d| d * d <= n)
                .all(|d| !n.is_multiple_of(d))
    };
    assert!((0..2000).all(|n| is_prime(n) == sieve(n)));
    // Strong pseudoprimes to the bases 2; 2, 3; 2 to 7; 2 to 37 but the last (OEIS A014233).
    for n in [
        2047,
        1_373_653,
        3_215_031_751,
        3_825_123_056_546_413_051,
        u64::MAX,
    ] {
        assert!(!is_prime(n), "{n}");
    }
    for n in [(1 << 61) - 1, 18_446_744_073_709_551_557] {
        assert!(is_prime(n), "{n}");
    }
}

#[test]
fn primes_for_transforms() {
    let primes = ntt_primes(13, 40, 5, &[]).unwrap();
    assert!(primes.is_sorted_by(|a, b| a > b));
    assert!(
        primes
            .iter()
            .all(|&p| p % (1 << 14) == 1 && is_prime(p) && p >> 39 == 1)
    );
    // Nothing was skipped.
    let between = (primes[4]..1 << 40)
        .step_by(1 << 14)
        .filter(|&p| is_prime(p))
        .count();
    assert_eq!(between, 5);
    assert_eq!(ntt_primes(13, 40, 3, &primes[..2]).unwrap(), primes[2..]);
    assert_eq!(
        ntt_primes(16, 20, 9, &[]),
        Err(RingError::NotEnoughPrimes {
            log_n: 16,
            bits: 20,
            wanted: 9,
            found: 1
        })
    );
    assert_eq!(
        ntt_primes(13, 51, 1, &[]),
        Err(RingError::InvalidPrimeSize { bits: 51 })
    );
    assert_eq!(
        ntt_primes(13, 19, 1, &[]),
        Err(RingError::InvalidPrimeSize { bits: 19 })
    );
    assert_eq!(
        ntt_primes(18, 40, 1, &[]),
        Err(RingError::InvalidDegree { log_n: 18 })
    );
}

#[test]
fn refused_tables() {
    let m = Modulus::new(ntt_primes(8, 30, 1, &[]).unwrap()[0]).unwrap();
    assert!(NttTable::new(8, &m).is_ok());
    assert_eq!(
        NttTable::new(3, &m).err(),
        Some(RingError::InvalidDegree { log_n: 3 })
    );
    assert_eq!(
        NttTable::new(17, &m).err(),
        Some(RingError::NoRootOfUnity {
            q: m.q(),
            log_n: 17
        })
    );
}

#[test]
fn rows_are_aligned_and_separate() {
    for n in [16, 256, 4096] {
        let mut poly = Poly::<Coeff>::zeroed(n, 3);
        for (i, row) in poly.rows_mut().into_iter().enumerate() {
            assert_eq!((row.len(), row.as_ptr().align_offset(64)), (n, 0));
            row.fill(i as u64 + 1);
        }
        assert!((0..3).all(|i| poly.row(i).iter().all(|&x| x == i as u64 + 1)));
        let copy = poly.clone();
        assert_eq!(copy, poly);
        let mut short = poly.clone_rows(2);
        assert_eq!((short.rows(), short.row(1)), (2, poly.row(1)));
        short.row_mut(0)[0] = 9;
        assert_ne!(short, poly.clone_rows(2));
        poly.truncate_rows(1);
        assert_eq!(
            (poly.rows(), poly.rows_ref().len(), poly.rows_mut().len()),
            (1, 1, 1)
        );
        // The words may be secret.
        assert_eq!(
            format!("{poly:?}"),
            format!("Poly {{ domain: \"coeff\", n: {n}, rows: 1, .. }}")
        );
        let mut relabelled: Poly<Eval> = poly.into_domain();
        assert_eq!(relabelled.row(0)[0], 1);
        relabelled.zeroize();
        assert!(relabelled.row(0).iter().all(|&x| x == 0));
    }
    assert!(Poly::<Coeff>::zeroed(16, 0).rows_mut().is_empty());
}

#[test]
fn pooled_buffers_come_back() {
    // A size that no other test uses, so that the pool's answer is known.
    let (n, rows) = (2048, 13);
    let mut poly = Poly::<Coeff>::zeroed(n, rows);
    poly.row_mut(0)[0] = 77;
    let address = poly.row(0).as_ptr() as usize;
    drop(poly);
    let again = Poly::<Coeff>::zeroed(n, rows);
    assert_eq!(again.row(0).as_ptr() as usize, address, "the same storage");
    assert!(
        (0..rows).all(|i| again.row(i).iter().all(|&x| x == 0)),
        "and it is zero again"
    );
    drop(again);
    assert!(buffer::release_pool() >= n * rows * 8);
}

#[test]
fn a_buffer_serves_what_is_a_little_smaller() {
    // Sizes that no other test uses: 21 rows serve 17 to 21 rows and no fewer.
    let n = 2048;
    let mut poly = Poly::<Coeff>::zeroed(n, 21);
    poly.rows_mut().into_iter().for_each(|row| row.fill(77));
    let address = poly.row(0).as_ptr() as usize;
    drop(poly);
    let smaller = Poly::<Coeff>::zeroed(n, 17);
    assert_eq!(
        smaller.row(0).as_ptr() as usize,
        address,
        "the same storage"
    );
    assert_eq!(smaller.rows(), 17);
    assert!((0..17).all(|i| smaller.row(i).iter().all(|&x| x == 0)));
    drop(smaller);
    let smallest = Poly::<Coeff>::zeroed(n, 16);
    assert_ne!(
        smallest.row(0).as_ptr() as usize,
        address,
        "it would waste a quarter"
    );
}
