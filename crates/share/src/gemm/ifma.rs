//! The tiles with AVX-512.

use std::arch::x86_64::*;

use super::pack::{self, Tile};

type V = __m512i;

/// Words in a vector.
const LANES: usize = 8;

/// `Σ products` with `vpmullq`.
pub(crate) struct Whole;

/// `Σ products` with three 52-bit multiply-adds for each.
///
/// Let `a = a0 + 2^52·a1` and `b = b0 + 2^52·b1`. Modulo `2^64` the product is
/// `low(a0·b0) + 2^52·(high(a0·b0) + a0·b1 + a1·b0)`, where `low` are the lower 52 bits and `high` the others; only 12 bits of
/// the bracket count. `vpmadd52luq` and `vpmadd52huq` of the words themselves give `low` and `high`, as they ignore the upper
/// 12 bits of their factors. One more `vpmadd52luq`, of `(a0 mod 2^12) + 2^40·a1` and the same of `b`, gives both cross
/// products: its lower 52 bits are `(a0 mod 2^12)·(b0 mod 2^12) + 2^40·(a0·b1 + a1·b0 mod 2^12)`, and the first
/// summand, below `2^24`, does not reach bit 40 in a sum of less than `2^16` products.
pub(crate) struct Fused52;

/// The words whose product has both cross products at bit 40.
#[inline(always)]
fn crossing(word: u64) -> u64 {
    word & 0xfff | word >> 52 << 40
}

mod whole {
    use super::*;

    const ROWS: usize = 6;
    const COLUMNS: usize = 32;
    const LEFT_PARTS: usize = 1;
    const RIGHT_PARTS: usize = 1;
    const VECTORS: usize = COLUMNS / LANES;

    impl Tile for Whole {
        const ROWS: usize = ROWS;
        const COLUMNS: usize = COLUMNS;
        const LEFT_PARTS: usize = LEFT_PARTS;
        const RIGHT_PARTS: usize = RIGHT_PARTS;
        const DEPTH: usize = 128;

        pack::packing!("avx512f,avx512dq,avx512vl", |word| word);

        unsafe fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]) {
            // SAFETY: the caller made sure of the instructions.
            unsafe { multiply(out, stride, left, right) }
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]) {
        fetch::<ROWS, COLUMNS>(out, stride);
        let mut sums = [[_mm512_setzero_si512(); VECTORS]; ROWS];
        let steps = left.as_chunks::<{ LEFT_PARTS * ROWS }>().0.iter();
        for (left, right) in steps.zip(right.as_chunks::<{ RIGHT_PARTS * COLUMNS }>().0) {
            let b = load::<VECTORS>(right);
            for i in 0..ROWS {
                let a = _mm512_set1_epi64(left[i] as i64);
                for v in 0..VECTORS {
                    sums[i][v] = _mm512_add_epi64(sums[i][v], _mm512_mullo_epi64(a, b[v]));
                }
            }
        }
        for i in 0..ROWS {
            add(&mut out[i * stride..][..COLUMNS], &sums[i]);
        }
    }
}

mod fused52 {
    use super::*;

    const ROWS: usize = 4;
    const COLUMNS: usize = 16;
    const LEFT_PARTS: usize = 2;
    const RIGHT_PARTS: usize = 2;
    const VECTORS: usize = COLUMNS / LANES;

    impl Tile for Fused52 {
        const ROWS: usize = ROWS;
        const COLUMNS: usize = COLUMNS;
        const LEFT_PARTS: usize = LEFT_PARTS;
        const RIGHT_PARTS: usize = RIGHT_PARTS;
        // Less than 2^16, for the sum of `crossing` products.
        const DEPTH: usize = 192;

        pack::packing!("avx512f,avx512dq,avx512vl", crossing);

        unsafe fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]) {
            // SAFETY: the caller made sure of the instructions.
            unsafe { multiply(out, stride, left, right) }
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]) {
        fetch::<ROWS, COLUMNS>(out, stride);
        let mut low = [[_mm512_setzero_si512(); VECTORS]; ROWS];
        let mut high = low;
        let mut cross = low;
        let steps = left.as_chunks::<{ LEFT_PARTS * ROWS }>().0.iter();
        for (left, right) in steps.zip(right.as_chunks::<{ RIGHT_PARTS * COLUMNS }>().0) {
            let b = load::<{ 2 * VECTORS }>(right);
            for i in 0..ROWS {
                let a = _mm512_set1_epi64(left[i] as i64);
                let ax = _mm512_set1_epi64(left[ROWS + i] as i64);
                for v in 0..VECTORS {
                    low[i][v] = _mm512_madd52lo_epu64(low[i][v], a, b[v]);
                    high[i][v] = _mm512_madd52hi_epu64(high[i][v], a, b[v]);
                    cross[i][v] = _mm512_madd52lo_epu64(cross[i][v], ax, b[VECTORS + v]);
                }
            }
        }
        for i in 0..ROWS {
            let mut sums = low[i];
            for v in 0..VECTORS {
                let upper = _mm512_add_epi64(high[i][v], _mm512_srli_epi64::<40>(cross[i][v]));
                sums[v] = _mm512_add_epi64(sums[v], _mm512_slli_epi64::<52>(upper));
            }
            add(&mut out[i * stride..][..COLUMNS], &sums);
        }
    }
}

/// Asks for the lines of the tile, which are needed when its products are summed: they come from the third cache.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn fetch<const ROWS: usize, const COLUMNS: usize>(out: &[u64], stride: usize) {
    for i in 0..ROWS {
        for words in out[i * stride..][..COLUMNS].chunks(LANES) {
            _mm_prefetch::<_MM_HINT_T0>(words.as_ptr().cast());
        }
    }
}

/// The first `N` vectors of `words`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn load<const N: usize>(words: &[u64]) -> [V; N] {
    let mut vectors = [_mm512_setzero_si512(); N];
    for (vector, words) in vectors.iter_mut().zip(words.as_chunks::<LANES>().0) {
        // SAFETY: a reference to eight words is read.
        *vector = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
    }
    vectors
}

/// `out += sums`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn add(out: &mut [u64], sums: &[V]) {
    for (out, &sum) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
        // SAFETY: a reference to eight words is read and written.
        unsafe {
            let at = out.as_mut_ptr();
            let old = _mm512_loadu_si512(at.cast());
            _mm512_storeu_si512(at.cast(), _mm512_add_epi64(old, sum));
        }
    }
}
