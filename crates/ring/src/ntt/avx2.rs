//! AVX2 and FMA butterflies: four words at a time, as exact integers in double precision.
//!
//! A product modulo `q` is `(h - round(y·(w/q))·q) + l` with `h = y·w` rounded and `l = y·w - h` from one fused multiply-add
//! (Dekker; used for modular products by Shoup and by van der Hoeven, Lecerf, Quintin, *Modular SIMD arithmetic in
//! Mathemagix*, 2016, section 3). Twiddle factors are centred, `|w| <= q/2`; `|y| <= 8q <= 2^53` keeps every step exact: the quotient is off
//! by at most `1/2 + |y|/q · 2^-3`, and `|l| <= |y|/q · 2^-4 · q`, so that the product is at most `q/2 + 3|y|/16` in
//! absolute value.
//!
//! Between passes a row holds the bits of doubles. Bounds are on absolute values.

use std::arch::x86_64::*;

use super::{InverseScale, bit_reversed_powers};
use crate::modulus::Modulus;

/// Smallest transform of this path, in words.
pub(super) const MIN_N: usize = 64;

/// Words of the blocks in which a large transform is finished before the next one is touched.
const CACHED: usize = 4096;

type V = __m256d;

/// A multiplicand and its quotient by `q`.
type W = (V, V);

/// Twiddle factors in the order in which they are read.
pub(super) struct Roots {
    /// Centred `base^brv(h)`, and the same divided by `q`, for the levels above the last two.
    outer: Vec<[f64; 2]>,
    /// For each 8 words (vectors `a`, `b`) four vectors: factors of distance 2, `[a, a, b, b]`; quotients; factors of
    /// distance 1, `[a0, a1, b0, b1]`; quotients.
    inner: Vec<[[f64; 4]; 4]>,
}

impl Roots {
    pub(super) fn new(log_n: u32, base: u64, m: &Modulus) -> Self {
        let powers: Vec<[f64; 2]> = bit_reversed_powers(log_n, base, m)
            .into_iter()
            .map(|w| centred(w, m.q()))
            .collect();
        let n = powers.len();
        let inner = (0..n / 8)
            .map(|pair| {
                let (two, one) = (n / 4 + 2 * pair, n / 2 + 4 * pair);
                let two = [two, two, two + 1, two + 1].map(|node| powers[node]);
                let one = [one, one + 1, one + 2, one + 3].map(|node| powers[node]);
                [
                    two.map(|w| w[0]),
                    two.map(|w| w[1]),
                    one.map(|w| w[0]),
                    one.map(|w| w[1]),
                ]
            })
            .collect();
        Self {
            outer: powers[..n / 4].to_vec(),
            inner,
        }
    }
}

/// The representative of `w` in `(-q/2, q/2]` and its quotient by `q`.
fn centred(w: u64, q: u64) -> [f64; 2] {
    let w = if w > q / 2 {
        w as f64 - q as f64
    } else {
        w as f64
    };
    [w, w / q as f64]
}

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

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

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

/// Modulo `q`, up to `2^53`; result at most `q/2 + 1`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduce(x: V, f: &Field) -> V {
    _mm256_fnmadd_pd(
        _mm256_round_pd::<NEAREST>(_mm256_mul_pd(x, f.inverse)),
        f.q,
        x,
    )
}

/// The canonical word, from anything up to `2^53`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn canonical_words(x: V, f: &Field) -> V {
    let r = reduce(x, f);
    let negative = _mm256_cmp_pd::<_CMP_LT_OQ>(r, _mm256_setzero_pd());
    to_words(_mm256_add_pd(r, _mm256_and_pd(negative, f.q)))
}

/// `y·w` modulo `q`; `|y| <= 8q`, result at most `q/2 + 3|y|/16`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn mul(y: V, w: W, f: &Field) -> V {
    let quotient = _mm256_round_pd::<NEAREST>(_mm256_mul_pd(y, w.1));
    let high = _mm256_mul_pd(y, w.0);
    let low = _mm256_fmsub_pd(y, w.0, high);
    _mm256_add_pd(_mm256_fnmadd_pd(quotient, f.q, high), low)
}

/// Decimation in time: `(x + y·w, x - y·w)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_butterfly(x: &mut V, y: &mut V, w: W, f: &Field) {
    let t = mul(*y, w, f);
    (*x, *y) = (_mm256_add_pd(*x, t), _mm256_sub_pd(*x, t));
}

/// Decimation in frequency: `(x + y, (x - y)·w)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_butterfly(x: &mut V, y: &mut V, w: W, f: &Field) {
    let difference = _mm256_sub_pd(*x, *y);
    (*x, *y) = (_mm256_add_pd(*x, *y), mul(difference, w, f));
}

/// Twiddle factor of node `h` in every lane.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn root(r: &Roots, h: usize) -> W {
    let [value, quotient] = r.outer[h];
    (_mm256_set1_pd(value), _mm256_set1_pd(quotient))
}

/// `K` vectors at distance `t` words.
///
/// # Safety
/// All of them are inside one allocation.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load<const K: usize>(p: *const u64, t: usize) -> [V; K] {
    let mut x = [_mm256_setzero_pd(); K];
    for (k, x) in x.iter_mut().enumerate() {
        // SAFETY: the caller's promise; the loads are unaligned ones.
        *x = unsafe { _mm256_loadu_pd(p.add(k * t).cast()) };
    }
    x
}

/// The reverse of [`load`].
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store<const K: usize>(p: *mut u64, t: usize, x: &[V; K]) {
    for (k, &x) in x.iter().enumerate() {
        // SAFETY: the caller's promise; the stores are unaligned ones.
        unsafe { _mm256_storeu_pd(p.add(k * t).cast(), x) };
    }
}

/// Two levels of node `h` (one for `K` = 2) in registers. From at most `4q` to at most `2.6q`: the first half is reduced to
/// `q/2`, products are at most `1.25q` and then `q/2 + 3/16·1.75q`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_levels<const K: usize>(x: &mut [V; K], r: &Roots, h: usize, f: &Field) {
    for x in &mut x[..K / 2] {
        *x = reduce(*x, f);
    }
    let mut blocks = 1;
    while blocks < K {
        let half = K / blocks / 2;
        for b in 0..blocks {
            let w = root(r, h * blocks + b);
            for i in 2 * b * half..(2 * b + 1) * half {
                let (mut u, mut v) = (x[i], x[i + half]);
                forward_butterfly(&mut u, &mut v, w, f);
                (x[i], x[i + half]) = (u, v);
            }
        }
        blocks *= 2;
    }
}

/// The same backwards: from at most `2q` to at most `2q`. Sums reach `8q` and are reduced, products stay below
/// `q/2 + 3/16·8q = 2q`. Without the top level when `LAST`; then the words are at most `4q`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_levels<const K: usize, const LAST: bool>(
    x: &mut [V; K],
    r: &Roots,
    h: usize,
    f: &Field,
) {
    let mut blocks = K / 2;
    while blocks >= if LAST { 2 } else { 1 } {
        let half = K / blocks / 2;
        for b in 0..blocks {
            let w = root(r, h * blocks + b);
            for i in 2 * b * half..(2 * b + 1) * half {
                let (mut u, mut v) = (x[i], x[i + half]);
                inverse_butterfly(&mut u, &mut v, w, f);
                (x[i], x[i + half]) = (u, v);
            }
        }
        blocks /= 2;
    }
    if !LAST {
        for x in &mut x[..K / 2] {
            *x = reduce(*x, f);
        }
    }
}

/// One pass over the block of node `h`, `K·t` words from `p`. `WORDS`: the input is words below `2^52`.
///
/// # Safety
/// The block is inside one allocation that nothing else refers to; `t` is a multiple of 4.
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_pass<const K: usize, const WORDS: bool>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    h: usize,
    f: &Field,
) {
    for j in (0..t).step_by(4) {
        // SAFETY: j + 4 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            if WORDS {
                x.iter_mut().for_each(|x| *x = from_words(*x));
            }
            forward_levels(&mut x, r, h, f);
            store(p.add(j), t, &x);
        }
    }
}

/// One pass over the block of node `h`, not the root, backwards.
///
/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_pass<const K: usize>(p: *mut u64, t: usize, r: &Roots, h: usize, f: &Field) {
    for j in (0..t).step_by(4) {
        // SAFETY: j + 4 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            inverse_levels::<K, false>(&mut x, r, h, f);
            store(p.add(j), t, &x);
        }
    }
}

/// The pass of the root: its top level applies the scale and makes canonical words.
///
/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_last_pass<const K: usize>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    scale: &InverseScale,
    m: &Modulus,
) {
    let f = &Field::new(m);
    let factor = |w: u64| {
        let [value, quotient] = centred(w, m.q());
        (_mm256_set1_pd(value), _mm256_set1_pd(quotient))
    };
    let (low, high) = (factor(scale.low.value), factor(scale.high.value));
    let offset = _mm256_set1_pd(scale.offset as f64);
    for j in (0..t).step_by(4) {
        // SAFETY: j + 4 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            inverse_levels::<K, true>(&mut x, r, 1, f);
            for i in 0..K / 2 {
                let (mut sum, mut difference) = (x[i], x[i + K / 2]);
                (sum, difference) = (
                    _mm256_add_pd(sum, difference),
                    _mm256_sub_pd(sum, difference),
                );
                x[i] = canonical_words(_mm256_add_pd(mul(sum, low, f), offset), f);
                x[i + K / 2] = canonical_words(_mm256_add_pd(mul(difference, high, f), offset), f);
            }
            store(p.add(j), t, &x);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn vector(x: &[f64; 4]) -> V {
    // SAFETY: 32 bytes are read from a reference to 32 bytes.
    unsafe { _mm256_loadu_pd(x.as_ptr()) }
}

/// The last two levels of a pair of vectors, to canonical words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_inner(a: V, b: V, inner: &[[f64; 4]; 4], f: &Field) -> (V, V) {
    // distance 2: a0 a1 b0 b1 | a2 a3 b2 b3
    let mut x = reduce(_mm256_permute2f128_pd::<0x20>(a, b), f);
    let mut y = _mm256_permute2f128_pd::<0x31>(a, b);
    forward_butterfly(&mut x, &mut y, (vector(&inner[0]), vector(&inner[1])), f);
    // distance 1: a0 a2 b0 b2 | a1 a3 b1 b3
    let (mut x, mut y) = (_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y));
    forward_butterfly(&mut x, &mut y, (vector(&inner[2]), vector(&inner[3])), f);
    let (x, y) = (canonical_words(x, f), canonical_words(y, f));
    let (low, high) = (_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y));
    (
        _mm256_permute2f128_pd::<0x20>(low, high),
        _mm256_permute2f128_pd::<0x31>(low, high),
    )
}

/// The first two levels of a pair of vectors, from words in `[0, 2q)`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_inner(a: V, b: V, inner: &[[f64; 4]; 4], f: &Field) -> (V, V) {
    let (low, high) = (
        _mm256_permute2f128_pd::<0x20>(a, b),
        _mm256_permute2f128_pd::<0x31>(a, b),
    );
    let mut x = from_words(_mm256_unpacklo_pd(low, high));
    let mut y = from_words(_mm256_unpackhi_pd(low, high));
    inverse_butterfly(&mut x, &mut y, (vector(&inner[2]), vector(&inner[3])), f);
    let (mut x, mut y) = (_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y));
    inverse_butterfly(&mut x, &mut y, (vector(&inner[0]), vector(&inner[1])), f);
    x = reduce(x, f);
    (
        _mm256_permute2f128_pd::<0x20>(x, y),
        _mm256_permute2f128_pd::<0x31>(x, y),
    )
}

/// Into how many parts one pass splits a block of `size` words: down to 16 words in passes of at most two levels.
fn split(size: usize) -> usize {
    if size.trailing_zeros().is_multiple_of(2) {
        4
    } else {
        2
    }
}

/// All levels of the block of node `h`: `len` words from `p`, `len` a power of two from 16.
///
/// # Safety
/// As for [`forward_pass`]; `inner` are the `len/8` entries of this block.
#[target_feature(enable = "avx2,fma")]
unsafe fn forward_block(
    p: *mut u64,
    len: usize,
    r: &Roots,
    h: usize,
    inner: &[[[f64; 4]; 4]],
    f: &Field,
) {
    let (mut size, mut parts) = (len, 1);
    while size > 16 {
        let k = split(size);
        for i in 0..parts {
            // SAFETY: sub-block i of the level, of node h·parts + i.
            unsafe {
                let (p, t, h) = (p.add(i * size), size / k, h * parts + i);
                match (k, h == 1) {
                    (4, true) => forward_pass::<4, true>(p, t, r, h, f),
                    (4, false) => forward_pass::<4, false>(p, t, r, h, f),
                    (_, true) => forward_pass::<2, true>(p, t, r, h, f),
                    (_, false) => forward_pass::<2, false>(p, t, r, h, f),
                }
            }
        }
        (size, parts) = (size / k, parts * k);
        if len > CACHED {
            for (i, inner) in inner.chunks_exact(size / 8).enumerate() {
                // SAFETY: sub-block i of the level.
                unsafe { forward_block(p.add(i * size), size, r, h * parts + i, inner, f) };
            }
            return;
        }
    }
    for (i, inner) in inner.chunks_exact(2).enumerate() {
        // SAFETY: sub-block i of 16 words.
        unsafe {
            let p = p.add(16 * i);
            let mut x: [V; 4] = load(p, 4);
            forward_levels(&mut x, r, h * parts + i, f);
            (x[0], x[1]) = forward_inner(x[0], x[1], &inner[0], f);
            (x[2], x[3]) = forward_inner(x[2], x[3], &inner[1], f);
            store(p, 4, &x);
        }
    }
}

/// All levels of the block of node `h` backwards, without the top pass for the root.
///
/// # Safety
/// As for [`forward_block`].
#[target_feature(enable = "avx2,fma")]
unsafe fn inverse_block(
    p: *mut u64,
    len: usize,
    r: &Roots,
    h: usize,
    inner: &[[[f64; 4]; 4]],
    f: &Field,
) {
    let k = split(len);
    let size = len / k;
    if len == 16 {
        // SAFETY: the 16 words of the block.
        unsafe {
            let mut x: [V; 4] = load(p, 4);
            (x[0], x[1]) = inverse_inner(x[0], x[1], &inner[0], f);
            (x[2], x[3]) = inverse_inner(x[2], x[3], &inner[1], f);
            inverse_levels::<4, false>(&mut x, r, h, f);
            store(p, 4, &x);
        }
        return;
    }
    for (i, inner) in inner.chunks_exact(size / 8).enumerate() {
        // SAFETY: part i of the block.
        unsafe { inverse_block(p.add(i * size), size, r, h * k + i, inner, f) };
    }
    if h != 1 {
        // SAFETY: the block itself.
        unsafe {
            match k {
                4 => inverse_pass::<4>(p, size, r, h, f),
                _ => inverse_pass::<2>(p, size, r, h, f),
            }
        }
    }
}

/// Input `[0, 4q)`; output canonical. The row has [`MIN_N`] words or more, as many as the table is for.
#[target_feature(enable = "avx2,fma")]
pub(super) fn forward(row: &mut [u64], r: &Roots, m: &Modulus) {
    assert!(row.len() >= MIN_N && row.len() == 8 * r.inner.len());
    // SAFETY: the row is borrowed mutably; the tables have its size, as asserted.
    unsafe { forward_block(row.as_mut_ptr(), row.len(), r, 1, &r.inner, &Field::new(m)) }
}

/// Input `[0, 2q)`; output canonical, scaled. The row has [`MIN_N`] words or more, as many as the table is for.
#[target_feature(enable = "avx2,fma")]
pub(super) fn inverse(row: &mut [u64], r: &Roots, scale: &InverseScale, m: &Modulus) {
    assert!(row.len() >= MIN_N && row.len() == 8 * r.inner.len());
    let (p, n) = (row.as_mut_ptr(), row.len());
    // SAFETY: the row is borrowed mutably; the tables have its size, as asserted.
    unsafe {
        inverse_block(p, n, r, 1, &r.inner, &Field::new(m));
        match split(n) {
            4 => inverse_last_pass::<4>(p, n / 4, r, scale, m),
            _ => inverse_last_pass::<2>(p, n / 2, r, scale, m),
        }
    }
}
