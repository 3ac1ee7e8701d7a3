//! Two `vpermd` for each group of eight words.
//!
//! The positions `brv3(c + g·brv3(r) mod 8)` for `r` in one half of a group have a common top bit, as `brv3(r)` is even in the
//! first half and odd in the second: halves come from halves.

use std::arch::x86_64::*;

use crate::modulus::Modulus;

/// For each carry and each half of a group.
pub(super) struct Halves {
    /// Word at which the source half starts, 0 or 4.
    start: [[usize; 2]; 8],
    /// Indices of 32-bit lanes in the source half.
    lanes: [[[u32; 8]; 2]; 8],
}

impl Halves {
    pub(super) fn new(inside: &[[u64; 8]; 8]) -> Self {
        let mut halves = Self {
            start: [[0; 2]; 8],
            lanes: [[[0; 8]; 2]; 8],
        };
        for (carry, positions) in inside.iter().enumerate() {
            for (half, positions) in positions.as_chunks::<4>().0.iter().enumerate() {
                halves.start[carry][half] = (positions[0] & 4) as usize;
                for (r, position) in positions.iter().enumerate() {
                    let lane = 2 * (position & 3) as u32;
                    halves.lanes[carry][half][2 * r] = lane;
                    halves.lanes[carry][half][2 * r + 1] = lane + 1;
                }
            }
        }
        halves
    }
}

/// `out = a(X^g)`; one entry of `sources` for each group.
#[target_feature(enable = "avx2")]
pub(super) fn apply(out: &mut [u64], a: &[u64], sources: &[u32], halves: &Halves) {
    map(out, a, sources, halves, |_, _, new| new);
}

/// `out += a(X^g)`, canonical.
#[target_feature(enable = "avx2")]
pub(super) fn apply_add(out: &mut [u64], a: &[u64], sources: &[u32], halves: &Halves, m: &Modulus) {
    let q = _mm256_set1_epi64x(m.q() as i64);
    map(out, a, sources, halves, |_, old, new| sum(old, new, q));
}

/// `out = base + a(X^g)`, canonical; `base` has as many words as `out`.
#[target_feature(enable = "avx2")]
pub(super) fn apply_sum(
    out: &mut [u64],
    base: &[u64],
    a: &[u64],
    sources: &[u32],
    halves: &Halves,
    m: &Modulus,
) {
    let q = _mm256_set1_epi64x(m.q() as i64);
    let base = base.as_chunks::<4>().0;
    map(out, a, sources, halves, |i, _, new| {
        // SAFETY: four words from a reference to four words.
        let old = unsafe { _mm256_loadu_si256(base[i].as_ptr().cast()) };
        sum(old, new, q)
    });
}

/// Of words below q, modulo q.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(a: __m256i, b: __m256i, q: __m256i) -> __m256i {
    let sum = _mm256_sub_epi64(_mm256_add_epi64(a, b), q); // [-q, q)
    let negative = _mm256_cmpgt_epi64(_mm256_setzero_si256(), sum);
    _mm256_add_epi64(sum, _mm256_and_si256(negative, q))
}

/// Each half of a group of `out` becomes `combine(its number, what it was, what is moved there)`.
#[inline]
#[target_feature(enable = "avx2")]
fn map(
    out: &mut [u64],
    a: &[u64],
    sources: &[u32],
    halves: &Halves,
    combine: impl Fn(usize, __m256i, __m256i) -> __m256i,
) {
    let groups = a.as_chunks::<8>().0;
    let targets = out.as_chunks_mut::<8>().0.iter_mut();
    for (i, (target, &source)) in targets.zip(sources).enumerate() {
        let (group, carry) = (&groups[(source >> 3) as usize], (source & 7) as usize);
        for (half, target) in target.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let words = &group[halves.start[carry][half]..][..4];
            // SAFETY: all loads and the store are of 32 bytes from references to 32 bytes.
            unsafe {
                let index = _mm256_loadu_si256(halves.lanes[carry][half].as_ptr().cast());
                let new =
                    _mm256_permutevar8x32_epi32(_mm256_loadu_si256(words.as_ptr().cast()), index);
                let old = _mm256_loadu_si256(target.as_ptr().cast());
                _mm256_storeu_si256(target.as_mut_ptr().cast(), combine(2 * i + half, old, new));
            }
        }
    }
}
