//! The first pass of a forward transform, with its input made on the way: a row that a base conversion would write and the
//! transform would read again never exists.

use std::arch::x86_64::*;

use super::forward::levels;
use super::{Field, Roots, V, broadcast, shrink, store};
use crate::modulus::Modulus;
use crate::ntt::Conversion;

/// Constants of a [`Conversion`] in registers.
pub(super) struct Sum<'a> {
    conversion: &'a Conversion<'a>,
    offset: V,
    /// `2^52 mod q` and its quotient.
    r52: V,
    r52_shoup: V,
}

impl<'a> Sum<'a> {
    /// To rows of `n` words, which the inputs have.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) fn new(conversion: &'a Conversion<'a>, n: usize, m: &Modulus) -> Self {
        let Conversion {
            inputs, weights, ..
        } = conversion;
        assert!(inputs.len() == weights.len() && inputs.len() <= Self::max_terms(m));
        assert!(inputs.iter().all(|input| input.len() == n));
        Self {
            conversion,
            offset: broadcast(conversion.offset),
            r52: broadcast(m.r52().value),
            r52_shoup: broadcast(m.r52().shoup52),
        }
    }

    /// How many products of words below `2^50` and of `[0, q)` are added before one reduction: the sum and a first word
    /// below `2^52` are below `2^104`, and the lanes of low halves below `2^64`.
    pub(super) fn max_terms(m: &Modulus) -> usize {
        // t·(2^50 - 1)·(q - 1) + 2^52 < t·2^(50 + bits) = 2^104 for t >= 4.
        1 << (54 - m.bits()).min(11)
    }

    /// `K` vectors at distance `t` words from word `j` on, in `[0, 4q)`; when `LOOSE`, modulo `2^52` only.
    ///
    /// # Safety
    /// All inputs have words up to `j + (K - 1)·t + 8`, there is a weight for each, and no more than `max_terms`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    unsafe fn vectors<const K: usize, const LOOSE: bool, const SINGLE: bool>(
        &self,
        j: usize,
        t: usize,
        f: &Field,
    ) -> [V; K] {
        let Conversion {
            inputs, weights, ..
        } = self.conversion;
        let mut x = [self.offset; K];
        if SINGLE {
            // SAFETY: the caller's promise.
            let words: [V; K] = unsafe { super::load(inputs.get_unchecked(0).as_ptr().add(j), t) };
            for (x, word) in x.iter_mut().zip(words) {
                *x = _mm512_add_epi64(shrink(word, f), self.offset); // [0, 3q)
            }
        } else {
            let mut high = [_mm512_setzero_si512(); K];
            for (input, &weight) in inputs.iter().zip(*weights) {
                let weight = broadcast(weight);
                // SAFETY: the caller's promise.
                let words: [V; K] = unsafe { super::load(input.as_ptr().add(j), t) };
                for k in 0..K {
                    x[k] = _mm512_madd52lo_epu64(x[k], words[k], weight);
                    high[k] = _mm512_madd52hi_epu64(high[k], words[k], weight);
                }
            }
            for (low, high) in x.iter_mut().zip(high) {
                // high·(2^52 mod q) and low·1 by Shoup's method with one common quotient; each leaves less than 2q. The
                // instructions read 52 bits of `low`, and what is above them is carried to `high`.
                let high = _mm512_add_epi64(high, _mm512_srli_epi64::<52>(*low));
                let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), high, self.r52_shoup);
                let quotient = _mm512_madd52hi_epu64(quotient, *low, f.one_shoup);
                let r = _mm512_madd52lo_epu64(*low, high, self.r52);
                *low = _mm512_madd52lo_epu64(r, quotient, f.neg_q);
            }
        }
        if !LOOSE {
            for x in &mut x {
                *x = _mm512_and_si512(*x, f.mask);
            }
        }
        x
    }
}

/// The first pass, over the block of the root: `K·t` words from `p`, made from `sum`.
///
/// # Safety
/// As for `pass`, and as for [`Sum::vectors`] for `K·t` words.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) unsafe fn first_pass<const K: usize, const LOOSE: bool, const START: u8>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    sum: &Sum<'_>,
    lift: V,
    f: &Field,
) {
    // A product over one prime has no other factor: the weight is 1.
    let single = sum.conversion.weights == [1];
    for j in (0..t).step_by(8) {
        // SAFETY: j + 8 <= t, so all vectors are inside the block and inside the inputs.
        unsafe {
            let mut x = if single {
                sum.vectors::<K, LOOSE, true>(j, t, f)
            } else {
                sum.vectors::<K, LOOSE, false>(j, t, f)
            };
            levels::<K, LOOSE, START>(&mut x, r, 1, lift, f);
            store(p.add(j), t, &x);
        }
    }
}
