//! One `vpermq` for each group of eight words.
//!
//! Where a value is computed before it moves, the words that a group of the result comes from are read out of order and those
//! of the result are written in order: what is read was written a moment ago and is near, the result is not.

use std::arch::x86_64::*;

use super::Quotient;
use crate::kernel::ifma::{Difference, Field, fold};
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

/// `out = base + quotient(X^g)`, canonical, without `base` when there is none; all rows have as many words as `out`.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn apply_quotient(
    out: &mut [u64],
    base: Option<&[u64]>,
    quotient: &Quotient<'_>,
    sources: &[u32],
    inside: &[[u64; 8]; 8],
    m: &Modulus,
) {
    match (base, quotient.added) {
        (None, None) => moved::<false, false>(out, &[], quotient, &[], sources, inside, m),
        (None, Some(added)) => moved::<false, true>(out, &[], quotient, added, sources, inside, m),
        (Some(base), None) => moved::<true, false>(out, base, quotient, &[], sources, inside, m),
        (Some(base), Some(added)) => {
            moved::<true, true>(out, base, quotient, added, sources, inside, m)
        }
    }
}

/// [`apply_quotient`] with or without the two rows that are added.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn moved<const BASE: bool, const ADDED: bool>(
    out: &mut [u64],
    base: &[u64],
    quotient: &Quotient<'_>,
    added: &[u64],
    sources: &[u32],
    inside: &[[u64; 8]; 8],
    m: &Modulus,
) {
    let (f, s) = (Field::new(m), Difference::new(quotient.inverse, m));
    let (a, b) = (quotient.a.as_chunks::<8>().0, quotient.b.as_chunks::<8>().0);
    let (base, added) = (base.as_chunks::<8>().0, added.as_chunks::<8>().0);
    let groups = a.len();
    assert!(b.len() == groups && (!ADDED || added.len() == groups));
    assert!(!BASE || base.len() == sources.len());
    assert!(
        sources
            .iter()
            .all(|&source| ((source >> 3) as usize) < groups)
    );
    let targets = out.as_chunks_mut::<8>().0.iter_mut();
    for (i, (target, &source)) in targets.zip(sources).enumerate() {
        let from = (source >> 3) as usize;
        // SAFETY: all loads and the store are of eight words from references to eight words; `from` is below the number of
        // groups, as asserted, and `i` below that of `base`.
        unsafe {
            let load = |rows: &[[u64; 8]], i: usize| {
                _mm512_loadu_si512(rows.get_unchecked(i).as_ptr().cast())
            };
            let mut x = s.times(load(a, from), load(b, from), &f);
            if ADDED {
                x = fold(_mm512_add_epi64(x, load(added, from)), f.q);
            }
            let index = _mm512_loadu_si512(inside[(source & 7) as usize].as_ptr().cast());
            x = _mm512_permutexvar_epi64(index, x);
            if BASE {
                x = fold(_mm512_add_epi64(x, load(base, i)), f.q);
            }
            _mm512_storeu_si512(target.as_mut_ptr().cast(), x);
        }
    }
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
