//! Every path against the portable one.

use tacit_ring::{CpuPath, Modulus, NttTable, ntt_primes};

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
                    table.forward_converted(path, &mut out, &inputs, &weights, q - 2);
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
