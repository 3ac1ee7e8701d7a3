//! AVX-512 IFMA butterflies: eight words at a time, 52-bit Shoup quotients.
//!
//! `vpmadd52` reads only the low 52 bits of its factors, so everything is computed modulo `2^52`. Two disciplines, by the size of
//! `q` (`LOOSE` in the code):
//!
//! * tight, `q < 2^50`: every word is below `4q <= 2^52`, as in Harvey's butterflies;
//! * loose, `q < 2^46`: a forward stage adds at most `2q`, so from `4q` no word passes `(4 + 2·17)·q < 2^52` and no stage
//!   reduces. Words in registers and between passes are then meaningful **modulo `2^52`** only.
//!
//! A transform of `2^k` words is a tree of blocks: node `h` (root 1) has children `2h` and `2h+1` and twiddle factor
//! `roots[h]`. One pass takes a block through up to three levels in registers; the last six levels, 64 words,
//! are one pass, with three of them inside the vectors.

use std::arch::x86_64::*;

use super::{InverseScale, bit_reversed_powers};
use crate::modulus::Modulus;

/// Smallest transform of this path, in words.
pub(super) const MIN_N: usize = 128;

/// Words of the blocks in which a large transform is finished before the next one is touched: 32 kB, the usual L1.
const CACHED: usize = 4096;

/// Twiddle factors in the order in which they are read.
pub(super) struct Roots {
    /// `base^brv(h)` for the levels above the last three.
    value: Vec<u64>,
    /// Shoup quotients of `value`.
    shoup: Vec<u64>,
    /// For each 16 words (vectors `a`, `b`) four vectors: factors of the levels of distance 4 and 2,
    /// `[a, b, a0, b0, a1, b1, 0, 0]`; their quotients; factors of distance 1, `[a0, a1, b0, b1, a2, a3, b2, b3]`; their
    /// quotients.
    inner: Vec<[[u64; 8]; 4]>,
}

impl Roots {
    pub(super) fn new(log_n: u32, base: u64, m: &Modulus) -> Self {
        let powers = bit_reversed_powers(log_n, base, m);
        let n = powers.len();
        let inner = (0..n / 16)
            .map(|pair| {
                let (four, two, one) = (n / 8 + 2 * pair, n / 4 + 4 * pair, n / 2 + 8 * pair);
                let outer_nodes = [four, four + 1, two, two + 2, two + 1, two + 3];
                let one_nodes = [0, 1, 4, 5, 2, 3, 6, 7].map(|i| powers[one + i]);
                let mut outer = [0; 8];
                outer[..6].copy_from_slice(&outer_nodes.map(|node| powers[node]));
                [
                    outer,
                    outer.map(|w| m.shoup52(w)),
                    one_nodes,
                    one_nodes.map(|w| m.shoup52(w)),
                ]
            })
            .collect();
        let value = powers[..n / 8].to_vec();
        let shoup = value.iter().map(|&w| m.shoup52(w)).collect();
        Self {
            value,
            shoup,
            inner,
        }
    }
}

type V = __m512i;

/// A multiplicand and its quotient.
type W = (V, V);

/// Broadcast constants.
#[derive(Clone, Copy)]
struct Field {
    q: V,
    two_q: V,
    neg_q: V,
    one_shoup: V,
    mask: V,
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new(m: &Modulus) -> Self {
        let q = m.q() as i64;
        Self {
            q: _mm512_set1_epi64(q),
            two_q: _mm512_set1_epi64(2 * q),
            neg_q: _mm512_set1_epi64((1 << 52) - q),
            one_shoup: _mm512_set1_epi64(m.one_shoup52() as i64),
            mask: _mm512_set1_epi64((1 << 52) - 1),
        }
    }
}

/// `[0, 2b) → [0, b)`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn fold(a: V, b: V) -> V {
    _mm512_min_epu64(a, _mm512_sub_epi64(a, b))
}

/// `acc + t` modulo `2^52` with `t = y·w mod q` in `[0, 2q)`, for `y` modulo `2^52`; the bits above are junk.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn mul_add(acc: V, y: V, w: W, f: &Field) -> V {
    let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), y, w.1);
    _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(acc, y, w.0), quotient, f.neg_q)
}

/// Decimation in time: `(x + y·w, x - y·w)`. Tight: `[0, 4q)` to `[0, 4q)`. Loose: grows by `2q`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn forward_butterfly<const LOOSE: bool>(x: &mut V, y: &mut V, w: W, f: &Field) {
    if LOOSE {
        let sum = mul_add(*x, *y, w, f);
        let twice = _mm512_add_epi64(_mm512_add_epi64(*x, *x), f.two_q);
        (*x, *y) = (sum, _mm512_sub_epi64(twice, sum));
    } else {
        let u = fold(*x, f.two_q);
        let t = _mm512_and_si512(mul_add(_mm512_setzero_si512(), *y, w, f), f.mask);
        *x = _mm512_add_epi64(u, t);
        *y = _mm512_sub_epi64(_mm512_add_epi64(u, f.two_q), t);
    }
}

/// Brings a finished word into `[0, 4q)`, or `[0, q)` when `CANONICAL`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn finish<const LOOSE: bool, const CANONICAL: bool>(x: V, f: &Field) -> V {
    let mut x = x;
    if LOOSE {
        // x - floor(x·floor(2^52/q) / 2^52)·q is in [0, 2q).
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, f.one_shoup);
        x = _mm512_and_si512(_mm512_madd52lo_epu64(x, quotient, f.neg_q), f.mask);
    } else if CANONICAL {
        x = fold(x, f.two_q);
    }
    if CANONICAL { fold(x, f.q) } else { x }
}

/// Twiddle factor of node `h` in every lane.
///
/// # Safety
/// `h` is below the length of both tables.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn root(r: &Roots, h: usize) -> W {
    // SAFETY: the caller's promise.
    unsafe {
        let (value, shoup) = (*r.value.get_unchecked(h), *r.shoup.get_unchecked(h));
        (
            _mm512_set1_epi64(value as i64),
            _mm512_set1_epi64(shoup as i64),
        )
    }
}

/// `2^LEVELS` vectors at distance `t` words.
///
/// # Safety
/// All of them are inside one allocation.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn load<const K: usize>(p: *const u64, t: usize) -> [V; K] {
    let mut x = [_mm512_setzero_si512(); K];
    for (k, x) in x.iter_mut().enumerate() {
        // SAFETY: the caller's promise; the loads are unaligned ones.
        *x = unsafe { _mm512_loadu_si512(p.add(k * t).cast()) };
    }
    x
}

/// The reverse of [`load`].
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn store<const K: usize>(p: *mut u64, t: usize, x: &[V; K]) {
    for (k, &x) in x.iter().enumerate() {
        // SAFETY: the caller's promise; the stores are unaligned ones.
        unsafe { _mm512_storeu_si512(p.add(k * t).cast(), x) };
    }
}

/// The levels of node `h` in registers: 3, 2 or 1 of them for `K` = 8, 4, 2.
///
/// # Safety
/// The nodes below `h·K` are in the table.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn forward_levels<const K: usize, const LOOSE: bool>(
    x: &mut [V; K],
    r: &Roots,
    h: usize,
    f: &Field,
) {
    let mut blocks = 1;
    while blocks < K {
        let half = K / blocks / 2;
        for b in 0..blocks {
            // SAFETY: h·blocks + b < h·K.
            let w = unsafe { root(r, h * blocks + b) };
            for i in 2 * b * half..(2 * b + 1) * half {
                let (mut u, mut v) = (x[i], x[i + half]);
                forward_butterfly::<LOOSE>(&mut u, &mut v, w, f);
                (x[i], x[i + half]) = (u, v);
            }
        }
        blocks *= 2;
    }
}

/// Into how many parts one pass splits a block of `size` words (a power of two from 128): down to 64 words in as few
/// passes as possible, each of at most three levels.
fn split(size: usize) -> usize {
    match size.trailing_zeros() - 6 {
        1 => 2,
        levels if levels.is_multiple_of(3) => 8,
        _ => 4,
    }
}

/// One pass over the block of node `h`, `K·t` words from `p`.
///
/// # Safety
/// The block is inside one allocation that nothing else refers to; `t` is a multiple of 8; `h` is a node of the tree.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn forward_pass<const K: usize, const LOOSE: bool>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    h: usize,
    f: &Field,
) {
    for j in (0..t).step_by(8) {
        // SAFETY: j + 8 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            forward_levels::<K, LOOSE>(&mut x, r, h, f);
            store(p.add(j), t, &x);
        }
    }
}

/// The last three levels of a pair of vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn forward_inner<const LOOSE: bool>(a: V, b: V, inner: &[[u64; 8]; 4], f: &Field) -> (V, V) {
    let table = [
        vector(&inner[0]),
        vector(&inner[1]),
        vector(&inner[2]),
        vector(&inner[3]),
    ];
    let expand = |index: V| {
        (
            _mm512_permutexvar_epi64(index, table[0]),
            _mm512_permutexvar_epi64(index, table[1]),
        )
    };
    // distance 4: a0..a3 b0..b3 | a4..a7 b4..b7
    let mut x = _mm512_shuffle_i64x2::<0b01_00_01_00>(a, b);
    let mut y = _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b);
    forward_butterfly::<LOOSE>(
        &mut x,
        &mut y,
        expand(_mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1)),
        f,
    );
    // distance 2: a01 b01 a45 b45 | a23 b23 a67 b67
    let (mut x, mut y) = (
        _mm512_shuffle_i64x2::<0b10_00_10_00>(x, y),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(x, y),
    );
    forward_butterfly::<LOOSE>(
        &mut x,
        &mut y,
        expand(_mm512_setr_epi64(2, 2, 3, 3, 4, 4, 5, 5)),
        f,
    );
    // distance 1: a0 a2 b0 b2 a4 a6 b4 b6 | a1 a3 b1 b3 a5 a7 b5 b7
    let (mut x, mut y) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    forward_butterfly::<LOOSE>(&mut x, &mut y, (table[2], table[3]), f);
    (
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(0, 8, 1, 9, 4, 12, 5, 13), y),
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(2, 10, 3, 11, 6, 14, 7, 15), y),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn vector(words: &[u64; 8]) -> V {
    // SAFETY: 64 bytes are read from a reference to 64 bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// The last six levels: the 64 words of node `h`.
///
/// # Safety
/// As for [`forward_pass`], with `K·t = 64`; `inner` are the four entries of this block.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn forward_tail<const LOOSE: bool, const CANONICAL: bool>(
    p: *mut u64,
    r: &Roots,
    h: usize,
    inner: &[[[u64; 8]; 4]],
    f: &Field,
) {
    // SAFETY: the caller's promise.
    let mut x: [V; 8] = unsafe { load(p, 8) };
    // SAFETY: the caller's promise; 8h is below n/8, the length of the table.
    unsafe { forward_levels::<8, LOOSE>(&mut x, r, h, f) };
    for (pair, inner) in x.as_chunks_mut::<2>().0.iter_mut().zip(inner) {
        let (a, b) = forward_inner::<LOOSE>(pair[0], pair[1], inner, f);
        *pair = [
            finish::<LOOSE, CANONICAL>(a, f),
            finish::<LOOSE, CANONICAL>(b, f),
        ];
    }
    // SAFETY: as the load.
    unsafe { store(p, 8, &x) };
}

/// All levels of the block of node `h`: `len` words from `p`, `len` a power of two from 64.
///
/// # Safety
/// As for [`forward_pass`]; `inner` are the `len/16` entries of this block.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn forward_block<const LOOSE: bool, const CANONICAL: bool>(
    p: *mut u64,
    len: usize,
    r: &Roots,
    h: usize,
    inner: &[[[u64; 8]; 4]],
    f: &Field,
) {
    // Each step splits the sub-blocks of the level before; all sub-blocks lie inside the block.
    let (mut size, mut parts) = (len, 1);
    while size > 64 {
        let k = split(size);
        for i in 0..parts {
            // SAFETY: sub-block i of the level, of node h·parts + i.
            unsafe {
                let (p, h) = (p.add(i * size), h * parts + i);
                match k {
                    8 => forward_pass::<8, LOOSE>(p, size / 8, r, h, f),
                    4 => forward_pass::<4, LOOSE>(p, size / 4, r, h, f),
                    _ => forward_pass::<2, LOOSE>(p, size / 2, r, h, f),
                }
            }
        }
        (size, parts) = (size / k, parts * k);
        if len > CACHED {
            // Too large for the first cache: finish the parts one after the other.
            for (i, inner) in inner.chunks_exact(size / 16).enumerate() {
                // SAFETY: sub-block i of the level.
                unsafe {
                    forward_block::<LOOSE, CANONICAL>(
                        p.add(i * size),
                        size,
                        r,
                        h * parts + i,
                        inner,
                        f,
                    )
                };
            }
            return;
        }
    }
    for (i, inner) in inner.chunks_exact(4).enumerate() {
        // SAFETY: sub-block i of 64 words.
        unsafe { forward_tail::<LOOSE, CANONICAL>(p.add(64 * i), r, h * parts + i, inner, f) };
    }
}

/// Input `[0, 4q)`; output `[0, 4q)`, or canonical. The row has [`MIN_N`] words or more, as many as the table is for.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn forward(row: &mut [u64], r: &Roots, m: &Modulus, canonical: bool) {
    assert!(row.len() >= MIN_N && row.len() == 16 * r.inner.len());
    let (p, n, f) = (row.as_mut_ptr(), row.len(), Field::new(m));
    // SAFETY: the row is borrowed mutably; the tables have the size for n, as asserted.
    unsafe {
        match (m.q() < 1 << 46, canonical) {
            (true, true) => forward_block::<true, true>(p, n, r, 1, &r.inner, &f),
            (true, false) => forward_block::<true, false>(p, n, r, 1, &r.inner, &f),
            (false, true) => forward_block::<false, true>(p, n, r, 1, &r.inner, &f),
            (false, false) => forward_block::<false, false>(p, n, r, 1, &r.inner, &f),
        }
    }
}

/// Decimation in frequency: `(x + y, (x - y)·w)`. Tight: `[0, 2q)` to `[0, 2q)`. Loose: words below `bound`, a multiple of
/// `q`, to sums below `2·bound` and products below `2q`, both modulo `2^52`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_butterfly<const LOOSE: bool>(x: &mut V, y: &mut V, w: W, bound: V, f: &Field) {
    let sum = _mm512_add_epi64(*x, *y);
    let difference = _mm512_sub_epi64(_mm512_add_epi64(*x, bound), *y);
    let t = mul_add(_mm512_setzero_si512(), difference, w, f);
    if LOOSE {
        (*x, *y) = (sum, t);
    } else {
        (*x, *y) = (fold(sum, f.two_q), _mm512_and_si512(t, f.mask));
    }
}

/// Anything modulo `2^52` to `[0, 2q)` modulo `2^52`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn shrink(x: V, f: &Field) -> V {
    let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, f.one_shoup);
    _mm512_madd52lo_epu64(x, quotient, f.neg_q)
}

/// What the first level of a pass adds to keep differences positive, and the bound of its words: `8q` when loose, since a
/// pass leaves at most `8q` in its words, the first one aside, which is shrunk.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn pass_bound<const LOOSE: bool>(f: &Field) -> V {
    if LOOSE {
        _mm512_slli_epi64::<2>(f.two_q)
    } else {
        f.two_q
    }
}

/// The bound of the next level.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn next_bound<const LOOSE: bool>(bound: V) -> V {
    if LOOSE {
        _mm512_add_epi64(bound, bound)
    } else {
        bound
    }
}

/// The levels of node `h` in registers from the bottom up, without the top one when `LAST`.
///
/// # Safety
/// The nodes below `h·K` are in the table.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inverse_levels<const K: usize, const LOOSE: bool, const LAST: bool>(
    x: &mut [V; K],
    r: &Roots,
    h: usize,
    bound: V,
    f: &Field,
) {
    let (mut blocks, mut bound) = (K / 2, bound);
    while blocks >= if LAST { 2 } else { 1 } {
        let half = K / blocks / 2;
        for b in 0..blocks {
            // SAFETY: h·blocks + b < h·K.
            let w = unsafe { root(r, h * blocks + b) };
            for i in 2 * b * half..(2 * b + 1) * half {
                let (mut u, mut v) = (x[i], x[i + half]);
                inverse_butterfly::<LOOSE>(&mut u, &mut v, w, bound, f);
                (x[i], x[i + half]) = (u, v);
            }
        }
        blocks /= 2;
        bound = next_bound::<LOOSE>(bound);
    }
    if LOOSE && !LAST {
        x[0] = shrink(x[0], f);
    }
}

/// One pass over the block of node `h`, `K·t` words from `p`.
///
/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inverse_pass<const K: usize, const LOOSE: bool>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    h: usize,
    f: &Field,
) {
    for j in (0..t).step_by(8) {
        // SAFETY: j + 8 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            inverse_levels::<K, LOOSE, false>(&mut x, r, h, pass_bound::<LOOSE>(f), f);
            store(p.add(j), t, &x);
        }
    }
}

/// The pass of the root: its top level applies the scale and makes the words canonical.
///
/// # Safety
/// As for [`forward_pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inverse_last_pass<const K: usize, const LOOSE: bool>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    scale: &InverseScale,
    f: &Field,
) {
    let broadcast = |w: u64| _mm512_set1_epi64(w as i64);
    let low = (broadcast(scale.low.value), broadcast(scale.low.shoup52));
    let high = (broadcast(scale.high.value), broadcast(scale.high.shoup52));
    let offset = broadcast(scale.offset);
    let mut bound = pass_bound::<LOOSE>(f);
    for _ in 1..K.trailing_zeros() {
        bound = next_bound::<LOOSE>(bound);
    }
    for j in (0..t).step_by(8) {
        // SAFETY: j + 8 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            inverse_levels::<K, LOOSE, true>(&mut x, r, 1, pass_bound::<LOOSE>(f), f);
            for i in 0..K / 2 {
                let sum = _mm512_add_epi64(x[i], x[i + K / 2]);
                let difference = _mm512_sub_epi64(_mm512_add_epi64(x[i], bound), x[i + K / 2]);
                // mul_add gives [0, 3q): the offset is below q.
                let low = _mm512_and_si512(mul_add(offset, sum, low, f), f.mask);
                let high = _mm512_and_si512(mul_add(offset, difference, high, f), f.mask);
                x[i] = fold(fold(low, f.two_q), f.q);
                x[i + K / 2] = fold(fold(high, f.two_q), f.q);
            }
            store(p.add(j), t, &x);
        }
    }
}

/// The first three levels of a pair of vectors: [`forward_inner`] backwards. Loose: `[0, 2q)` to below `16q`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_inner<const LOOSE: bool>(a: V, b: V, inner: &[[u64; 8]; 4], f: &Field) -> (V, V) {
    let table = [
        vector(&inner[0]),
        vector(&inner[1]),
        vector(&inner[2]),
        vector(&inner[3]),
    ];
    let expand = |index: V| {
        (
            _mm512_permutexvar_epi64(index, table[0]),
            _mm512_permutexvar_epi64(index, table[1]),
        )
    };
    let bound = f.two_q;
    let mut x = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 2, 8, 10, 4, 6, 12, 14), b);
    let mut y = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(1, 3, 9, 11, 5, 7, 13, 15), b);
    inverse_butterfly::<LOOSE>(&mut x, &mut y, (table[2], table[3]), bound, f);
    let bound = next_bound::<LOOSE>(bound);
    let (mut x, mut y) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    inverse_butterfly::<LOOSE>(
        &mut x,
        &mut y,
        expand(_mm512_setr_epi64(2, 2, 3, 3, 4, 4, 5, 5)),
        bound,
        f,
    );
    let bound = next_bound::<LOOSE>(bound);
    // a01 b01 a45 b45 | a23 b23 a67 b67 to a0..a3 b0..b3 | a4..a7 b4..b7
    let (mut x, mut y) = (
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), y),
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), y),
    );
    inverse_butterfly::<LOOSE>(
        &mut x,
        &mut y,
        expand(_mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1)),
        bound,
        f,
    );
    (
        _mm512_shuffle_i64x2::<0b01_00_01_00>(x, y),
        _mm512_shuffle_i64x2::<0b11_10_11_10>(x, y),
    )
}

/// The first six levels: the 64 words of node `h`.
///
/// # Safety
/// As for [`forward_tail`].
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inverse_head<const LOOSE: bool>(
    p: *mut u64,
    r: &Roots,
    h: usize,
    inner: &[[[u64; 8]; 4]],
    f: &Field,
) {
    // SAFETY: the caller's promise.
    let mut x: [V; 8] = unsafe { load(p, 8) };
    for (pair, inner) in x.as_chunks_mut::<2>().0.iter_mut().zip(inner) {
        (pair[0], pair[1]) = inverse_inner::<LOOSE>(pair[0], pair[1], inner, f);
    }
    let bound = if LOOSE {
        _mm512_slli_epi64::<3>(f.two_q)
    } else {
        f.two_q
    };
    // SAFETY: the caller's promise; 8h is below n/8, the length of the table.
    unsafe { inverse_levels::<8, LOOSE, false>(&mut x, r, h, bound, f) };
    // SAFETY: as the load.
    unsafe { store(p, 8, &x) };
}

/// All levels of the block of node `h`: `len` words from `p`, `len` a power of two from 64; without the top pass for the root.
///
/// # Safety
/// As for [`forward_block`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inverse_block<const LOOSE: bool>(
    p: *mut u64,
    len: usize,
    r: &Roots,
    h: usize,
    inner: &[[[u64; 8]; 4]],
    f: &Field,
) {
    // The sizes that forward_block goes through.
    let mut sizes = [0; 8];
    let (mut size, mut count) = (len, 0);
    while size > 64 {
        sizes[count] = size;
        size /= split(size);
        count += 1;
    }
    if len > CACHED {
        let size = len / split(len);
        for (i, inner) in inner.chunks_exact(size / 16).enumerate() {
            // SAFETY: part i of the block.
            unsafe {
                inverse_block::<LOOSE>(p.add(i * size), size, r, h * split(len) + i, inner, f)
            };
        }
        count = 1;
    } else {
        for (i, inner) in inner.chunks_exact(4).enumerate() {
            // SAFETY: part i, of 64 words.
            unsafe { inverse_head::<LOOSE>(p.add(64 * i), r, h * (len / 64) + i, inner, f) };
        }
    }
    for &size in sizes[..count].iter().rev() {
        if h == 1 && size == len {
            return;
        }
        for i in 0..len / size {
            // SAFETY: part i of its level.
            unsafe {
                let (p, h) = (p.add(i * size), h * (len / size) + i);
                match split(size) {
                    8 => inverse_pass::<8, LOOSE>(p, size / 8, r, h, f),
                    4 => inverse_pass::<4, LOOSE>(p, size / 4, r, h, f),
                    _ => inverse_pass::<2, LOOSE>(p, size / 2, r, h, f),
                }
            }
        }
    }
}

/// Input `[0, 2q)`; output canonical, scaled. The row has [`MIN_N`] words or more, as many as the table is for.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) fn inverse(row: &mut [u64], r: &Roots, scale: &InverseScale, m: &Modulus) {
    assert!(row.len() >= MIN_N && row.len() == 16 * r.inner.len());
    // Loose words stay below 16q·8 = 2^7·q.
    if m.q() < 1 << 45 {
        inverse_all::<true>(row, r, scale, m)
    } else {
        inverse_all::<false>(row, r, scale, m)
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inverse_all<const LOOSE: bool>(row: &mut [u64], r: &Roots, scale: &InverseScale, m: &Modulus) {
    let (p, n, f) = (row.as_mut_ptr(), row.len(), Field::new(m));
    // SAFETY: the row is borrowed mutably; the tables have the size for n, as the caller asserted.
    unsafe {
        inverse_block::<LOOSE>(p, n, r, 1, &r.inner, &f);
        match split(n) {
            8 => inverse_last_pass::<8, LOOSE>(p, n / 8, r, scale, &f),
            4 => inverse_last_pass::<4, LOOSE>(p, n / 4, r, scale, &f),
            _ => inverse_last_pass::<2, LOOSE>(p, n / 2, r, scale, &f),
        }
    }
}
