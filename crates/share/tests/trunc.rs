//! Truncation against integer division, with every mask that matters.

use proptest::prelude::*;
use tacit_share::CpuPath;
use tacit_share::trunc::{self, MAX_BITS};

mod words;
use words::words;

/// The quotients of `x`, shared in three parts, with the masks `r`.
fn truncated(path: CpuPath, x: &[u64], r: &[u64], bits: u32) -> Vec<i64> {
    let n = x.len();
    let share = |secret: &[u64], seed: u64| -> [Vec<u64>; 3] {
        let (a, b) = (words(n, seed), words(n, seed + 1));
        let c = (0..n).map(|i| secret[i].wrapping_sub(a[i]).wrapping_sub(b[i]));
        let c = c.collect();
        [a, b, c]
    };
    let [mut high, mut top] = [vec![0; n], vec![0; n]];
    trunc::mask_parts(path, &mut high, &mut top, r, bits);
    let (x, r) = (share(x, 1), share(r, 3));
    let (high, top) = (share(&high, 5), share(&top, 7));
    let mut opened = vec![0u64; n];
    for i in 0..3 {
        let mut part = vec![0; n];
        trunc::masked(path, &mut part, &x[i], &r[i], i == 0);
        opened
            .iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum = sum.wrapping_add(part));
    }
    let mut sum = vec![0u64; n];
    for i in 0..3 {
        let mut part = vec![0; n];
        trunc::quotient(path, &mut part, &opened, &high[i], &top[i], bits, i == 0);
        sum.iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum = sum.wrapping_add(part));
    }
    sum.into_iter().map(|word| word as i64).collect()
}

fn check(x: &[i64], r: &[u64], bits: u32) {
    let words: Vec<u64> = x.iter().map(|&x| x as u64).collect();
    for path in CpuPath::all_available() {
        let got = truncated(path, &words, r, bits);
        for ((&x, &r), got) in x.iter().zip(r).zip(got) {
            // One more exactly when the low bits of x and of the mask carry.
            let low = (1u64 << bits) - 1;
            let carries = (x as u64 & low) + (r & low) > low;
            let floor = x >> bits;
            assert!(
                got == floor || got == floor + 1,
                "{path} {x} {r:x} >> {bits}: {got}"
            );
            assert!(
                got == floor || x as u64 & low != 0,
                "{path}: a multiple is exact"
            );
            assert_eq!(
                got,
                floor + i64::from(carries),
                "{path} {x} {r:x} >> {bits}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_numbers(pairs in proptest::collection::vec((-(1i64 << 62)..1 << 62, any::<u64>()), 1..40), bits in 1..=MAX_BITS) {
        let (x, r): (Vec<i64>, Vec<u64>) = pairs.into_iter().unzip();
        check(&x, &r, bits);
    }
}

/// Both ends of the range and of the units, with masks at every end.
#[test]
fn the_edges() {
    let edge = 1i64 << 62;
    for bits in [1, 13, 18, 31, 61, 62] {
        let unit = 1i64 << bits;
        let numbers = [
            -edge,
            -edge + 1,
            -unit - 1,
            -unit,
            -1,
            0,
            1,
            unit - 1,
            edge - 1,
        ];
        let low = (1u64 << bits) - 1;
        let masks = [
            0,
            1,
            low,
            low + 1,
            u64::MAX >> 1,
            1 << 63,
            1 << 63 | low,
            !low,
            u64::MAX,
        ];
        for x in numbers.into_iter().filter(|x| (-edge..edge).contains(x)) {
            check(&[x; 9], &masks, bits);
        }
    }
}

#[test]
#[should_panic(expected = "1 to 62 bits")]
fn not_all_bits() {
    trunc::mask_parts(CpuPath::Portable, &mut [0], &mut [0], &[0], 63);
}
