//! Decimation in time.

use std::arch::x86_64::*;

use super::{
    CACHED, COMPACT_N, Field, MIN_N, Roots, V, W, fold, inner_roots, load, mul_add, mul_montgomery,
    root, shrink, split, store,
};
use crate::modulus::Modulus;

/// `(x + y·w, x - y·w)`. Tight: `[0, 4q)` to `[0, 4q)`. Loose: `x` grows by `2q`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn butterfly<const LOOSE: bool>(x: &mut V, y: &mut V, w: W, f: &Field) {
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

/// The same with a factor of the inner levels.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inner_butterfly<const LOOSE: bool, const COMPACT: bool>(x: &mut V, y: &mut V, w: W, f: &Field) {
    if COMPACT {
        let u = if LOOSE { *x } else { fold(*x, f.two_q) };
        let t = mul_montgomery(*y, w.0, f);
        *x = _mm512_add_epi64(u, t);
        *y = _mm512_sub_epi64(_mm512_add_epi64(u, f.two_q), t);
    } else {
        butterfly::<LOOSE>(x, y, w, f);
    }
}

/// Brings a finished word into `[0, 4q)`, or `[0, q)` when `CANONICAL`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn finish<const LOOSE: bool, const CANONICAL: bool>(x: V, f: &Field) -> V {
    let mut x = x;
    if LOOSE {
        x = _mm512_and_si512(shrink(x, f), f.mask);
    } else if CANONICAL {
        x = fold(x, f.two_q);
    }
    if CANONICAL { fold(x, f.q) } else { x }
}

/// The levels of node `h` in registers: 3, 2 or 1 of them for `K` = 8, 4, 2. `SHRINK`: brings those words that are not
/// multiplied in the first level below `2q` before.
///
/// # Safety
/// The nodes below `h·K` are in the table.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn levels<const K: usize, const LOOSE: bool, const SHRINK: bool>(
    x: &mut [V; K],
    r: &Roots,
    h: usize,
    f: &Field,
) {
    if SHRINK {
        for x in &mut x[..K / 2] {
            *x = shrink(*x, f);
        }
    }
    let mut blocks = 1;
    while blocks < K {
        let half = K / blocks / 2;
        for b in 0..blocks {
            // SAFETY: h·blocks + b < h·K.
            let w = unsafe { root(r, h * blocks + b) };
            for i in 2 * b * half..(2 * b + 1) * half {
                let (mut u, mut v) = (x[i], x[i + half]);
                butterfly::<LOOSE>(&mut u, &mut v, w, f);
                (x[i], x[i + half]) = (u, v);
            }
        }
        blocks *= 2;
    }
}

/// One pass over the block of node `h`, `K·t` words from `p`.
///
/// # Safety
/// The block is inside one allocation that nothing else refers to; `t` is a multiple of 8; `h` is a node of the tree.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn pass<const K: usize, const LOOSE: bool, const SHRINK: bool>(
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
            levels::<K, LOOSE, SHRINK>(&mut x, r, h, f);
            store(p.add(j), t, &x);
        }
    }
}

/// The three innermost levels of a pair of vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inner<const LOOSE: bool, const COMPACT: bool, const SHRINK: bool>(
    a: V,
    b: V,
    [four, two, one]: [W; 3],
    f: &Field,
) -> (V, V) {
    // distance 4: a0..a3 b0..b3 | a4..a7 b4..b7
    let mut x = _mm512_shuffle_i64x2::<0b01_00_01_00>(a, b);
    let mut y = _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b);
    if SHRINK {
        x = shrink(x, f);
    }
    inner_butterfly::<LOOSE, COMPACT>(&mut x, &mut y, four, f);
    // distance 2: a01 b01 a45 b45 | a23 b23 a67 b67
    let (mut x, mut y) = (
        _mm512_shuffle_i64x2::<0b10_00_10_00>(x, y),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(x, y),
    );
    inner_butterfly::<LOOSE, COMPACT>(&mut x, &mut y, two, f);
    // distance 1: a0 a2 b0 b2 a4 a6 b4 b6 | a1 a3 b1 b3 a5 a7 b5 b7
    let (mut x, mut y) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
    inner_butterfly::<LOOSE, COMPACT>(&mut x, &mut y, one, f);
    (
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(0, 8, 1, 9, 4, 12, 5, 13), y),
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(2, 10, 3, 11, 6, 14, 7, 15), y),
    )
}

/// The last six levels of the row: words `64i` to `64i + 63` from `p`.
///
/// # Safety
/// As for [`pass`]; `i < n/64`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn tail<
    const LOOSE: bool,
    const COMPACT: bool,
    const CANONICAL: bool,
    const SHRINK: bool,
>(
    p: *mut u64,
    r: &Roots,
    i: usize,
    f: &Field,
) {
    // SAFETY: the caller's promise; `levels` reads the nodes h to 4h+3 for h = n/64 + i, all below n/8.
    unsafe {
        let mut x: [V; 8] = load(p, 8);
        levels::<8, LOOSE, SHRINK>(&mut x, r, r.n() / 64 + i, f);
        for (k, pair) in x.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (a, b) = inner::<LOOSE, COMPACT, SHRINK>(
                pair[0],
                pair[1],
                inner_roots::<COMPACT>(r, 4 * i + k),
                f,
            );
            *pair = [
                finish::<LOOSE, CANONICAL>(a, f),
                finish::<LOOSE, CANONICAL>(b, f),
            ];
        }
        store(p, 8, &x);
    }
}

/// All levels of the block of node `h`: `len` words from `p`, `len` a power of two from 64; words below `bound·q`.
///
/// # Safety
/// As for [`pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn block<const LOOSE: bool, const COMPACT: bool, const CANONICAL: bool>(
    p: *mut u64,
    len: usize,
    r: &Roots,
    h: usize,
    bound: u64,
    f: &Field,
) {
    // Each step splits the sub-blocks of the level before; all sub-blocks lie inside the block.
    let (mut size, mut parts, mut bound) = (len, 1, bound);
    while size > 64 {
        let k = split(size);
        // Each level adds 2q to words that start below `bound·q`, or below 2q when they are shrunk.
        let growth = 2 * u64::from(k.trailing_zeros());
        let shrinks = LOOSE && bound + growth > f.room;
        for i in 0..parts {
            // SAFETY: sub-block i of the level, of node h·parts + i.
            unsafe {
                let (p, t, h) = (p.add(i * size), size / k, h * parts + i);
                match (k, shrinks) {
                    (8, false) => pass::<8, LOOSE, false>(p, t, r, h, f),
                    (8, true) => pass::<8, LOOSE, true>(p, t, r, h, f),
                    (4, false) => pass::<4, LOOSE, false>(p, t, r, h, f),
                    (4, true) => pass::<4, LOOSE, true>(p, t, r, h, f),
                    (_, false) => pass::<2, LOOSE, false>(p, t, r, h, f),
                    (_, true) => pass::<2, LOOSE, true>(p, t, r, h, f),
                }
            }
        }
        bound = if shrinks { 2 } else { bound } + growth;
        (size, parts) = (size / k, parts * k);
        if len > CACHED {
            // Too large for the first cache: finish the parts one after the other.
            for i in 0..parts {
                // SAFETY: sub-block i of the level.
                unsafe {
                    block::<LOOSE, COMPACT, CANONICAL>(
                        p.add(i * size),
                        size,
                        r,
                        h * parts + i,
                        bound,
                        f,
                    )
                };
            }
            return;
        }
    }
    // Position of the block among the blocks of 64 words: h·parts is n/64 plus that.
    let first = h * parts - r.n() / 64;
    let shrinks = LOOSE && bound + 12 > f.room;
    for i in 0..parts {
        // SAFETY: sub-block i, of 64 words.
        unsafe {
            if shrinks {
                tail::<LOOSE, COMPACT, CANONICAL, true>(p.add(64 * i), r, first + i, f);
            } else {
                tail::<LOOSE, COMPACT, CANONICAL, false>(p.add(64 * i), r, first + i, f);
            }
        }
    }
}

/// Input `[0, 4q)`; output `[0, 4q)`, or canonical. The row has `MIN_N` words or more, as many as the table is for.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::ntt) fn forward(row: &mut [u64], r: &Roots, m: &Modulus, canonical: bool) {
    assert!(row.len() >= MIN_N && row.len() == r.n());
    let (p, n, f) = (row.as_mut_ptr(), row.len(), Field::new(m));
    // Loose: a pass of three levels needs room for 2q + 3·2q.
    // SAFETY: the row is borrowed mutably; the tables have its size, as asserted.
    unsafe {
        match (f.room >= 8, n >= COMPACT_N) {
            (true, false) => whole::<true, false>(p, n, r, canonical, &f),
            (true, true) => whole::<true, true>(p, n, r, canonical, &f),
            (false, false) => whole::<false, false>(p, n, r, canonical, &f),
            (false, true) => whole::<false, true>(p, n, r, canonical, &f),
        }
    }
}

/// The block of the root.
///
/// # Safety
/// As for [`block`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn whole<const LOOSE: bool, const COMPACT: bool>(
    p: *mut u64,
    n: usize,
    r: &Roots,
    canonical: bool,
    f: &Field,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if canonical {
            block::<LOOSE, COMPACT, true>(p, n, r, 1, 4, f);
        } else {
            block::<LOOSE, COMPACT, false>(p, n, r, 1, 4, f);
        }
    }
}
