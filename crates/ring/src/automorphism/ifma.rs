//! One `vpermq` for each group of eight words.

use std::arch::x86_64::*;

use crate::modulus::Modulus;

/// `out = a(X^g)`; one entry of `sources` for each group.
#[target_feature(enable = "avx512f")]
pub(super) fn apply(out: &mut [u64], a: &[u64], sources: &[u32], inside: &[[u64; 8]; 8]) {
    map(out, a, sources, inside, |_, _, new| new);
}

/// `out += a(X^g)`, canonical.
#[target_feature(enable = "avx512f")]
pub(super) fn apply_add(
    out: &mut [u64],
    a: &[u64],
    sources: &[u32],
    inside: &[[u64; 8]; 8],
    m: &Modulus,
) {
    let q = _mm512_set1_epi64(m.q() as i64);
    map(out, a, sources, inside, |_, old, new| {
        let sum = _mm512_add_epi64(old, new);
        _mm512_min_epu64(sum, _mm512_sub_epi64(sum, q))
    });
}

/// `out = base + a(X^g)`, canonical; `base` has as many words as `out`.
#[target_feature(enable = "avx512f")]
pub(super) fn apply_sum(
    out: &mut [u64],
    base: &[u64],
    a: &[u64],
    sources: &[u32],
    inside: &[[u64; 8]; 8],
    m: &Modulus,
) {
    let q = _mm512_set1_epi64(m.q() as i64);
    let base = base.as_chunks::<8>().0;
    map(out, a, sources, inside, |i, _, new| {
        // SAFETY: eight words from a reference to eight words.
        let old = unsafe { _mm512_loadu_si512(base[i].as_ptr().cast()) };
        let sum = _mm512_add_epi64(old, new);
        _mm512_min_epu64(sum, _mm512_sub_epi64(sum, q))
    });
}

/// Each group of `out` becomes `combine(its number, what it was, what is moved there)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn map(
    out: &mut [u64],
    a: &[u64],
    sources: &[u32],
    inside: &[[u64; 8]; 8],
    combine: impl Fn(usize, __m512i, __m512i) -> __m512i,
) {
    let groups = a.as_chunks::<8>().0;
    assert!(
        sources
            .iter()
            .all(|&source| ((source >> 3) as usize) < groups.len())
    );
    let targets = out.as_chunks_mut::<8>().0.iter_mut();
    for (i, (target, &source)) in targets.zip(sources).enumerate() {
        let group = &groups[(source >> 3) as usize];
        // SAFETY: all loads and the store are of eight words from references to eight words.
        unsafe {
            let index = _mm512_loadu_si512(inside[(source & 7) as usize].as_ptr().cast());
            let new = _mm512_permutexvar_epi64(index, _mm512_loadu_si512(group.as_ptr().cast()));
            let old = _mm512_loadu_si512(target.as_ptr().cast());
            _mm512_storeu_si512(target.as_mut_ptr().cast(), combine(i, old, new));
        }
    }
}
