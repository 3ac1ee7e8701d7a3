//! Distributed comparison: two keys, whose evaluations at a public point differ exactly where the point lies below a secret.
//!
//! # Definition
//!
//! A pair of keys for a secret `alpha` of `bits` bits and a secret bit `flip` shares, modulo 2, the function
//! `f(x) = (x < alpha) ^ flip` of the points `0 <= x < 2^bits`. Construction of Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar and
//! Rathee (Eurocrypt 2021, ia.cr/2020/1392, figure 1) with the group `Z_2`; `flip` is a constant added to the function, which
//! costs nothing. The last seven levels are one block of 128 leaves (early termination of Boyle, Gilboa and Ishai, CCS 2016,
//! section 3.2.3).
//!
//! Integers below are 128 bits, stored as two words, the less significant first. `E` is AES-128 (FIPS 197) under the public
//! `prg_key`, a block being its integer's bytes, least significant first, and `H(s) = E(s) ^ s` (Matyas, Meyer and Oseas; as a
//! generator of trees: Guo, Katz, Wang, Weng and Yu, ia.cr/2019/1168, for ideal permutations). A seed has its low three bits clear: 125 bits. Its child in
//! direction `d` (0: left) is `h = H(s | d)`: bit `d` of `h` is the child's control bit, bit 2 its value, the rest its seed.
//! A correction word has the correction of the seed in its upper 125 bits, those of the control bits of the left and the
//! right child in bits 0 and 1, that of the value in bit 2. The leaves of a seed are the bits of `H(s)`.
//!
//! Keys of a batch of `n`: `levels(bits)` rows of `n` correction words, the level of the most significant bit first, then a row of
//! `n` corrections of leaves; they are the same for both parties, and public between them. Each party's root is a random block;
//! its low three bits do not count; the control bit of a root is the party's number.
//!
//! # Security
//!
//! One party's root and the correction words are indistinguishable from random without the other root: 125-bit seeds. An
//! adversary that makes `q` evaluations of `E` against `m` seeds under one `prg_key` succeeds with about `q m / 2^125`; a fresh
//! `prg_key` for each batch keeps `m` small. Semi-honest: who changes a correction word changes what comes out, unnoticed.
//!
//! # Secrets
//!
//! No branch and no address depends on `alpha`, `flip`, a seed, or a point. Intermediate seeds of the generator are wiped.

mod blocks;
#[cfg(target_arch = "x86_64")]
mod vaes;

use crate::cpu::CpuPath;

/// Bits of a point that the block of leaves replaces.
const LEAF_BITS: u32 = 7;

/// Where control bits and value lie in a block.
const LOW: u128 = 0b111;

/// What all keys of a batch have in common; public.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Of a point: 0 to 64.
    pub bits: u32,
    /// The key of `E`; best not used for another batch.
    pub prg_key: [u8; 16],
}

/// Rows of correction words for points of `bits` bits.
///
/// # Panics
/// When `bits` exceeds 64.
pub fn levels(bits: u32) -> usize {
    assert!(bits <= 64, "points have at most 64 bits; got {bits}");
    bits.saturating_sub(LEAF_BITS) as usize
}

/// Words of the keys of a batch of `n`.
///
/// # Panics
/// When `bits` exceeds 64.
pub fn key_words(bits: u32, n: usize) -> usize {
    2 * n * (levels(bits) + 1)
}

/// Keys for each `alpha`, of which the low `batch.bits` bits count, and the bit of `flips` (64 to a word, the lowest first).
///
/// `roots`: of party 0 and of party 1, two random words each, never used before. `keys`: as many words as [`key_words`] says.
///
/// # Panics
/// When lengths disagree.
pub fn generate(
    path: CpuPath,
    batch: &Batch,
    roots: [&[u64]; 2],
    alpha: &[u64],
    flips: &[u64],
    keys: &mut [u64],
) {
    let n = alpha.len();
    assert_eq!(keys.len(), key_words(batch.bits, n), "words of the keys");
    assert_eq!(flips.len(), n.div_ceil(64), "words of the flips");
    for roots in roots {
        assert_eq!(roots.len(), 2 * n, "words of the roots");
    }
    match path.checked() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `checked` made sure of the instructions.
        CpuPath::Ifma => unsafe { vaes::generate(batch, roots, alpha, flips, keys) },
        _ => blocks::generate(batch, roots, alpha, flips, keys),
    }
}

/// A party's shares of `f` at its points, of which the low `batch.bits` bits count: one bit for each key, 64 to a word, the lowest first;
/// bits beyond the last are 0.
///
/// # Panics
/// When lengths disagree.
pub fn evaluate(
    path: CpuPath,
    batch: &Batch,
    second: bool,
    roots: &[u64],
    keys: &[u64],
    points: &[u64],
    out: &mut [u64],
) {
    let n = points.len();
    assert_eq!(keys.len(), key_words(batch.bits, n), "words of the keys");
    assert_eq!(roots.len(), 2 * n, "words of the roots");
    assert_eq!(out.len(), n.div_ceil(64), "words of the result");
    match path.checked() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `checked` made sure of the instructions.
        CpuPath::Ifma => unsafe {
            vaes::evaluate(batch, second, roots, keys, points, out);
        },
        _ => blocks::evaluate(batch, second, roots, keys, points, out),
    }
}

/// Bit `i` of packed bits.
#[inline]
fn bit(packed: &[u64], i: usize) -> u64 {
    packed[i / 64] >> (i % 64) & 1
}

/// The leaves, 128 to a block, of `(j < suffix) ^ flip`, `flip` being all ones or zero; `0 <= suffix < 128`.
#[inline]
fn leaves(suffix: u64, flip: u128) -> u128 {
    // Below 128, so that the shift is a shift; 1 << suffix has as many ones below it.
    ((1u128 << suffix) - 1) ^ flip
}

/// Bit `at` of a block of leaves, without an address that depends on it.
#[inline]
fn leaf(block: u128, at: u64) -> u64 {
    (block >> at) as u64 & 1
}
