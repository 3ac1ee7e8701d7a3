//! Streams against AES of the definition, and what shares of zero promise.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256, Block};
use proptest::prelude::*;
use tacit_share::CpuPath;
use tacit_share::prg::{Stream, ZeroSharing};

mod words;
use words::words;

/// Words `2·first …` of a stream, block by block.
fn defined(seed: &[u8; 32], number: u64, first: u64, n: usize) -> Vec<u64> {
    let derive = Aes256::new(seed.into());
    let block = |a: u64, b: u64| -> Block {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&a.to_le_bytes());
        bytes[8..].copy_from_slice(&b.to_le_bytes());
        bytes.into()
    };
    let (mut key, mut nonce) = (block(number, 0), block(number, 1));
    derive.encrypt_block(&mut key);
    derive.encrypt_block(&mut nonce);
    let nonce = u64::from_le_bytes(nonce[..8].try_into().unwrap());
    let cipher = Aes128::new(&key);
    let mut out = Vec::new();
    for i in first.. {
        if out.len() >= n {
            break;
        }
        let mut block = block(i, nonce);
        cipher.encrypt_block(&mut block);
        out.push(u64::from_le_bytes(block[..8].try_into().unwrap()));
        out.push(u64::from_le_bytes(block[8..].try_into().unwrap()));
    }
    out.truncate(n);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_calls(seed: [u8; 32], number: u64, lengths in proptest::collection::vec(0usize..400, 1..6)) {
        for path in CpuPath::all_available() {
            let mut stream = Stream::new(path, &seed, number);
            let mut first = 0;
            for (i, &n) in lengths.iter().enumerate() {
                let random = defined(&seed, number, first, n);
                first += n.div_ceil(2) as u64;
                let start = words(n, number ^ i as u64);
                let mut out = start.clone();
                let merge: fn(u64, u64) -> u64 = match i % 4 {
                    0 => { stream.fill(&mut out).unwrap(); |_, r| r }
                    1 => { stream.add_to(&mut out).unwrap(); u64::wrapping_add }
                    2 => { stream.subtract_from(&mut out).unwrap(); u64::wrapping_sub }
                    _ => { stream.xor_to(&mut out).unwrap(); |a, r| a ^ r }
                };
                let expected: Vec<u64> = start.iter().zip(&random).map(|(&a, &r)| merge(a, r)).collect();
                prop_assert_eq!(&out, &expected, "{}, call {}", path, i);
            }
        }
    }

    #[test]
    fn zero_is_shared(seeds: [[u8; 32]; 3], number: u64, n in 1usize..3000) {
        prop_assume!(seeds[0] != seeds[1] && seeds[1] != seeds[2] && seeds[2] != seeds[0]);
        for path in CpuPath::all_available() {
            let mut parties: Vec<ZeroSharing> = (0..3)
                .map(|i| ZeroSharing::new(path, &seeds[i], &seeds[(i + 1) % 3], number))
                .collect();
            let mut seen = Vec::new();
            for _ in 0..2 {
                let mut parts = vec![vec![0u64; n]; 3];
                for (party, part) in parties.iter_mut().zip(&mut parts) {
                    party.add_to(part).unwrap();
                }
                for j in 0..n {
                    let sum = parts.iter().fold(0u64, |sum, part| sum.wrapping_add(part[j]));
                    prop_assert_eq!(sum, 0);
                }
                seen.extend(parts);
                let mut parts = vec![vec![0u64; n]; 3];
                for (party, part) in parties.iter_mut().zip(&mut parts) {
                    party.xor_to(part).unwrap();
                }
                for j in 0..n {
                    prop_assert_eq!(parts.iter().fold(0, |sum, part| sum ^ part[j]), 0);
                }
                seen.extend(parts);
            }
            // Every part of every call is fresh.
            for i in 0..seen.len() {
                for j in 0..i {
                    prop_assert_ne!(&seen[i], &seen[j]);
                }
            }
        }
    }
}

#[test]
fn random_parts_are_replicated() {
    let seeds = [[1; 32], [2; 32], [3; 32]];
    let parts: Vec<[Vec<u64>; 2]> = (0..3)
        .map(|i| {
            let mut zero = ZeroSharing::new(CpuPath::detect(), &seeds[i], &seeds[(i + 1) % 3], 9);
            let [mut own, mut next] = [vec![0; 7], vec![0; 7]];
            zero.random([&mut own, &mut next]).unwrap();
            [own, next]
        })
        .collect();
    for i in 0..3 {
        assert_eq!(parts[i][1], parts[(i + 1) % 3][0]);
        assert_ne!(parts[i][0], parts[i][1]);
    }
}

/// Half of all bits, and half of the changes from word to word, within six standard deviations.
#[test]
fn bits_are_balanced() {
    for path in CpuPath::all_available() {
        let mut out = vec![0u64; 1 << 16];
        Stream::new(path, &[5; 32], 1).fill(&mut out).unwrap();
        let ones: u32 = out.iter().map(|word| word.count_ones()).sum();
        let changes: u32 = out.windows(2).map(|w| (w[0] ^ w[1]).count_ones()).sum();
        for count in [ones, changes + 32] {
            assert!((f64::from(count) - 2f64.powi(21)).abs() < 6.0 * 2f64.powi(10));
        }
    }
}
