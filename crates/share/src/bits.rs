//! Shares of single bits, 64 to a word.
//!
//! `n` numbers of 64 bits are held as 64 planes: bit `i % 64` of word `i / 64` of plane `j` is bit `j` of number `i`. A plane has
//! [`plane_words`]`(n)` words; bits beyond the last number are 0 in what this module makes. Plane after plane, lowest bit first.

mod carry;
mod choice;
#[cfg(target_arch = "x86_64")]
mod gfni;

pub use carry::CarryTree;
pub use choice::{choose, pack, turn, unpack};

use crate::compiled::compiled;
use crate::cpu::CpuPath;
use crate::prg::{StreamExhaustedError, ZeroSharing};

/// Bits of a number, and numbers of a block.
const BITS: usize = 64;

/// Blocks that are written together: 64 bytes of each plane.
const TOGETHER: usize = 8;

/// Words of a message that are made while they are in the first cache. Even, as [`ZeroSharing`] gives two words at a time.
const CHUNK: usize = 512;

/// Words of one plane of `n` numbers.
pub fn plane_words(n: usize) -> usize {
    n.div_ceil(BITS)
}

/// The lowest planes of some numbers, or of their sums with others: as many as `planes` has room for.
///
/// # Panics
/// When `planes` is not of at most 64 planes of `plane_words(words.len())` words, or the lengths of `words` and `plus` differ.
pub fn to_planes(path: CpuPath, planes: &mut [u64], words: &[u64], plus: Option<&[u64]>) {
    let stride = plane_words(words.len());
    assert_planes(planes.len(), stride);
    if let Some(plus) = plus {
        assert_eq!(plus.len(), words.len(), "both summands have the same words");
    }
    let path = path.checked();
    for (group, words) in words.chunks(BITS * TOGETHER).enumerate() {
        let mut numbers = [0; BITS * TOGETHER];
        numbers[..words.len()].copy_from_slice(words);
        if let Some(plus) = plus {
            let plus = &plus[group * BITS * TOGETHER..][..words.len()];
            for (number, plus) in numbers.iter_mut().zip(plus) {
                *number = number.wrapping_add(*plus);
            }
        }
        let mut rows = [[0; TOGETHER]; BITS];
        eight_to_planes(path, &mut rows, &numbers);
        let count = plane_words(words.len());
        for (row, plane) in rows.iter().zip(planes.chunks_mut(stride)) {
            plane[group * TOGETHER..][..count].copy_from_slice(&row[..count]);
        }
    }
}

/// The numbers of some planes, lowest first; the bits of planes that are not there are 0: the inverse of [`to_planes`].
///
/// # Panics
/// When `planes` is not of at most 64 planes of `plane_words(words.len())` words.
pub fn from_planes(path: CpuPath, words: &mut [u64], planes: &[u64]) {
    let stride = plane_words(words.len());
    assert_planes(planes.len(), stride);
    let path = path.checked();
    for (group, words) in words.chunks_mut(BITS * TOGETHER).enumerate() {
        let mut rows = [[0; TOGETHER]; BITS];
        let count = plane_words(words.len());
        for (row, plane) in rows.iter_mut().zip(planes.chunks(stride)) {
            row[..count].copy_from_slice(&plane[group * TOGETHER..][..count]);
        }
        let mut numbers = [0; BITS * TOGETHER];
        eight_from_planes(path, &mut numbers, &rows);
        words.copy_from_slice(&numbers[..words.len()]);
    }
}

/// Whether that many words are whole planes, at most 64.
fn assert_planes(words: usize, stride: usize) {
    let whole = if stride == 0 {
        words == 0
    } else {
        words.is_multiple_of(stride)
    };
    assert!(
        whole && words <= BITS * stride,
        "words of at most 64 planes"
    );
}

/// Word `i` of row `j` becomes plane `j` of block `i` of the numbers. `path` has been checked.
pub(crate) fn eight_to_planes(
    path: CpuPath,
    rows: &mut [[u64; TOGETHER]; BITS],
    numbers: &[u64; 512],
) {
    #[cfg(target_arch = "x86_64")]
    if path == CpuPath::Ifma {
        // SAFETY: the caller passed `checked`.
        return unsafe { gfni::to_planes(rows, numbers) };
    }
    for (i, block) in numbers.as_chunks::<BITS>().0.iter().enumerate() {
        let mut block = *block;
        transpose(path, &mut block);
        for (row, word) in rows.iter_mut().zip(block) {
            row[i] = word;
        }
    }
}

/// The inverse of [`eight_to_planes`].
fn eight_from_planes(path: CpuPath, numbers: &mut [u64; 512], rows: &[[u64; TOGETHER]; BITS]) {
    #[cfg(target_arch = "x86_64")]
    if path == CpuPath::Ifma {
        // SAFETY: the caller passed `checked`.
        return unsafe { gfni::from_planes(numbers, rows) };
    }
    for (i, block) in numbers.as_chunks_mut::<BITS>().0.iter_mut().enumerate() {
        *block = rows.map(|row| row[i]);
        transpose(path, block);
    }
}

compiled! {
    /// Bit `i` of word `j` goes to bit `j` of word `i`, by six exchanges of halves (Warren, *Hacker's Delight*, section 7-3).
    fn transpose(block: &mut [u64; BITS]) {
        let mut mask = u64::MAX >> 32;
        let mut distance = BITS / 2;
        while distance > 0 {
            for pair in block.chunks_exact_mut(2 * distance) {
                let (low, high) = pair.split_at_mut(distance);
                for (low, high) in low.iter_mut().zip(high) {
                    let moved = (*low >> distance ^ *high) & mask;
                    *high ^= moved;
                    *low ^= moved << distance;
                }
            }
            distance /= 2;
            mask ^= mask << distance;
        }
    }
}

compiled! {
    /// `a ^= b`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn xor_assign(a: &mut [u64], b: &[u64]) {
        assert_eq!(a.len(), b.len(), "both operands have the same words");
        for (a, b) in a.iter_mut().zip(b) {
            *a ^= *b;
        }
    }
}

/// What this party sends for the product of replicated shares of bits: `x1·y1 + x1·y2 + x2·y1` and a fresh share of zero. With what
/// it receives it is this party's share of the product.
///
/// # Errors
/// [`StreamExhaustedError`]; `out` is then unspecified and must not be sent.
///
/// # Panics
/// When the lengths differ.
pub fn replicated_and(
    path: CpuPath,
    zero: &mut ZeroSharing,
    out: &mut [u64],
    x: [&[u64]; 2],
    y: [&[u64]; 2],
) -> Result<(), StreamExhaustedError> {
    for part in x.iter().chain(&y) {
        assert_eq!(
            part.len(),
            out.len(),
            "operands and result have the same words"
        );
    }
    for (i, out) in out.chunks_mut(CHUNK).enumerate() {
        let at = i * CHUNK..i * CHUNK + out.len();
        let (x, y) = (x.map(|x| &x[at.clone()]), y.map(|y| &y[at.clone()]));
        local_and(path, out, x[0], x[1], y[0], y[1]);
        zero.xor_to(out)?;
    }
    Ok(())
}

compiled! {
    fn local_and(out: &mut [u64], x1: &[u64], x2: &[u64], y1: &[u64], y2: &[u64]) {
        for ((((out, x1), x2), y1), y2) in out.iter_mut().zip(x1).zip(x2).zip(y1).zip(y2) {
            *out = x1 & (y1 ^ y2) ^ x2 & y1;
        }
    }
}
