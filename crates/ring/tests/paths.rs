//! Every path against the portable one.

use tacit_ring::{Conversion, CpuPath, Modulus, NttTable, Term, ntt_primes};

mod rows;
use rows::row;

fn other_paths() -> impl Iterator<Item = CpuPath> {
    CpuPath::all_available()
        .into_iter()
        .filter(|&path| path != CpuPath::Portable)
}

/// Degrees with the prime sizes that are tried there.
fn rings() -> Vec<(u32, Modulus)> {
    let mut rings = Vec::new();
    for log_n in 4..=16 {
        for bits in [20, 25, 30, 40, 45, 46, 47, 48, 49, 50] {
            if log_n > 13 && ![40, 45, 47, 48, 49, 50].contains(&bits) {
                continue;
            }
            rings.push((
                log_n,
                Modulus::new(ntt_primes(log_n, bits, 1, &[]).unwrap()[0]).unwrap(),
            ));
        }
    }
    rings
}

#[test]
fn forward_transforms_agree() {
    for (log_n, m) in rings() {
        let (n, q) = (1 << log_n, m.q());
        let table = NttTable::new(log_n, &m).unwrap();
        for (input, name) in [
            (row(n, 4 * q, 1), "random"),
            (vec![4 * q - 1; n], "4q - 1"),
            (vec![q - 1; n], "q - 1"),
            (vec![0; n], "0"),
        ] {
            let mut expected = input.clone();
            table.forward(CpuPath::Portable, &mut expected);
            assert!(expected.iter().all(|&x| x < q));
            for path in other_paths() {
                let (mut canonical, mut lazy) = (input.clone(), input.clone());
                table.forward(path, &mut canonical);
                assert!(
                    canonical == expected,
                    "{path} n = 2^{log_n}, q = {q}, {name}"
                );
                table.forward_lazy(path, &mut lazy);
                assert!(
                    lazy.iter().all(|&x| x < 1 << 52),
                    "{path} n = 2^{log_n}, q = {q}, {name}: range"
                );
                lazy.iter_mut().for_each(|x| *x %= q);
                assert!(
                    lazy == expected,
                    "{path} n = 2^{log_n}, q = {q}, {name}: lazy"
                );
            }
        }
    }
}

#[test]
fn converted_transforms_agree() {
    let limit = 1 << 50;
    for (log_n, m) in rings() {
        let (n, q) = (1 << log_n, m.q());
        let table = NttTable::new(log_n, &m).unwrap();
        // One input alone; a handful; more than one reduction has room for at 50 bits.
        for (terms, weight) in [(1, 1), (1, q - 1), (3, q - 1), (20, q - 1)] {
            for (name, input) in [
                ("random", None),
                ("2^50 - 1", Some(limit - 1)),
                ("0", Some(0)),
            ] {
                let fresh = |i| input.map_or_else(|| row(n, limit, i as u64), |x| vec![x; n]);
                let rows: Vec<Vec<u64>> = (0..terms).map(fresh).collect();
                let inputs: Vec<&[u64]> = rows.iter().map(Vec::as_slice).collect();
                let weights: Vec<u64> = (0..terms as u64).map(|i| (weight + i) % q).collect();
                let source = Conversion {
                    inputs: &inputs,
                    weights: &weights,
                    offset: q - 2,
                };
                let mut expected: Vec<u64> = (0..n)
                    .map(|i| {
                        let products = inputs
                            .iter()
                            .zip(&weights)
                            .map(|(x, &w)| m.mul(m.reduce(x[i]), w));
                        products.fold(q - 2, |sum, product| m.add(sum, product))
                    })
                    .collect();
                table.forward(CpuPath::Portable, &mut expected);
                for path in CpuPath::all_available() {
                    let mut out = vec![!0; n];
                    table.forward_converted(path, &mut out, &source, &inputs);
                    assert!(
                        out.iter().all(|&x| x < 1 << 52),
                        "{path} 2^{log_n}, q = {q}, {name}: range"
                    );
                    out.iter_mut().for_each(|x| *x %= q);
                    assert!(
                        out == expected,
                        "{path} 2^{log_n}, q = {q}, {terms} x {name}"
                    );
                }
            }
            if log_n > 13 {
                break;
            }
        }
    }
}

/// Which factors of an inner product are conversions, of how many rows; 0 for one that is ready.
const TERMS: [&[usize]; 5] = [&[0], &[1], &[0, 1, 2], &[3, 0, 20], &[1, 1, 1, 1]];

#[test]
fn inner_products_of_conversions_agree() {
    for (log_n, m) in rings() {
        let (n, q) = (1 << log_n, m.q());
        let table = NttTable::new(log_n, &m).unwrap();
        for kinds in TERMS {
            let fresh = |i: usize| row(n, 1 << 50, i as u64);
            let inputs: Vec<Vec<Vec<u64>>> = kinds
                .iter()
                .map(|&rows| (0..rows.max(1)).map(fresh).collect())
                .collect();
            let inputs: Vec<Vec<&[u64]>> = inputs
                .iter()
                .map(|rows| rows.iter().map(Vec::as_slice).collect())
                .collect();
            // One input alone has no weight; else the largest ones.
            let weights: Vec<Vec<u64>> = inputs
                .iter()
                .map(|rows| match rows.len() {
                    1 => vec![1],
                    len => (1..=len as u64).map(|i| q - i).collect(),
                })
                .collect();
            let factors: Vec<Vec<u64>> = (0..kinds.len())
                .map(|j| {
                    let mut factor: Vec<u64> = (0..n)
                        .map(|i| {
                            let products = inputs[j]
                                .iter()
                                .zip(&weights[j])
                                .map(|(x, &w)| m.mul(m.reduce(x[i]), w));
                            products.fold(q - 2, |sum, product| m.add(sum, product))
                        })
                        .collect();
                    table.forward(CpuPath::Portable, &mut factor);
                    factor
                })
                .collect();
            let keys: [Vec<Vec<u64>>; 2] =
                [50, 60].map(|s| (0..kinds.len()).map(|j| row(n, q, s + j as u64)).collect());
            let keys_of = |o: usize| -> Vec<&[u64]> { keys[o].iter().map(Vec::as_slice).collect() };
            let start = [row(n, q, 70), row(n, q, 71)];
            for path in CpuPath::all_available() {
                for add in [false, true] {
                    let mut rooms = vec![vec![!0; n]; kinds.len()];
                    let mut terms: Vec<Term<'_>> = rooms
                        .iter_mut()
                        .enumerate()
                        .map(|(j, room)| match kinds[j] {
                            0 => Term::Ready(&factors[j]),
                            _ => Term::Converted {
                                source: Conversion {
                                    inputs: &inputs[j],
                                    weights: &weights[j],
                                    offset: q - 2,
                                },
                                room,
                            },
                        })
                        .collect();
                    let [mut out0, mut out1] = start.clone();
                    table.inner_product2(
                        path,
                        [&mut out0, &mut out1],
                        &mut terms,
                        [&keys_of(0), &keys_of(1)],
                        add,
                    );
                    for (o, out) in [out0, out1].into_iter().enumerate() {
                        let expected: Vec<u64> = (0..n)
                            .map(|i| {
                                let first = if add { start[o][i] } else { 0 };
                                (0..kinds.len()).fold(first, |sum, j| {
                                    m.add(sum, m.mul(factors[j][i], keys[o][j][i]))
                                })
                            })
                            .collect();
                        assert!(
                            out == expected,
                            "{path} 2^{log_n}, q = {q}, {kinds:?}, add {add}"
                        );
                    }
                }
            }
            if log_n > 13 {
                break;
            }
        }
    }
}

#[test]
fn inverse_transforms_agree() {
    for (log_n, m) in rings() {
        let (n, q) = (1 << log_n, m.q());
        let table = NttTable::new(log_n, &m).unwrap();
        let scale = table.inverse_scale(q - 5, q - 2);
        for (input, name) in [
            (row(n, 2 * q, 2), "random"),
            (vec![2 * q - 1; n], "2q - 1"),
            (vec![q - 1; n], "q - 1"),
            (vec![0; n], "0"),
        ] {
            let mut expected = input.clone();
            table.inverse(CpuPath::Portable, &mut expected);
            assert!(expected.iter().all(|&x| x < q));
            let scaled: Vec<u64> = expected
                .iter()
                .map(|&x| m.add(m.mul(x, q - 5), q - 2))
                .collect();
            for path in CpuPath::all_available() {
                let mut plain = input.clone();
                table.inverse(path, &mut plain);
                assert!(plain == expected, "{path} n = 2^{log_n}, q = {q}, {name}");
                let (mut in_place, mut out_of_place) = (input.clone(), vec![1; n]);
                table.inverse_scaled(path, &mut in_place, &scale);
                assert!(
                    in_place == scaled,
                    "{path} n = 2^{log_n}, q = {q}, {name}: scaled"
                );
                table.inverse_scaled_to(path, &mut out_of_place, &input, &scale);
                assert!(
                    out_of_place == scaled,
                    "{path} n = 2^{log_n}, q = {q}, {name}: scaled to"
                );
                // The transforms undo each other.
                table.forward(path, &mut plain);
                assert!(
                    plain.iter().zip(&input).all(|(&x, &y)| x == y % q),
                    "{path} n = 2^{log_n}, q = {q}"
                );
            }
        }
    }
}
