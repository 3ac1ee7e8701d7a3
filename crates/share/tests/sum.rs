//! Sums, products and choices in one pass, against word by word.

use proptest::prelude::*;
use tacit_share::CpuPath;
use tacit_share::bits;
use tacit_share::prg::{Stream, ZeroSharing};
use tacit_share::product;
use tacit_share::sum::{Sum, Summand, add_up, xor_up};

mod words;
use words::words;

/// The next words of a stream, and the shares of zero of two seeds.
fn made(path: CpuPath, n: usize) -> (Vec<u64>, Vec<u64>) {
    let (mut stream, mut zero) = (vec![0; n], vec![0; n]);
    Stream::new(path, &[1; 32], 0).fill(&mut stream).unwrap();
    ZeroSharing::new(path, &[2; 32], &[3; 32], 0)
        .add_to(&mut zero)
        .unwrap();
    (stream, zero)
}

fn check(n: usize, seed: u64, constant: u64) {
    let [x, y, a, b] = [1, 2, 3, 4].map(|i| words(n, seed + i));
    let packed = words(bits::plane_words(n), seed + 5);
    for path in CpuPath::all_available() {
        let (r, z) = made(path, n);
        let added = |i: usize| {
            constant
                .wrapping_add(a[i])
                .wrapping_add(r[i])
                .wrapping_add(z[i])
                .wrapping_sub(b[i])
        };
        let with = |work: &dyn Fn(&mut [u64], &mut Sum<'_>), expected: &dyn Fn(usize) -> u64| {
            let mut stream = Stream::new(path, &[1; 32], 0);
            let mut zero = ZeroSharing::new(path, &[2; 32], &[3; 32], 0);
            let mut sum = Sum {
                constant,
                plus: vec![
                    Summand::Words(&a),
                    Summand::Stream(&mut stream),
                    Summand::Zero(&mut zero),
                ],
                minus: vec![Summand::Words(&b)],
            };
            let mut out = vec![!0; n];
            work(&mut out, &mut sum);
            for (i, out) in out.iter().enumerate() {
                assert_eq!(
                    *out,
                    expected(i).wrapping_add(added(i)),
                    "{path} {i} of {n}"
                );
            }
        };
        let bit = |i: usize| packed[i / 64] >> (i % 64) & 1;
        with(&|out, sum| add_up(path, out, sum).unwrap(), &|_| 0);
        with(
            &|out, sum| product::product(path, out, &x, &y, sum).unwrap(),
            &|i| x[i].wrapping_mul(y[i]),
        );
        with(
            &|out, sum| bits::unpack(path, out, &packed, sum).unwrap(),
            &bit,
        );
        with(
            &|out, sum| bits::choose(path, out, &packed, &x, sum).unwrap(),
            &|i| if bit(i) == 1 { x[i] } else { 0 },
        );
        with(
            &|out, sum| bits::turn(path, out, &packed, &x, sum).unwrap(),
            &|i| {
                if bit(i) == 1 {
                    x[i].wrapping_neg()
                } else {
                    x[i]
                }
            },
        );
        let mut low = vec![!0; bits::plane_words(n)];
        bits::pack(path, &mut low, &x);
        for i in 0..64 * low.len() {
            let expected = x.get(i).map_or(0, |word| word & 1);
            assert_eq!(low[i / 64] >> (i % 64) & 1, expected, "{path} {i} of {n}");
        }
        for flip in [false, true] {
            let mut stream = Stream::new(path, &[1; 32], 0);
            let mut out = vec![!0; n];
            let mut summands = [Summand::Words(&x), Summand::Stream(&mut stream)];
            xor_up(path, &mut out, &mut summands, flip).unwrap();
            let mask = if flip { u64::MAX } else { 0 };
            assert!((0..n).all(|i| out[i] == x[i] ^ r[i] ^ mask), "{path} {n}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sum(n in 0usize..3000, seed: u64, constant: u64) {
        check(n, seed >> 8, constant);
    }
}

#[test]
fn lengths_around_the_chunks() {
    for n in [1023, 1024, 1025, 2047, 2048, 2049] {
        check(n, n as u64, 1 << 62);
    }
}

#[test]
#[should_panic(expected = "as many words as the result")]
fn lengths_are_checked() {
    let mut sum = Sum::of(vec![Summand::Words(&[0; 2])]);
    let _ = add_up(CpuPath::Portable, &mut [0; 3], &mut sum);
}
