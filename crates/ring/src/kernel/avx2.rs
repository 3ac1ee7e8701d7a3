//! Kernels with AVX2 and FMA: four words at a time, as exact integers in double precision.
//!
//! `a·b` modulo `q` is `(h - round(h/q)·q) + l` with `h = a·b` rounded and `l = a·b - h` from one fused multiply-add (see
//! `ntt/avx2.rs`). For `|a| < 2^52` and `0 <= b < q` the rounded quotient is off by at most 2 and `|l| <= q/2`, so the result is
//! below `2.5q` in absolute value; for `|a| < 2^50` it is below `q`. All integers stay below `2^53`.

use std::arch::x86_64::*;

use crate::modulus::{Modulus, Scalar};

type V = __m256d;

/// Words in a vector.
const LANES: usize = 4;

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// Broadcast constants.
#[derive(Clone, Copy)]
struct Field {
    q: V,
    inverse: V,
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(m: &Modulus) -> Self {
        Self {
            q: _mm256_set1_pd(m.q() as f64),
            inverse: _mm256_set1_pd(1.0 / m.q() as f64),
        }
    }
}

/// `2^52` as a double: adding it to an integer in `[0, 2^52)` leaves that integer in the mantissa.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn two_52() -> V {
    _mm256_set1_pd((1u64 << 52) as f64)
}

/// Words below `2^52` as doubles.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn from_words(x: V) -> V {
    _mm256_sub_pd(_mm256_or_pd(x, two_52()), two_52())
}

/// Integers in `[0, 2^52)` as words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn to_words(x: V) -> V {
    _mm256_xor_pd(_mm256_add_pd(x, two_52()), two_52())
}

/// Modulo `q`, up to `2^53`; result at most `q/2 + 1` in absolute value.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduce_signed(x: V, f: &Field) -> V {
    _mm256_fnmadd_pd(
        _mm256_round_pd::<NEAREST>(_mm256_mul_pd(x, f.inverse)),
        f.q,
        x,
    )
}

/// `[0, q)` from anything up to `2^53`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn canonical(x: V, f: &Field) -> V {
    let r = reduce_signed(x, f);
    let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(r, _mm256_setzero_pd());
    _mm256_add_pd(r, _mm256_and_pd(negative, f.q))
}

/// `a·b` modulo `q`: see the module.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul_mod(a: V, b: V, f: &Field) -> V {
    let high = _mm256_mul_pd(a, b);
    let low = _mm256_fmsub_pd(a, b, high);
    let quotient = _mm256_round_pd::<NEAREST>(_mm256_mul_pd(high, f.inverse));
    _mm256_add_pd(_mm256_fnmadd_pd(quotient, f.q, high), low)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn factor(s: &Scalar) -> V {
    _mm256_set1_pd(s.value as f64)
}

/// The words from position `i` on as doubles; 0 behind the end of the row.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(row: &[u64], i: usize) -> V {
    match row.get(i..i + LANES) {
        // SAFETY: four words are read from a slice of four words.
        Some(words) => from_words(unsafe { _mm256_loadu_pd(words.as_ptr().cast()) }),
        None => {
            let mut rest = [0; LANES];
            rest[..row.len() - i].copy_from_slice(&row[i..]);
            load(&rest, 0)
        }
    }
}

/// Writes doubles in `[0, 2^52)` as words from position `i` on, up to the end of the row.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(row: &mut [u64], i: usize, x: V) {
    match row.get_mut(i..i + LANES) {
        // SAFETY: four words are written to a slice of four words.
        Some(words) => unsafe { _mm256_storeu_pd(words.as_mut_ptr().cast(), to_words(x)) },
        None => {
            let mut rest = [0; LANES];
            store(&mut rest, 0, x);
            let len = row.len() - i;
            row[i..].copy_from_slice(&rest[..len]);
        }
    }
}

/// Defines a kernel and its in-place form: the expression, in canonical doubles, over doubles `x`, `y` (and `s`).
macro_rules! map {
    ($name:ident, $assign:ident, |$x:ident, $y:ident, $f:ident $(, $s:ident : &Scalar)?| $body:expr) => {
        #[target_feature(enable = "avx2,fma")]
        pub(super) fn $name(out: &mut [u64], a: &[u64], b: &[u64], $($s: &Scalar,)? m: &Modulus) {
            let $f = &Field::new(m);
            $(let $s = factor($s);)?
            for i in (0..out.len()).step_by(LANES) {
                let ($x, $y) = (load(a, i), load(b, i));
                store(out, i, $body);
            }
        }
        #[target_feature(enable = "avx2,fma")]
        pub(super) fn $assign(a: &mut [u64], b: &[u64], $($s: &Scalar,)? m: &Modulus) {
            let $f = &Field::new(m);
            $(let $s = factor($s);)?
            for i in (0..a.len()).step_by(LANES) {
                let ($x, $y) = (load(a, i), load(b, i));
                store(a, i, $body);
            }
        }
    };
    ($name:ident, $assign:ident, |$x:ident, $f:ident $(, $s:ident : &Scalar)?| $body:expr) => {
        #[target_feature(enable = "avx2,fma")]
        pub(super) fn $name(out: &mut [u64], a: &[u64], $($s: &Scalar,)? m: &Modulus) {
            let $f = &Field::new(m);
            $(let $s = factor($s);)?
            for i in (0..out.len()).step_by(LANES) {
                let $x = load(a, i);
                store(out, i, $body);
            }
        }
        #[target_feature(enable = "avx2,fma")]
        pub(super) fn $assign(a: &mut [u64], $($s: &Scalar,)? m: &Modulus) {
            let $f = &Field::new(m);
            $(let $s = factor($s);)?
            for i in (0..a.len()).step_by(LANES) {
                let $x = load(a, i);
                store(a, i, $body);
            }
        }
    };
}

/// `[-q, q) → [0, q)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn positive(x: V, f: &Field) -> V {
    let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_setzero_pd());
    _mm256_add_pd(x, _mm256_and_pd(negative, f.q))
}

map!(add, add_assign, |x, y, f| positive(
    _mm256_sub_pd(_mm256_add_pd(x, y), f.q),
    f
));
map!(sub, sub_assign, |x, y, f| positive(_mm256_sub_pd(x, y), f));
map!(neg, neg_assign, |x, f| positive(
    _mm256_sub_pd(_mm256_setzero_pd(), x),
    f
));
map!(mul, mul_assign, |x, y, f| canonical(mul_mod(x, y, f), f));
map!(mul_scalar, mul_scalar_assign, |x, f, s: &Scalar| canonical(
    mul_mod(x, s, f),
    f
));
map!(
    sub_mul_scalar,
    sub_mul_scalar_assign,
    |x, y, f, s: &Scalar| canonical(mul_mod(_mm256_sub_pd(x, y), s, f), f)
);

#[target_feature(enable = "avx2,fma")]
pub(super) fn sub_mul_scalar_add(
    out: &mut [u64],
    a: &[u64],
    b: &[u64],
    s: &Scalar,
    c: &[u64],
    m: &Modulus,
) {
    let (f, s) = (&Field::new(m), factor(s));
    for i in (0..out.len()).step_by(LANES) {
        let product = mul_mod(_mm256_sub_pd(load(a, i), load(b, i)), s, f);
        store(out, i, canonical(_mm256_add_pd(product, load(c, i)), f));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_add_assign(acc: &mut [u64], a: &[u64], b: &[u64], m: &Modulus) {
    let f = &Field::new(m);
    for i in (0..acc.len()).step_by(LANES) {
        let product = mul_mod(load(a, i), load(b, i), f);
        store(acc, i, canonical(_mm256_add_pd(product, load(acc, i)), f));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_scalar_add_assign(acc: &mut [u64], a: &[u64], s: &Scalar, m: &Modulus) {
    let (f, s) = (&Field::new(m), factor(s));
    for i in (0..acc.len()).step_by(LANES) {
        store(
            acc,
            i,
            canonical(_mm256_add_pd(mul_mod(load(a, i), s, f), load(acc, i)), f),
        );
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn add_scalar_assign(a: &mut [u64], c: u64, m: &Modulus) {
    let (f, c) = (&Field::new(m), _mm256_set1_pd(c as f64));
    for i in (0..a.len()).step_by(LANES) {
        let sum = _mm256_add_pd(load(a, i), c);
        store(a, i, positive(_mm256_sub_pd(sum, f.q), f));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce(out: &mut [u64], a: &[u64], m: &Modulus) {
    reduce_sub(out, a, 0, m);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce_sub(out: &mut [u64], a: &[u64], c: u64, m: &Modulus) {
    let (f, c) = (&Field::new(m), _mm256_set1_pd(c as f64));
    for i in (0..out.len()).step_by(LANES) {
        store(out, i, canonical(_mm256_sub_pd(load(a, i), c), f));
    }
}

/// Canonical whether or not that is asked for.
#[target_feature(enable = "avx2,fma")]
pub(super) fn weighted_sum(
    out: &mut [u64],
    inputs: &[&[u64]],
    weights: &[u64],
    offset: u64,
    m: &Modulus,
    _canonical: bool,
) {
    let (f, offset) = (&Field::new(m), _mm256_set1_pd(offset as f64));
    for i in (0..out.len()).step_by(LANES) {
        let mut sum = offset;
        for (inputs, weights) in inputs.chunks(4).zip(weights.chunks(4)) {
            // At most q, and four products below q each.
            for (x, &w) in inputs.iter().zip(weights) {
                sum = _mm256_add_pd(sum, mul_mod(load(x, i), _mm256_set1_pd(w as f64), f));
            }
            sum = reduce_signed(sum, f);
        }
        store(out, i, canonical(sum, f));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn inner_product(out: &mut [u64], xs: &[&[u64]], ys: &[&[u64]], m: &Modulus, add: bool) {
    let f = &Field::new(m);
    for i in (0..out.len()).step_by(LANES) {
        let mut sum = if add {
            load(out, i)
        } else {
            _mm256_setzero_pd()
        };
        for (xs, ys) in xs.chunks(2).zip(ys.chunks(2)) {
            // At most q, and two products below 2.5q each.
            for (x, y) in xs.iter().zip(ys) {
                sum = _mm256_add_pd(sum, mul_mod(load(x, i), load(y, i), f));
            }
            sum = reduce_signed(sum, f);
        }
        store(out, i, canonical(sum, f));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn inner_product2(
    out0: &mut [u64],
    out1: &mut [u64],
    xs: &[&[u64]],
    k0s: &[&[u64]],
    k1s: &[&[u64]],
    m: &Modulus,
    add: bool,
) {
    inner_product(out0, xs, k0s, m, add);
    inner_product(out1, xs, k1s, m, add);
}
