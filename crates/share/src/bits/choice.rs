//! Bits and words together. The bits are packed, 64 to a word.

use super::{BITS, plane_words};
use crate::compiled::compiled;
use crate::cpu::CpuPath;
use crate::prg::StreamExhaustedError;
use crate::sum::{Sum, pass};

/// The lowest bit of each word. Bits beyond the last one are 0.
///
/// # Panics
/// When `bits` has not `plane_words(words.len())` words.
pub fn pack(path: CpuPath, bits: &mut [u64], words: &[u64]) {
    assert_bits(bits, words.len());
    pack_words(path, bits, words);
}

/// `out = bit + sum`: 0 and 1 as words.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When the lengths do not agree.
pub fn unpack(
    path: CpuPath,
    out: &mut [u64],
    bits: &[u64],
    sum: &mut Sum<'_>,
) -> Result<(), StreamExhaustedError> {
    assert_bits(bits, out.len());
    pass(path, out, sum, |at, out| {
        unpack_bits(path, out, &bits[at.start / BITS..]);
        Ok(())
    })
}

/// `out = (word where the bit is 1, else 0) + sum`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When the lengths do not agree.
pub fn choose(
    path: CpuPath,
    out: &mut [u64],
    bits: &[u64],
    words: &[u64],
    sum: &mut Sum<'_>,
) -> Result<(), StreamExhaustedError> {
    assert_bits(bits, out.len());
    assert_eq!(words.len(), out.len(), "words to choose from");
    pass(path, out, sum, |at, out| {
        choose_words(path, out, &bits[at.start / BITS..], &words[at]);
        Ok(())
    })
}

/// `out = (-word where the bit is 1, else word) + sum`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When the lengths do not agree.
pub fn turn(
    path: CpuPath,
    out: &mut [u64],
    bits: &[u64],
    words: &[u64],
    sum: &mut Sum<'_>,
) -> Result<(), StreamExhaustedError> {
    assert_bits(bits, out.len());
    assert_eq!(words.len(), out.len(), "words to turn");
    pass(path, out, sum, |at, out| {
        turn_words(path, out, &bits[at.start / BITS..], &words[at]);
        Ok(())
    })
}

fn assert_bits(bits: &[u64], numbers: usize) {
    assert_eq!(bits.len(), plane_words(numbers), "a bit for every word");
}

compiled! {
    fn pack_words(bits: &mut [u64], words: &[u64]) {
        for (bits, words) in bits.iter_mut().zip(words.chunks(BITS)) {
            *bits = words.iter().enumerate().fold(0, |bits, (i, word)| bits | (word & 1) << i);
        }
    }
}

compiled! {
    fn unpack_bits(out: &mut [u64], bits: &[u64]) {
        for (out, bits) in out.chunks_mut(BITS).zip(bits) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = bits >> i & 1;
            }
        }
    }
}

compiled! {
    fn choose_words(out: &mut [u64], bits: &[u64], words: &[u64]) {
        for ((out, bits), words) in out.chunks_mut(BITS).zip(bits).zip(words.chunks(BITS)) {
            for (i, (out, word)) in out.iter_mut().zip(words).enumerate() {
                *out = (bits >> i & 1).wrapping_neg() & word;
            }
        }
    }
}

compiled! {
    fn turn_words(out: &mut [u64], bits: &[u64], words: &[u64]) {
        for ((out, bits), words) in out.chunks_mut(BITS).zip(bits).zip(words.chunks(BITS)) {
            for (i, (out, word)) in out.iter_mut().zip(words).enumerate() {
                let negative = (bits >> i & 1).wrapping_neg();
                *out = (word ^ negative).wrapping_sub(negative);
            }
        }
    }
}
