//! The tile with AVX2, which multiplies 32-bit halves: `a·b = a0·b0 + 2^32·(a0·b1 + a1·b0)` modulo `2^64`.
//!
//! `vpmuludq` gives `a0·b0`; `vpmulld` of `a` and of `b` with its halves exchanged gives the two others modulo `2^32`, which is all
//! that counts, side by side.

use std::arch::x86_64::*;

use super::pack::{self, Tile};

const ROWS: usize = 3;
const COLUMNS: usize = 8;
const LEFT_PARTS: usize = 1;
/// The words, and the words with their halves exchanged.
const RIGHT_PARTS: usize = 2;
/// Words in a vector.
const LANES: usize = 4;

pub(crate) struct Halves;

impl Tile for Halves {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const LEFT_PARTS: usize = LEFT_PARTS;
    const RIGHT_PARTS: usize = RIGHT_PARTS;
    const DEPTH: usize = 192;

    pack::packing!("avx2", |word| word.rotate_left(32));

    unsafe fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]) {
        // SAFETY: the caller made sure of the instructions.
        unsafe { multiply(out, stride, left, right) }
    }
}

#[target_feature(enable = "avx2")]
fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]) {
    const VECTORS: usize = COLUMNS / LANES;
    let mut low = [[_mm256_setzero_si256(); VECTORS]; ROWS];
    let mut cross = low;
    let steps = left.as_chunks::<ROWS>().0.iter();
    for (left, right) in steps.zip(right.as_chunks::<{ RIGHT_PARTS * COLUMNS }>().0) {
        for v in 0..VECTORS {
            // SAFETY: the vectors at `v` and `VECTORS + v` lie in the `2·VECTORS` vectors of the step.
            let (b, exchanged) = unsafe {
                let at: *const __m256i = right.as_ptr().cast();
                (
                    _mm256_loadu_si256(at.add(v)),
                    _mm256_loadu_si256(at.add(VECTORS + v)),
                )
            };
            for i in 0..ROWS {
                let a = _mm256_set1_epi64x(left[i] as i64);
                low[i][v] = _mm256_add_epi64(low[i][v], _mm256_mul_epu32(a, b));
                let both = _mm256_mullo_epi32(a, exchanged);
                cross[i][v] = _mm256_add_epi32(cross[i][v], both);
            }
        }
    }
    for i in 0..ROWS {
        let out = &mut out[i * stride..][..COLUMNS];
        for (v, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            // The sum of the two halves is in the lower one.
            let both = _mm256_add_epi64(cross[i][v], _mm256_srli_epi64::<32>(cross[i][v]));
            let sum = _mm256_add_epi64(low[i][v], _mm256_slli_epi64::<32>(both));
            // SAFETY: a reference to four words is read and written.
            unsafe {
                let at: *mut __m256i = out.as_mut_ptr().cast();
                _mm256_storeu_si256(at, _mm256_add_epi64(_mm256_loadu_si256(at), sum));
            }
        }
    }
}
