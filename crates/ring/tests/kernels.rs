//! Kernels of every path against big-integer arithmetic.

use tacit_ring::{CpuPath, Modulus, kernel, ntt_primes};

mod rows;
use rows::row;

/// Lengths below, at and above the vector width, with and without a rest.
const LENGTHS: [usize; 7] = [1, 7, 8, 16, 37, 64, 300];

fn moduli() -> Vec<Modulus> {
    [20, 27, 30, 40, 45, 46, 49, 50]
        .map(|bits| Modulus::new(ntt_primes(4, bits, 1, &[]).unwrap()[0]).unwrap())
        .to_vec()
}

fn cases() -> impl Iterator<Item = (CpuPath, usize, Modulus)> {
    CpuPath::all_available()
        .into_iter()
        .flat_map(|path| LENGTHS.map(|n| (path, n)))
        .flat_map(|(path, n)| moduli().into_iter().map(move |m| (path, n, m)))
}

/// Word by word, modulo q.
fn expect(n: usize, q: u64, f: impl Fn(usize) -> u128) -> Vec<u64> {
    (0..n).map(|i| (f(i) % q as u128) as u64).collect()
}

#[test]
fn sums_and_differences() {
    for (path, n, m) in cases() {
        let q = m.q();
        let (a, b) = (row(n, q, 1), row(n, q, 2));
        let mut out = vec![1; n];
        kernel::add(path, &mut out, &a, &b, &m);
        assert_eq!(
            out,
            expect(n, q, |i| a[i] as u128 + b[i] as u128),
            "{path} {n} {q}"
        );
        let mut c = a.clone();
        kernel::add_assign(path, &mut c, &b, &m);
        assert_eq!(c, out);
        kernel::sub(path, &mut out, &a, &b, &m);
        assert_eq!(
            out,
            expect(n, q, |i| (a[i] + q - b[i]) as u128),
            "{path} {n} {q}"
        );
        let mut c = a.clone();
        kernel::sub_assign(path, &mut c, &b, &m);
        assert_eq!(c, out);
        kernel::neg(path, &mut out, &a, &m);
        assert_eq!(out, expect(n, q, |i| (q - a[i]) as u128), "{path} {n} {q}");
        let mut c = a.clone();
        kernel::neg_assign(path, &mut c, &m);
        assert_eq!(c, out);
        let mut c = a.clone();
        kernel::add_scalar_assign(path, &mut c, q - 1, &m);
        assert_eq!(
            c,
            expect(n, q, |i| (a[i] + q - 1) as u128),
            "{path} {n} {q}"
        );
    }
}

#[test]
fn products() {
    for (path, n, m) in cases() {
        let q = m.q();
        let (a, b, c) = (row(n, 1 << 52, 3), row(n, q, 4), row(n, q, 5));
        let mut out = vec![1; n];
        kernel::mul(path, &mut out, &a, &b, &m);
        let expected = expect(n, q, |i| a[i] as u128 * b[i] as u128);
        assert_eq!(out, expected, "{path} {n} {q}");
        let mut d = a.clone();
        kernel::mul_assign(path, &mut d, &b, &m);
        assert_eq!(d, expected);
        let mut d = c.clone();
        kernel::mul_add_assign(path, &mut d, &a, &b, &m);
        assert_eq!(
            d,
            expect(n, q, |i| c[i] as u128 + a[i] as u128 * b[i] as u128),
            "{path} {n} {q}"
        );
    }
}

#[test]
fn products_with_a_scalar() {
    for (path, n, m) in cases() {
        let q = m.q();
        let (a, b, lazy, c) = (
            row(n, 1 << 52, 6),
            row(n, q, 7),
            row(n, 1 << 52, 8),
            row(n, q, 9),
        );
        for w in [0, 1, q / 3, q - 1] {
            let s = m.scalar(w);
            let w = w as u128;
            let mut out = vec![1; n];
            kernel::mul_scalar(path, &mut out, &a, &s, &m);
            let expected = expect(n, q, |i| a[i] as u128 * w);
            assert_eq!(out, expected, "{path} {n} {q}");
            let mut d = a.clone();
            kernel::mul_scalar_assign(path, &mut d, &s, &m);
            assert_eq!(d, expected);
            let mut d = c.clone();
            kernel::mul_scalar_add_assign(path, &mut d, &a, &s, &m);
            assert_eq!(
                d,
                expect(n, q, |i| c[i] as u128 + a[i] as u128 * w),
                "{path} {n} {q}"
            );
            kernel::sub_mul_scalar(path, &mut out, &b, &lazy, &s, &m);
            // The first multiple of q from 2^52 on.
            let above = (1u64 << 52).next_multiple_of(q);
            let difference = |i: usize| (b[i] + above - lazy[i]) as u128 * w;
            assert_eq!(out, expect(n, q, difference), "{path} {n} {q}");
            let mut d = b.clone();
            kernel::sub_mul_scalar_assign(path, &mut d, &lazy, &s, &m);
            assert_eq!(d, out);
            kernel::sub_mul_scalar_add(path, &mut out, &b, &lazy, &s, &c, &m);
            assert_eq!(
                out,
                expect(n, q, |i| difference(i) + c[i] as u128),
                "{path} {n} {q}"
            );
        }
    }
}

#[test]
fn residues() {
    for (path, n, m) in cases() {
        let q = m.q();
        let a = row(n, 1 << 52, 10);
        let mut out = vec![1; n];
        kernel::reduce(path, &mut out, &a, &m);
        assert_eq!(out, expect(n, q, |i| a[i] as u128), "{path} {n} {q}");
        for c in [0, 1, q - 1, (1 << 49) + 3] {
            kernel::reduce_sub(path, &mut out, &a, c, &m);
            assert_eq!(
                out,
                expect(n, q, |i| a[i] as u128 + (q - c % q) as u128),
                "{path} {n} {q}"
            );
        }
    }
}

#[test]
fn weighted_sums() {
    for (path, n, m) in cases() {
        let q = m.q();
        for count in [0, 1, 2, 3, 10, 16, 17, 33] {
            let rows: Vec<Vec<u64>> = (0..count).map(|i| row(n, 1 << 50, 20 + i as u64)).collect();
            let mut inputs: Vec<&[u64]> = rows.iter().map(Vec::as_slice).collect();
            let top = vec![(1 << 50) - 1; n];
            inputs
                .iter_mut()
                .skip(2)
                .step_by(3)
                .for_each(|row| *row = &top);
            let mut weights = row(count, q, 50);
            weights.iter_mut().skip(2).for_each(|w| *w = q - 1);
            let sum = |i: usize| {
                inputs
                    .iter()
                    .zip(&weights)
                    .map(|(x, &w)| x[i] as u128 * w as u128)
                    .sum::<u128>()
            };
            let mut out = vec![1; n];
            kernel::weighted_sum(path, &mut out, &inputs, &weights, q - 3, &m);
            let expected = expect(n, q, |i| sum(i) + q as u128 - 3);
            assert_eq!(out, expected, "{path} {n} {q} {count}");
            kernel::weighted_sum_lazy(path, &mut out, &inputs, &weights, q - 3, &m);
            assert!(out.iter().all(|&x| x < 4 * q));
            assert_eq!(
                expect(n, q, |i| out[i] as u128),
                expected,
                "{path} {n} {q} {count}"
            );
            let mut other = vec![2; n];
            let twenty = Modulus::new(ntt_primes(4, 20, 2, &[]).unwrap()[1]).unwrap();
            let small: Vec<u64> = weights.iter().map(|&w| twenty.reduce(w)).collect();
            kernel::weighted_sums_lazy(
                path,
                &mut [&mut other, &mut out],
                &inputs,
                &[&small, &weights],
                &[5, q - 3],
                &[&twenty, &m],
            );
            assert_eq!(
                expect(n, q, |i| out[i] as u128),
                expected,
                "{path} {n} {q} {count}"
            );
            assert!(other.iter().all(|&x| x < 4 * twenty.q()));
            // More targets than one pass takes, each like one of the two.
            for targets in [1, 3, 4, 5, 7] {
                let mut rows = vec![vec![9; n]; targets];
                let which = |t: usize| t % 3 == 1;
                kernel::weighted_sums_lazy(
                    path,
                    &mut rows.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
                    &inputs,
                    &(0..targets)
                        .map(|t| if which(t) { &small[..] } else { &weights[..] })
                        .collect::<Vec<_>>(),
                    &(0..targets)
                        .map(|t| if which(t) { 5 } else { q - 3 })
                        .collect::<Vec<_>>(),
                    &(0..targets)
                        .map(|t| if which(t) { &twenty } else { &m })
                        .collect::<Vec<_>>(),
                );
                for (t, row) in rows.iter().enumerate() {
                    let (q, like) = if which(t) {
                        (twenty.q(), &other)
                    } else {
                        (q, &out)
                    };
                    assert!(row.iter().all(|&x| x < 4 * q));
                    assert!(
                        row.iter().zip(like).all(|(&x, &y)| x % q == y % q),
                        "{path} {n} {q} {count} {targets}"
                    );
                }
            }
            let small_sum = |i: usize| {
                inputs
                    .iter()
                    .zip(&small)
                    .map(|(x, &w)| x[i] as u128 * w as u128)
                    .sum::<u128>()
                    + 5
            };
            assert_eq!(
                expect(n, twenty.q(), |i| other[i] as u128),
                expect(n, twenty.q(), small_sum)
            );
        }
    }
}

#[test]
fn inner_products() {
    for (path, n, m) in cases() {
        let q = m.q();
        for count in [0, 1, 2, 3, 4, 5, 9, 17, 40] {
            let make = |bound, seed| -> Vec<Vec<u64>> {
                let high = |j: u64| {
                    if j % 3 == 1 {
                        vec![bound - 1; n]
                    } else {
                        row(n, bound, seed + j)
                    }
                };
                (0..count).map(high).collect()
            };
            let (xs, k0s, k1s) = (make(1 << 52, 100), make(q, 200), make(q, 300));
            let (x, k0, k1) = (xs.as_slice(), k0s.as_slice(), k1s.as_slice());
            let sum = |i: usize, ys: &[Vec<u64>]| {
                x.iter()
                    .zip(ys)
                    .map(|(x, y)| x[i] as u128 * y[i] as u128)
                    .sum::<u128>()
            };
            let (expected0, expected1) =
                (expect(n, q, |i| sum(i, k0)), expect(n, q, |i| sum(i, k1)));
            let (mut out0, mut out1) = (vec![1; n], vec![1; n]);
            kernel::inner_product(path, &mut out0, &refs(x), &refs(k0), &m);
            assert_eq!(out0, expected0, "{path} {n} {q} {count}");
            kernel::inner_product2(
                path,
                &mut out0,
                &mut out1,
                &refs(x),
                &refs(k0),
                &refs(k1),
                &m,
            );
            assert_eq!(
                (&out0, &out1),
                (&expected0, &expected1),
                "{path} {n} {q} {count}"
            );
            let add = row(n, q, 400);
            out0.copy_from_slice(&add);
            kernel::inner_product_add(path, &mut out0, &refs(x), &refs(k0), &m);
            assert_eq!(
                out0,
                expect(n, q, |i| sum(i, k0) + add[i] as u128),
                "{path} {n} {q} {count}"
            );
            out0.copy_from_slice(&add);
            out1.fill(q - 1);
            kernel::inner_product2_add(
                path,
                &mut out0,
                &mut out1,
                &refs(x),
                &refs(k0),
                &refs(k1),
                &m,
            );
            assert_eq!(
                out0,
                expect(n, q, |i| sum(i, k0) + add[i] as u128),
                "{path} {n} {q} {count}"
            );
            assert_eq!(
                out1,
                expect(n, q, |i| sum(i, k1) + q as u128 - 1),
                "{path} {n} {q} {count}"
            );
        }
    }
}

fn refs(rows: &[Vec<u64>]) -> Vec<&[u64]> {
    rows.iter().map(Vec::as_slice).collect()
}
