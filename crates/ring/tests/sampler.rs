//! Samplers: exact definitions and statistics. Everything is seeded, so nothing here is flaky.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tacit_ring::{Modulus, ntt_primes, sampler};

const SAMPLES: usize = 1 << 20;

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// `Σ (observed - expected)² / expected` over the cells that expect at least ten.
fn chi_square(counts: &[u64], expected: &[f64]) -> (f64, f64) {
    let cells: Vec<f64> = counts
        .iter()
        .zip(expected)
        .filter(|&(_, &e)| e >= 10.0)
        .map(|(&count, e)| (count as f64 - e).powi(2) / e)
        .collect();
    (cells.iter().sum(), cells.len() as f64 - 1.0)
}

/// A chi-square value with `k` degrees of freedom is above this with probability below 1e-6 (Wilson and Hilferty, 1931).
fn chi_square_limit(k: f64) -> f64 {
    k * (1.0 - 2.0 / (9.0 * k) + 4.75 * (2.0 / (9.0 * k)).sqrt()).powi(3)
}

#[test]
fn ternary_is_balanced() {
    let mut out = vec![0; SAMPLES];
    sampler::ternary(&mut rng(1), &mut out);
    let mut counts = [0; 3];
    out.iter().for_each(|&x| counts[(x + 1) as usize] += 1);
    let (chi, freedom) = chi_square(&counts, &[SAMPLES as f64 / 3.0; 3]);
    assert!(chi < chi_square_limit(freedom), "{counts:?}");
    // Neighbours are independent.
    let mut pairs = [0; 9];
    out.as_chunks::<2>()
        .0
        .iter()
        .for_each(|&[a, b]| pairs[(3 * (a + 1) + b + 1) as usize] += 1);
    let (chi, freedom) = chi_square(&pairs, &[SAMPLES as f64 / 18.0; 9]);
    assert!(chi < chi_square_limit(freedom), "{pairs:?}");
}

#[test]
fn gaussian_has_the_distribution() {
    let mut out = vec![0; SAMPLES];
    sampler::gaussian(&mut rng(2), &mut out);
    let bound = sampler::GAUSSIAN_BOUND as i32;
    assert!(out.iter().all(|&x| (x as i32).abs() <= bound));
    let weight = |x: i32| (-f64::from(x * x) / (2.0 * sampler::SIGMA * sampler::SIGMA)).exp();
    let total: f64 = (-100..=100).map(weight).sum();
    let expected: Vec<f64> = (-bound..=bound)
        .map(|x| SAMPLES as f64 * weight(x) / total)
        .collect();
    let mut counts = vec![0; expected.len()];
    out.iter()
        .for_each(|&x| counts[(x as i32 + bound) as usize] += 1);
    let (chi, freedom) = chi_square(&counts, &expected);
    assert!(
        chi < chi_square_limit(freedom),
        "chi-square {chi} with {freedom} degrees of freedom"
    );
    let mean = out.iter().map(|&x| f64::from(x)).sum::<f64>() / SAMPLES as f64;
    let variance = out.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / SAMPLES as f64;
    // Five standard deviations of the estimates.
    assert!(
        mean.abs() < 5.0 * sampler::SIGMA / (SAMPLES as f64).sqrt(),
        "mean {mean}"
    );
    let spread = sampler::SIGMA.powi(2) * (2.0 / SAMPLES as f64).sqrt();
    assert!(
        (variance - sampler::SIGMA.powi(2)).abs() < 5.0 * spread,
        "variance {variance}"
    );
}

/// Words at the ends of the range, one by one: a table that is off by one entry fails here.
#[test]
fn gaussian_inverts_the_table() {
    struct Words(Vec<u64>, usize);
    impl rand_core::TryRng for Words {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(self.try_next_u64()? as u32)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            let word = self.0[self.1 % self.0.len()];
            self.1 += 1;
            Ok(word)
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            for word in bytes.chunks_mut(8) {
                word.copy_from_slice(&self.next_u64().to_le_bytes()[..word.len()]);
            }
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Words {}
    let mut words = vec![0; 65];
    // Just below and at round(2^64·P(0)), P(0) = 0.1246694626…; then the ends.
    words[..4].copy_from_slice(&[0x1fea_5680_c943_e4af, 0x1fea_5680_c943_e4b0, 0, u64::MAX]);
    words[64] = 0b1010;
    let mut out = [0; 4];
    sampler::gaussian(&mut Words(words, 0), &mut out);
    assert_eq!(out[0], 0);
    assert_eq!(out[1].abs(), 1);
    assert_eq!(out[2], 0);
    assert_eq!(out[3], -sampler::GAUSSIAN_BOUND);
}

#[test]
fn uniform_is_as_documented() {
    for (log_n, bits, index) in [(4, 50, 0), (12, 31, 3), (10, 20, 0)] {
        let m = Modulus::new(ntt_primes(log_n, bits, index + 1, &[]).unwrap()[index]).unwrap();
        let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
        let stream = 0x0102_0304_0506_0708u64;
        let cipher = Aes256::new(&seed.into());
        let mut expected = Vec::new();
        for counter in 0u64.. {
            let mut block = aes::Block::default();
            block[..8].copy_from_slice(&stream.to_le_bytes());
            block[8..].copy_from_slice(&counter.to_le_bytes());
            cipher.encrypt_block(&mut block);
            for word in block.chunks(8) {
                let word = u64::from_le_bytes(word.try_into().unwrap()) & ((1 << bits) - 1);
                if word < m.q() {
                    expected.push(word);
                }
            }
            if expected.len() >= 2000 {
                break;
            }
        }
        for len in [0, 1, 2, 7, 8, 127, 128, 129, 520, 1999] {
            let mut out = vec![u64::MAX; len];
            sampler::uniform(&seed, stream, &mut out, &m);
            assert_eq!(out, expected[..len], "{bits} {len}");
        }
    }
}

#[test]
fn uniform_fills_the_range_evenly() {
    // A prime just above a power of two: half of all words are rejected.
    let m = Modulus::new(65_537).unwrap();
    let mut out = vec![0; SAMPLES];
    sampler::uniform(&[9; 32], 0, &mut out, &m);
    let mut counts = vec![0; 64];
    out.iter()
        .for_each(|&x| counts[(x * 64 / m.q()) as usize] += 1);
    let (chi, freedom) = chi_square(&counts, &[SAMPLES as f64 / 64.0; 64]);
    assert!(chi < chi_square_limit(freedom));
    let mut other = vec![0; 64];
    sampler::uniform(&[9; 32], 1, &mut other, &m);
    assert_ne!(other, out[..64], "streams are different");
}

#[test]
fn lift_is_the_residue() {
    let m = Modulus::new(ntt_primes(10, 50, 1, &[]).unwrap()[0]).unwrap();
    let small = [0i32, 1, -1, 29, -29, i32::MAX, i32::MIN];
    let mut out = [7; 7];
    sampler::lift_signed(&mut out, &small, &m);
    assert_eq!(
        out,
        small.map(|x| (i64::from(x)).rem_euclid(m.q() as i64) as u64)
    );
}
