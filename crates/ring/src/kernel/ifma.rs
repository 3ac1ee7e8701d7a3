//! Kernels with AVX-512 IFMA: eight words at a time, the last ones under a mask.

mod sums;

use std::arch::x86_64::*;

use crate::modulus::{Modulus, Scalar};

pub(crate) use sums::inner_product2_words;
pub(super) use sums::{inner_product, inner_product2, weighted_sum, weighted_sums};

type V = __m512i;

/// Words in a vector.
const LANES: usize = 8;

/// Broadcast constants.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    pub(crate) q: V,
    two_q: V,
    /// `2^52 - q`.
    neg_q: V,
    one_shoup: V,
    /// `2^52 mod q` and its quotient.
    r52: V,
    r52_shoup: V,
    mask: V,
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn broadcast(word: u64) -> V {
    _mm512_set1_epi64(word as i64)
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn new(m: &Modulus) -> Self {
        Self {
            q: broadcast(m.q()),
            two_q: broadcast(2 * m.q()),
            neg_q: broadcast((1 << 52) - m.q()),
            one_shoup: broadcast(m.one_shoup52()),
            r52: broadcast(m.r52().value),
            r52_shoup: broadcast(m.r52().shoup52),
            mask: broadcast((1 << 52) - 1),
        }
    }
}

/// `[0, 2b) → [0, b)`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) fn fold(a: V, b: V) -> V {
    _mm512_min_epu64(a, _mm512_sub_epi64(a, b))
}

/// `[0, 4q) → [0, q)`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn canonical(a: V, f: &Field) -> V {
    fold(fold(a, f.two_q), f.q)
}

/// A fixed multiplicand and its quotient.
#[derive(Clone, Copy)]
struct Factor(V, V);

impl Factor {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new(s: &Scalar) -> Self {
        Self(broadcast(s.value), broadcast(s.shoup52))
    }
}

/// `acc + (a·s mod q)` with the product in `[0, 2q)`; `a < 2^52`, `acc` such that the sum is below `2^52`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn mul_add_shoup(acc: V, a: V, s: Factor, f: &Field) -> V {
    let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, s.1);
    let sum = _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(acc, a, s.0), quotient, f.neg_q);
    _mm512_and_si512(sum, f.mask)
}

/// `high·2^52 + low` in 64-bit lanes: a lazily accumulated sum of products.
#[derive(Clone, Copy)]
struct Wide {
    low: V,
    high: V,
}

impl Wide {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new(low: V) -> Self {
        Self {
            low,
            high: _mm512_setzero_si512(),
        }
    }

    /// Adds `a·b`; both below `2^52`. The lanes of `low` take `2^12 - 1` products beside a first word below `2^52`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn add_product(&mut self, a: V, b: V) {
        self.low = _mm512_madd52lo_epu64(self.low, a, b);
        self.high = _mm512_madd52hi_epu64(self.high, a, b);
    }

    /// The value modulo `q`, in `[0, 4q)`, when it is below `2^104`.
    ///
    /// `high·(2^52 mod q)` and `low·1` are reduced by Shoup's method with one common quotient; each leaves less than `2q`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn reduce(self, f: &Field) -> V {
        let high = _mm512_add_epi64(self.high, _mm512_srli_epi64::<52>(self.low));
        Self {
            low: _mm512_and_si512(self.low, f.mask),
            high,
        }
        .reduce_carried(f)
    }

    /// [`Wide::reduce`] when `low` is below `2^52`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn reduce_carried(self, f: &Field) -> V {
        let Self { low, high } = self;
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), high, f.r52_shoup);
        let quotient = _mm512_madd52hi_epu64(quotient, low, f.one_shoup);
        let r = _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(low, high, f.r52), quotient, f.neg_q);
        _mm512_and_si512(r, f.mask)
    }
}

/// `a·b mod q`, canonical; `a·b < 2^104`, both below `2^52`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn mul_mod(a: V, b: V, f: &Field) -> V {
    let mut product = Wide::new(_mm512_setzero_si512());
    product.add_product(a, b);
    canonical(product.reduce_carried(f), f)
}

/// Calls `f(position, mask)` for each vector of `n` words.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn for_each_vector(n: usize, mut f: impl FnMut(usize, __mmask8)) {
    let whole = n - n % LANES;
    for i in (0..whole).step_by(LANES) {
        f(i, 0xff);
    }
    if whole < n {
        f(whole, (1 << (n - whole)) - 1);
    }
}

/// # Safety
/// The words of the mask from `p + i` on are inside one allocation.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn load(p: *const u64, i: usize, mask: __mmask8) -> V {
    // SAFETY: the caller's promise; masked lanes are not touched.
    unsafe { _mm512_maskz_loadu_epi64(mask, p.add(i).cast()) }
}

/// # Safety
/// The words of the mask from `p + i` on are inside one allocation that nothing else refers to.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn store(p: *mut u64, i: usize, mask: __mmask8, x: V) {
    // SAFETY: the caller's promise; masked lanes are not touched.
    unsafe { _mm512_mask_storeu_epi64(p.add(i).cast(), mask, x) }
}

/// `out[i] = f(a[i], b[i])`.
///
/// # Safety
/// All rows have `n` words; `a` or `b` may be `out` itself.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn map2(n: usize, out: *mut u64, a: *const u64, b: *const u64, f: impl Fn(V, V) -> V) {
    for_each_vector(n, |i, mask| {
        // SAFETY: i + lanes of the mask <= n. Each word is read before it is written.
        unsafe { store(out, i, mask, f(load(a, i, mask), load(b, i, mask))) }
    });
}

/// Defines a kernel and its in-place form: the expression over vectors `x`, `y` (and `s`).
macro_rules! map {
    ($name:ident, $assign:ident, |$x:ident, $y:ident, $f:ident $(, $s:ident : &Scalar)?| $body:expr) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
        pub(super) fn $name(out: &mut [u64], a: &[u64], b: &[u64], $($s: &Scalar,)? m: &Modulus) {
            let (n, $f) = (out.len().min(a.len()).min(b.len()), &Field::new(m));
            $(let $s = Factor::new($s);)?
            // SAFETY: n is the length of the shortest.
            unsafe { map2(n, out.as_mut_ptr(), a.as_ptr(), b.as_ptr(), |$x, $y| $body) }
        }
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
        pub(super) fn $assign(a: &mut [u64], b: &[u64], $($s: &Scalar,)? m: &Modulus) {
            let (n, $f) = (a.len().min(b.len()), &Field::new(m));
            $(let $s = Factor::new($s);)?
            let a = a.as_mut_ptr();
            // SAFETY: n is the length of the shortest; a is read and written through one pointer.
            unsafe { map2(n, a, a, b.as_ptr(), |$x, $y| $body) }
        }
    };
    ($name:ident, $assign:ident, |$x:ident, $f:ident $(, $s:ident : &Scalar)?| $body:expr) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
        pub(super) fn $name(out: &mut [u64], a: &[u64], $($s: &Scalar,)? m: &Modulus) {
            let (n, $f) = (out.len().min(a.len()), &Field::new(m));
            $(let $s = Factor::new($s);)?
            // SAFETY: n is the length of the shortest.
            unsafe { map2(n, out.as_mut_ptr(), a.as_ptr(), a.as_ptr(), |$x, _| $body) }
        }
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
        pub(super) fn $assign(a: &mut [u64], $($s: &Scalar,)? m: &Modulus) {
            let (n, $f) = (a.len(), &Field::new(m));
            $(let $s = Factor::new($s);)?
            let a = a.as_mut_ptr();
            // SAFETY: a is read and written through one pointer.
            unsafe { map2(n, a, a, a, |$x, _| $body) }
        }
    };
}

map!(add, add_assign, |x, y, f| fold(_mm512_add_epi64(x, y), f.q));
map!(sub, sub_assign, |x, y, f| {
    let d = _mm512_sub_epi64(x, y);
    _mm512_min_epu64(d, _mm512_add_epi64(d, f.q))
});
map!(neg, neg_assign, |x, f| fold(_mm512_sub_epi64(f.q, x), f.q));
map!(mul, mul_assign, |x, y, f| mul_mod(x, y, f));
map!(mul_scalar, mul_scalar_assign, |x, f, s: &Scalar| {
    fold(mul_add_shoup(_mm512_setzero_si512(), x, s, f), f.q)
});
/// `(a - b)·s`, as a sum of two products.
#[derive(Clone, Copy)]
pub(crate) struct Difference {
    factor: Factor,
    negated: Factor,
}

impl Difference {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn new(s: &Scalar, m: &Modulus) -> Self {
        Self {
            factor: Factor::new(s),
            negated: Factor::new(&m.scalar(m.neg(s.value))),
        }
    }

    /// `(a - b)·s`, canonical; `a` and `b` below `2^52`. Each of the products leaves less than `2q` (see [`Wide::reduce`]).
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(crate) fn times(self, a: V, b: V, f: &Field) -> V {
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, self.factor.1);
        let quotient = _mm512_madd52hi_epu64(quotient, b, self.negated.1);
        let sum = _mm512_madd52lo_epu64(_mm512_setzero_si512(), a, self.factor.0);
        let sum = _mm512_madd52lo_epu64(sum, b, self.negated.0);
        let sum = _mm512_madd52lo_epu64(sum, quotient, f.neg_q);
        canonical(_mm512_and_si512(sum, f.mask), f)
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn sub_mul_scalar(out: &mut [u64], a: &[u64], b: &[u64], s: &Scalar, m: &Modulus) {
    let n = out.len().min(a.len()).min(b.len());
    let (f, s) = (&Field::new(m), Difference::new(s, m));
    // SAFETY: n is the length of the shortest.
    unsafe {
        map2(n, out.as_mut_ptr(), a.as_ptr(), b.as_ptr(), |a, b| {
            s.times(a, b, f)
        })
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn sub_mul_scalar_assign(a: &mut [u64], b: &[u64], s: &Scalar, m: &Modulus) {
    let n = a.len().min(b.len());
    let (f, s) = (&Field::new(m), Difference::new(s, m));
    let a = a.as_mut_ptr();
    // SAFETY: n is the length of the shortest; a is read and written through one pointer.
    unsafe { map2(n, a, a, b.as_ptr(), |a, b| s.times(a, b, f)) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn sub_mul_scalar_add(
    out: &mut [u64],
    a: &[u64],
    b: &[u64],
    s: &Scalar,
    c: &[u64],
    m: &Modulus,
) {
    let n = out.len().min(a.len()).min(b.len()).min(c.len());
    let (f, s) = (&Field::new(m), Difference::new(s, m));
    let out = out.as_mut_ptr();
    for_each_vector(n, |i, mask| {
        // SAFETY: n is the length of the shortest row.
        unsafe {
            let product = s.times(load(a.as_ptr(), i, mask), load(b.as_ptr(), i, mask), f);
            store(
                out,
                i,
                mask,
                fold(_mm512_add_epi64(product, load(c.as_ptr(), i, mask)), f.q),
            );
        }
    });
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn mul_add_assign(acc: &mut [u64], a: &[u64], b: &[u64], m: &Modulus) {
    let (n, f) = (acc.len().min(a.len()).min(b.len()), &Field::new(m));
    let acc = acc.as_mut_ptr();
    for_each_vector(n, |i, mask| {
        // SAFETY: n is the length of the shortest row.
        unsafe {
            let product = mul_mod(load(a.as_ptr(), i, mask), load(b.as_ptr(), i, mask), f);
            store(
                acc,
                i,
                mask,
                fold(_mm512_add_epi64(load(acc, i, mask), product), f.q),
            );
        }
    });
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn mul_scalar_add_assign(acc: &mut [u64], a: &[u64], s: &Scalar, m: &Modulus) {
    let (n, f, s) = (acc.len().min(a.len()), &Field::new(m), Factor::new(s));
    let acc = acc.as_mut_ptr();
    // SAFETY: n is the length of the shortest; acc is read and written through one pointer.
    unsafe {
        map2(n, acc, acc, a.as_ptr(), |acc, a| {
            canonical(mul_add_shoup(acc, a, s, f), f)
        })
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn add_scalar_assign(a: &mut [u64], c: u64, m: &Modulus) {
    let (n, f, c) = (a.len(), &Field::new(m), broadcast(c));
    let a = a.as_mut_ptr();
    // SAFETY: a is read and written through one pointer.
    unsafe { map2(n, a, a, a, |x, _| fold(_mm512_add_epi64(x, c), f.q)) }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn reduce(out: &mut [u64], a: &[u64], m: &Modulus) {
    reduce_sub(out, a, 0, m);
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn reduce_sub(out: &mut [u64], a: &[u64], c: u64, m: &Modulus) {
    let (n, f) = (out.len().min(a.len()), &Field::new(m));
    let offset = broadcast(m.neg(c));
    // SAFETY: n is the length of the shortest.
    unsafe {
        map2(n, out.as_mut_ptr(), a.as_ptr(), a.as_ptr(), |x, _| {
            let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, f.one_shoup);
            let r = _mm512_madd52lo_epu64(_mm512_add_epi64(x, offset), quotient, f.neg_q);
            canonical(_mm512_and_si512(r, f.mask), f) // [0, 2q) + [0, q)
        });
    }
}
