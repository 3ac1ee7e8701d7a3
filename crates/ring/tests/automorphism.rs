//! Automorphisms of every path against the signed permutation of coefficients.

use tacit_ring::{Automorphism, CpuPath, Modulus, NttTable, RingError, ntt_primes};

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
