//! Automorphisms of every path against the signed permutation of coefficients.

use tacit_ring::{Automorphism, CpuPath, Modulus, NttTable, Quotient, RingError, ntt_primes};

mod rows;
use rows::row;

#[test]
fn evaluations_move_as_coefficients_do() {
    for log_n in [4, 5, 6, 9, 12] {
        let n = 1usize << log_n;
        let m = Modulus::new(ntt_primes(log_n, 50, 1, &[]).unwrap()[0]).unwrap();
        let table = NttTable::new(log_n, &m).unwrap();
        let two_n = 2 * n as u64;
        for g in [
            1,
            3,
            5,
            25,
            125,
            two_n - 1,
            two_n + 5,
            n as u64 + 1,
            5 * (two_n - 1),
        ] {
            let automorphism = Automorphism::new(log_n, g).unwrap();
            assert_eq!(automorphism.galois_element(), g % two_n);
            let a = row(n, m.q(), g);
            let mut expected = vec![0; n];
            automorphism.apply_coeff(&mut expected, &a, &m);
            table.forward(CpuPath::Portable, &mut expected);
            let mut evaluated = a.clone();
            table.forward(CpuPath::Portable, &mut evaluated);
            let old = row(n, m.q(), 99);
            let sum: Vec<u64> = expected
                .iter()
                .zip(&old)
                .map(|(&x, &y)| m.add(x, y))
                .collect();
            for path in CpuPath::all_available() {
                let mut out = vec![1; n];
                automorphism.apply_eval(path, &mut out, &evaluated);
                assert_eq!(out, expected, "{path} {n} {g}");
                let mut out = old.clone();
                automorphism.apply_eval_add(path, &mut out, &evaluated, &m);
                assert_eq!(out, sum, "{path} {n} {g}");
                let mut out = vec![1; n];
                automorphism.apply_eval_sum(path, &mut out, &old, &evaluated, &m);
                assert_eq!(out, sum, "{path} {n} {g}");
            }
        }
    }
}

/// (a - b)·s, plus a row or not, moved, plus a row or not: word by word.
#[test]
fn quotients_move_as_their_words_do() {
    for (log_n, bits) in [(4, 20), (7, 45), (10, 50), (13, 48)] {
        let n = 1usize << log_n;
        let m = Modulus::new(ntt_primes(log_n, bits, 1, &[]).unwrap()[0]).unwrap();
        let q = m.q();
        let inverse = m.scalar(q - 3);
        let (a, b) = (row(n, q, 1), row(n, 1 << 52, 2));
        let (added, base) = (row(n, q, 3), row(n, q, 4));
        for g in [5, 25, 2 * n as u64 - 1] {
            let automorphism = Automorphism::new(log_n, g).unwrap();
            for (with_added, with_base) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let quotient: Vec<u64> = (0..n)
                    .map(|i| {
                        let product = m.mul(m.sub(a[i], m.reduce(b[i])), q - 3);
                        m.add(product, if with_added { added[i] } else { 0 })
                    })
                    .collect();
                let mut expected = vec![0; n];
                automorphism.apply_eval(CpuPath::Portable, &mut expected, &quotient);
                if with_base {
                    for (word, &base) in expected.iter_mut().zip(&base) {
                        *word = m.add(*word, base);
                    }
                }
                for path in CpuPath::all_available() {
                    let (mut x, mut out) = (a.clone(), vec![1; n]);
                    let quotient = Quotient {
                        a: &mut x,
                        b: &b,
                        inverse: &inverse,
                        added: with_added.then_some(&added),
                    };
                    let base = with_base.then_some(&base[..]);
                    automorphism.apply_quotient(path, &mut out, base, quotient, &m);
                    assert_eq!(out, expected, "{path} {n} {g} {with_added} {with_base}");
                }
            }
        }
    }
}

#[test]
fn automorphisms_compose() {
    let (log_n, n) = (7, 128);
    let a = row(n, 1 << 50, 1);
    let (mut once, mut twice, mut direct) = (vec![0; n], vec![0; n], vec![0; n]);
    let path = CpuPath::detect();
    Automorphism::new(log_n, 5)
        .unwrap()
        .apply_eval(path, &mut once, &a);
    Automorphism::new(log_n, 25)
        .unwrap()
        .apply_eval(path, &mut twice, &once);
    Automorphism::new(log_n, 125)
        .unwrap()
        .apply_eval(path, &mut direct, &a);
    assert_eq!(twice, direct);
}

#[test]
fn even_elements_and_other_degrees_are_refused() {
    assert_eq!(
        Automorphism::new(5, 4).err(),
        Some(RingError::InvalidGaloisElement { element: 4 })
    );
    assert_eq!(
        Automorphism::new(3, 5).err(),
        Some(RingError::InvalidDegree { log_n: 3 })
    );
}
