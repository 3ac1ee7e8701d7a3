//! The loops of the samplers with AVX-512, eight words at a time.

use std::arch::x86_64::*;

/// `out[i] = ±(number of entries of table that are at most words[i])`, negative where bit `i` of `signs` is set. Every
/// entry is read for every word.
#[target_feature(enable = "avx512f")]
pub(super) fn scan(out: &mut [i8; 64], words: &[u64; 64], signs: u64, table: &[u64]) {
    let (vectors, targets) = (words.as_chunks::<32>().0, out.as_chunks_mut::<32>().0);
    for (i, (words, out)) in vectors.iter().zip(targets).enumerate() {
        let mut u = [_mm512_setzero_si512(); 4];
        for (u, words) in u.iter_mut().zip(words.as_chunks::<8>().0) {
            // SAFETY: 64 bytes are read from a reference to 64 bytes.
            *u = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
        }
        let mut counts = [_mm512_setzero_si512(); 4];
        for &threshold in table {
            let threshold = _mm512_set1_epi64(threshold as i64);
            for (count, u) in counts.iter_mut().zip(u) {
                let reached = _mm512_cmpge_epu64_mask(u, threshold);
                *count = _mm512_mask_add_epi64(*count, reached, *count, _mm512_set1_epi64(1));
            }
        }
        for (k, (count, out)) in counts
            .into_iter()
            .zip(out.as_chunks_mut::<8>().0)
            .enumerate()
        {
            let negative = (signs >> (32 * i + 8 * k)) as __mmask8;
            let signed = _mm512_mask_sub_epi64(count, negative, _mm512_setzero_si512(), count);
            let bytes = _mm512_cvtepi64_epi8(signed);
            // SAFETY: the low eight bytes are written to a reference to eight bytes.
            unsafe { _mm_storel_epi64(out.as_mut_ptr().cast(), bytes) };
        }
    }
}

/// Appends to `out`, from position `filled` on, those of `word & mask` that are below `q`; the words are the bytes of `blocks`,
/// least significant first. Returns the new position. There is room for all of them.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn keep_below(
    out: &mut [u64],
    filled: usize,
    blocks: &[aes::Block],
    mask: u64,
    q: u64,
) -> usize {
    assert!(blocks.len().is_multiple_of(4) && filled + 2 * blocks.len() <= out.len());
    let (mask, q) = (_mm512_set1_epi64(mask as i64), _mm512_set1_epi64(q as i64));
    let mut filled = filled;
    for four in blocks.as_chunks::<4>().0 {
        // SAFETY: four blocks are 64 bytes. The store is inside `out`: at most eight words were kept for each group before
        // this one, so that `filled + 8` is at most the bound asserted above.
        unsafe {
            let words = _mm512_and_si512(_mm512_loadu_si512(four.as_ptr().cast()), mask);
            let below = _mm512_cmplt_epu64_mask(words, q);
            let kept = _mm512_maskz_compress_epi64(below, words);
            _mm512_storeu_si512(out.as_mut_ptr().add(filled).cast(), kept);
            filled += below.count_ones() as usize;
        }
    }
    filled
}

/// `out = small mod q` for `|small| < q`.
#[target_feature(enable = "avx512f")]
pub(super) fn lift(out: &mut [u64], small: &[i8], q: u64) {
    let (vectors, rest) = out.as_chunks_mut::<8>();
    let (bytes, last) = small.as_chunks::<8>();
    let q_vector = _mm512_set1_epi64(q as i64);
    for (out, bytes) in vectors.iter_mut().zip(bytes) {
        // SAFETY: eight bytes are read from and 64 written to references of that size.
        unsafe {
            let x = _mm512_cvtepi8_epi64(_mm_loadl_epi64(bytes.as_ptr().cast()));
            // A negative x is a large unsigned number, and x + q is the residue; else x + q is larger than x.
            let residue = _mm512_min_epu64(x, _mm512_add_epi64(x, q_vector));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), residue);
        }
    }
    for (out, &x) in rest.iter_mut().zip(last) {
        *out = (x as u64).min((x as u64).wrapping_add(q));
    }
}
