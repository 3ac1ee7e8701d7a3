//! The NTT against schoolbook arithmetic.

use tacit_ring::{CpuPath, Modulus, NttTable, ntt_primes};

fn random_row(n: usize, m: &Modulus, stream: u64) -> Vec<u64> {
    let mut row = vec![0; n];
    tacit_ring::sampler::uniform(&[7; 32], stream, &mut row, m);
    row
}

fn schoolbook(a: &[u64], b: &[u64], m: &Modulus) -> Vec<u64> {
    let n = a.len();
    let mut out = vec![0; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let product = m.mul(x, y);
            let k = (i + j) % n;
            out[k] = if i + j < n {
                m.add(out[k], product)
            } else {
                m.sub(out[k], product)
            };
        }
    }
    out
}

#[test]
fn evaluations_are_in_bit_reversed_order() {
    for path in CpuPath::all_available() {
        for (log_n, bits) in [(4, 20), (5, 30), (8, 50)] {
            let m = Modulus::new(ntt_primes(log_n, bits, 1, &[]).unwrap()[0]).unwrap();
            let table = NttTable::new(log_n, &m).unwrap();
            let n = 1usize << log_n;
            let a = random_row(n, &m, 0);
            let mut evaluated = a.clone();
            table.forward(path, &mut evaluated);
            assert_eq!(m.pow(table.psi(), n as u64), m.q() - 1);
            for (i, &value) in evaluated.iter().enumerate() {
                let point = m.pow(
                    table.psi(),
                    2 * (i.reverse_bits() >> (64 - log_n)) as u64 + 1,
                );
                let horner = a
                    .iter()
                    .rev()
                    .fold(0, |sum, &c| m.add(m.mul(sum, point), c));
                assert_eq!(value, horner, "{path} {log_n} {i}");
            }
        }
    }
}

#[test]
fn product_of_evaluations_is_the_negacyclic_product() {
    for path in CpuPath::all_available() {
        for (log_n, bits) in [(4, 20), (6, 36), (9, 45), (10, 50)] {
            let m = Modulus::new(ntt_primes(log_n, bits, 2, &[]).unwrap()[1]).unwrap();
            let table = NttTable::new(log_n, &m).unwrap();
            let (mut a, mut b) = (random_row(1 << log_n, &m, 1), random_row(1 << log_n, &m, 2));
            let expected = schoolbook(&a, &b, &m);
            table.forward(path, &mut a);
            table.forward(path, &mut b);
            tacit_ring::kernel::mul_assign(path, &mut a, &b, &m);
            table.inverse(path, &mut a);
            assert_eq!(a, expected, "{path} {log_n}");
        }
    }
}
