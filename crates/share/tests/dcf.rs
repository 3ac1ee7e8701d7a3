//! Keys of a comparison: both shares together are the function, at all points and on all paths.

use proptest::prelude::*;
use tacit_share::CpuPath;
use tacit_share::dcf::{Batch, evaluate, generate, key_words};

mod words;
use words::words;

fn low(x: u64, bits: u32) -> u64 {
    if bits == 0 {
        0
    } else {
        x & (u64::MAX >> (64 - bits))
    }
}

struct Pair {
    batch: Batch,
    roots: [Vec<u64>; 2],
    keys: Vec<u64>,
}

impl Pair {
    fn new(path: CpuPath, bits: u32, alpha: &[u64], flips: &[u64], seed: u64) -> Self {
        let n = alpha.len();
        let roots = [words(2 * n, seed), words(2 * n, seed ^ 0xabcd)];
        let prg_key = (words(2, seed ^ 77)[0] as u128 | 5 << 64).to_le_bytes();
        let mut keys = vec![0; key_words(bits, n)];
        let batch = Batch { bits, prg_key };
        generate(
            path,
            &batch,
            [&roots[0], &roots[1]],
            alpha,
            flips,
            &mut keys,
        );
        Self { batch, roots, keys }
    }

    fn shares(&self, path: CpuPath, points: &[u64]) -> [Vec<u64>; 2] {
        [false, true].map(|second| {
            let mut out = vec![u64::MAX; points.len().div_ceil(64)];
            let roots = &self.roots[usize::from(second)];
            evaluate(
                path,
                &self.batch,
                second,
                roots,
                &self.keys,
                points,
                &mut out,
            );
            out
        })
    }

    fn values(&self, path: CpuPath, points: &[u64]) -> Vec<bool> {
        let [first, second] = self.shares(path, points);
        (0..points.len())
            .map(|i| (first[i / 64] ^ second[i / 64]) >> (i % 64) & 1 == 1)
            .collect()
    }
}

#[test]
fn all_points_of_few_bits() {
    for bits in 0..=9u32 {
        let size = 1u64 << bits;
        for alpha in (0..size).step_by(if bits > 7 { 37 } else { 1 }) {
            // One key per point and flip.
            let points: Vec<u64> = (0..2 * size).map(|i| i % size).collect();
            let n = points.len();
            let mut flips = vec![0u64; n.div_ceil(64)];
            (n / 2..n).for_each(|i| flips[i / 64] |= 1 << (i % 64));
            for path in CpuPath::all_available() {
                let pair = Pair::new(path, bits, &vec![alpha; n], &flips, 3 + alpha);
                for (i, value) in pair.values(path, &points).into_iter().enumerate() {
                    assert_eq!(
                        value,
                        (points[i] < alpha) ^ (i >= n / 2),
                        "{path} {bits} {alpha} {i}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_width(bits in 0u32..=64, n in 1usize..150, seed: u64) {
        let alpha = words(n, seed);
        // Points far from the secret and next to it; what is above `bits` must not count.
        let points: Vec<u64> = words(n, seed ^ 1).iter().zip(&alpha).map(|(x, a)| match x % 4 {
            0 => *a,
            1 => a.wrapping_sub(1),
            2 => a.wrapping_add(1),
            _ => *x,
        }).collect();
        let flips = words(n.div_ceil(64), seed ^ 2);
        let portable = Pair::new(CpuPath::Portable, bits, &alpha, &flips, seed);
        for path in CpuPath::all_available() {
            let pair = Pair::new(path, bits, &alpha, &flips, seed);
            prop_assert_eq!(&pair.keys, &portable.keys);
            let shares = pair.shares(path, &points);
            prop_assert_eq!(&shares, &portable.shares(CpuPath::Portable, &points));
            if n % 64 != 0 {
                prop_assert!(shares.iter().all(|share| share[n / 64] >> (n % 64) == 0));
            }
            for (i, value) in pair.values(path, &points).into_iter().enumerate() {
                let flip = flips[i / 64] >> (i % 64) & 1 == 1;
                prop_assert_eq!(value, (low(points[i], bits) < low(alpha[i], bits)) ^ flip);
            }
        }
    }
}

/// What one party holds does not tell small secrets from large ones: its keys and shares have as many ones.
#[test]
fn one_party_sees_as_many_ones() {
    let n = 1 << 12;
    let path = CpuPath::detect();
    for alpha in [0, u64::MAX] {
        let pair = Pair::new(path, 64, &vec![alpha; n], &vec![0; n / 64], 9);
        let ones: u32 = pair.keys.iter().map(|word| word.count_ones()).sum();
        let [all, half] = [64.0 * pair.keys.len() as f64, 32.0 * pair.keys.len() as f64];
        assert!((f64::from(ones) - half).abs() < 5.0 * all.sqrt() / 2.0);
        for share in pair.shares(path, &words(n, 5)) {
            let ones: u32 = share.iter().map(|word| word.count_ones()).sum();
            assert!((f64::from(ones) - n as f64 / 2.0).abs() < 5.0 * (n as f64).sqrt() / 2.0);
        }
    }
}
