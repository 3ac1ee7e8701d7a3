//! Decimation in time.

use std::arch::x86_64::*;

use super::conversion::{Sum, first_pass};
use super::{
    CACHED, COMPACT_N, Field, MIN_N, Roots, V, W, broadcast, fold, inner_roots, load, mul_add,
    mul_montgomery, root, shrink, split, store,
};
use crate::modulus::Modulus;
use crate::ntt::Conversion;

/// `(x + y·w, x - y·w)`. Tight: `[0, 4q)` to `[0, 4q)`. Loose: `x` grows and shrinks by less than `2q`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn butterfly<const LOOSE: bool>(x: &mut V, y: &mut V, w: W, f: &Field) {
    if LOOSE {
        let sum = mul_add(*x, *y, w, f);
        (*x, *y) = (sum, _mm512_sub_epi64(_mm512_add_epi64(*x, *x), sum));
    } else {
        let t = _mm512_and_si512(mul_add(_mm512_setzero_si512(), *y, w, f), f.mask);
        (*x, *y) = add_and_sub::<LOOSE>(*x, t, f);
    }
}

/// The same with a factor of the inner levels.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inner_butterfly<const LOOSE: bool, const COMPACT: bool>(x: &mut V, y: &mut V, w: W, f: &Field) {
    if COMPACT {
        (*x, *y) = add_and_sub::<LOOSE>(*x, mul_montgomery(*y, w.0, f), f);
    } else {
        butterfly::<LOOSE>(x, y, w, f);
    }
}

/// `(x + t, x - t)` for `t` in `[0, 2q)`. Tight: in `[0, 4q)`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn add_and_sub<const LOOSE: bool>(x: V, t: V, f: &Field) -> (V, V) {
    if LOOSE {
        (_mm512_add_epi64(x, t), _mm512_sub_epi64(x, t))
    } else {
        let x = fold(x, f.two_q);
        (
            _mm512_add_epi64(x, t),
            _mm512_sub_epi64(_mm512_add_epi64(x, f.two_q), t),
        )
    }
}

/// What is done to the words that are not multiplied in the first level of a pass: nothing;
const KEEP: u8 = 0;
/// the lift is added;
const LIFT: u8 = 1;
/// they are brought below `2q` and the lift is added.
const SHRINK: u8 = 2;

/// Does it.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn start<const START: u8>(x: V, lift: V, f: &Field) -> V {
    match START {
        KEEP => x,
        LIFT => _mm512_add_epi64(x, lift),
        _ => _mm512_add_epi64(shrink(x, f), lift),
    }
}

/// Where loose words are: from 0 to `high·q`, and still positive after `low·q` is subtracted.
///
/// A level adds or subtracts less than `2q`, so words that start with a lift of `2q` for each level to come need no
/// correction on the way.
#[derive(Clone, Copy)]
struct Range {
    low: u64,
    high: u64,
}

impl Range {
    /// What a pass of some levels starts with, the multiple of `q` in its lift, and the range after it. `remaining`: levels until
    /// the end of the transform. `room`: largest multiple of `q` in a word.
    fn step(self, levels: u64, remaining: u64, room: u64) -> (u8, u64, Self) {
        if self.low >= 2 * levels {
            return (
                KEEP,
                0,
                Self {
                    low: self.low - 2 * levels,
                    high: self.high + 2 * levels,
                },
            );
        }
        // As large as the levels to come can use, and so that adding as much again finds room.
        let lift = |base: u64| (2 * remaining).min((room.saturating_sub(base) / 2) & !1);
        let (start, lift, base) = if lift(self.high) >= 2 * levels {
            (LIFT, lift(self.high), self.high)
        } else {
            (SHRINK, lift(2), 2)
        };
        (
            start,
            lift,
            Self {
                low: lift - 2 * levels,
                high: base + lift + 2 * levels,
            },
        )
    }
}

/// Brings a finished word below `2^52`, or into `[0, q)` when `CANONICAL`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn finish<const LOOSE: bool, const CANONICAL: bool>(x: V, f: &Field) -> V {
    match (LOOSE, CANONICAL) {
        (true, true) => fold(_mm512_and_si512(shrink(x, f), f.mask), f.q),
        (true, false) => _mm512_and_si512(x, f.mask),
        (false, true) => fold(fold(x, f.two_q), f.q),
        (false, false) => x,
    }
}

/// The levels of node `h` in registers: 3, 2 or 1 of them for `K` = 8, 4, 2.
///
/// # Safety
/// The nodes below `h·K` are in the table.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(super) unsafe fn levels<const K: usize, const LOOSE: bool, const START: u8>(
    x: &mut [V; K],
    r: &Roots,
    h: usize,
    lift: V,
    f: &Field,
) {
    for x in &mut x[..K / 2] {
        *x = start::<START>(*x, lift, f);
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
unsafe fn pass<const K: usize, const LOOSE: bool, const START: u8>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    h: usize,
    lift: V,
    f: &Field,
) {
    for j in (0..t).step_by(8) {
        // SAFETY: j + 8 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            levels::<K, LOOSE, START>(&mut x, r, h, lift, f);
            store(p.add(j), t, &x);
        }
    }
}

/// The three innermost levels of a pair of vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inner<const LOOSE: bool, const COMPACT: bool, const START: u8>(
    a: V,
    b: V,
    [four, two, one]: [W; 3],
    lift: V,
    f: &Field,
) -> (V, V) {
    // distance 4: a0..a3 b0..b3 | a4..a7 b4..b7
    let mut x = start::<START>(_mm512_shuffle_i64x2::<0b01_00_01_00>(a, b), lift, f);
    let mut y = _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b);
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

/// The last six levels of the row: words `64i` to `64i + 63` from `p`. The lifts are for the first and the second three levels.
///
/// # Safety
/// As for [`pass`]; `i < n/64`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn tail<
    const LOOSE: bool,
    const COMPACT: bool,
    const CANONICAL: bool,
    const START: u8,
    const INNER_START: u8,
>(
    p: *mut u64,
    r: &Roots,
    i: usize,
    lifts: [V; 2],
    f: &Field,
) {
    // SAFETY: the caller's promise; `levels` reads the nodes h to 4h+3 for h = n/64 + i, all below n/8.
    unsafe {
        let mut x: [V; 8] = load(p, 8);
        levels::<8, LOOSE, START>(&mut x, r, r.n() / 64 + i, lifts[0], f);
        for (k, pair) in x.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let roots = inner_roots::<COMPACT>(r, 4 * i + k);
            let (a, b) = inner::<LOOSE, COMPACT, INNER_START>(pair[0], pair[1], roots, lifts[1], f);
            *pair = [
                finish::<LOOSE, CANONICAL>(a, f),
                finish::<LOOSE, CANONICAL>(b, f),
            ];
        }
        store(p, 8, &x);
    }
}

/// All levels of the block of node `h`: `len` words from `p`, `len` a power of two from 64; for the root perhaps with the
/// input made by `source`.
///
/// # Safety
/// As for [`pass`]; all inputs of `source` have `len` words, and there are as many weights and at most `max_terms`.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn block<const LOOSE: bool, const COMPACT: bool, const CANONICAL: bool>(
    p: *mut u64,
    len: usize,
    r: &Roots,
    h: usize,
    range: Range,
    source: Option<&Sum<'_>>,
    f: &Field,
) {
    // Each step splits the sub-blocks of the level before; all sub-blocks lie inside the block.
    let (mut size, mut parts, mut range) = (len, 1, range);
    let next = |range: Range, levels: u32, remaining: u32| {
        if LOOSE {
            range.step(levels.into(), remaining.into(), f.room)
        } else {
            (KEEP, 0, range)
        }
    };
    while size > 64 {
        let k = split(size);
        let (start, lift, after) = next(range, k.trailing_zeros(), size.trailing_zeros());
        let lift = multiple(lift, f);
        if let (Some(source), true) = (source, size == len) {
            // SAFETY: the block is that of the root; the caller's promise.
            unsafe {
                let t = size / k;
                match (k, start) {
                    (8, KEEP) => first_pass::<8, LOOSE, KEEP>(p, t, r, source, lift, f),
                    (8, LIFT) => first_pass::<8, LOOSE, LIFT>(p, t, r, source, lift, f),
                    (8, _) => first_pass::<8, LOOSE, SHRINK>(p, t, r, source, lift, f),
                    (4, KEEP) => first_pass::<4, LOOSE, KEEP>(p, t, r, source, lift, f),
                    (4, LIFT) => first_pass::<4, LOOSE, LIFT>(p, t, r, source, lift, f),
                    (4, _) => first_pass::<4, LOOSE, SHRINK>(p, t, r, source, lift, f),
                    (_, KEEP) => first_pass::<2, LOOSE, KEEP>(p, t, r, source, lift, f),
                    (_, LIFT) => first_pass::<2, LOOSE, LIFT>(p, t, r, source, lift, f),
                    (_, _) => first_pass::<2, LOOSE, SHRINK>(p, t, r, source, lift, f),
                }
            }
            range = after;
            (size, parts) = (size / k, parts * k);
            if len <= CACHED {
                continue;
            }
            for i in 0..parts {
                // SAFETY: sub-block i of the level.
                unsafe {
                    block::<LOOSE, COMPACT, CANONICAL>(
                        p.add(i * size),
                        size,
                        r,
                        h * parts + i,
                        range,
                        None,
                        f,
                    );
                }
            }
            return;
        }
        for i in 0..parts {
            // SAFETY: sub-block i of the level, of node h·parts + i.
            unsafe {
                let (p, t, h) = (p.add(i * size), size / k, h * parts + i);
                match (k, start) {
                    (8, KEEP) => pass::<8, LOOSE, KEEP>(p, t, r, h, lift, f),
                    (8, LIFT) => pass::<8, LOOSE, LIFT>(p, t, r, h, lift, f),
                    (8, _) => pass::<8, LOOSE, SHRINK>(p, t, r, h, lift, f),
                    (4, KEEP) => pass::<4, LOOSE, KEEP>(p, t, r, h, lift, f),
                    (4, LIFT) => pass::<4, LOOSE, LIFT>(p, t, r, h, lift, f),
                    (4, _) => pass::<4, LOOSE, SHRINK>(p, t, r, h, lift, f),
                    (_, KEEP) => pass::<2, LOOSE, KEEP>(p, t, r, h, lift, f),
                    (_, LIFT) => pass::<2, LOOSE, LIFT>(p, t, r, h, lift, f),
                    (_, _) => pass::<2, LOOSE, SHRINK>(p, t, r, h, lift, f),
                }
            }
        }
        range = after;
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
                        range,
                        None,
                        f,
                    );
                }
            }
            return;
        }
    }
    // Position of the block among the blocks of 64 words: h·parts is n/64 plus that.
    let first = h * parts - r.n() / 64;
    let (outer_start, outer_lift, range) = next(range, 3, 6);
    let (inner_start, inner_lift, _) = next(range, 3, 3);
    let lifts = [multiple(outer_lift, f), multiple(inner_lift, f)];
    for i in 0..parts {
        // SAFETY: sub-block i, of 64 words.
        unsafe {
            let (p, i) = (p.add(64 * i), first + i);
            match (outer_start, inner_start) {
                (KEEP, KEEP) => tail::<LOOSE, COMPACT, CANONICAL, KEEP, KEEP>(p, r, i, lifts, f),
                (KEEP, _) => tail::<LOOSE, COMPACT, CANONICAL, KEEP, SHRINK>(p, r, i, lifts, f),
                (_, KEEP) => tail::<LOOSE, COMPACT, CANONICAL, SHRINK, KEEP>(p, r, i, lifts, f),
                (_, _) => tail::<LOOSE, COMPACT, CANONICAL, SHRINK, SHRINK>(p, r, i, lifts, f),
            }
        }
    }
}

/// `k·q` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn multiple(k: u64, f: &Field) -> V {
    _mm512_mullo_epi64(f.q, broadcast(k))
}

/// Input `[0, 4q)`, in the row or to be made by `source`; output below `2^52`, or canonical. The row has `MIN_N` words or
/// more, as many as the table is for and as the inputs of `source` have, which are at most [`max_terms`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::ntt) fn forward(
    row: &mut [u64],
    source: Option<&Conversion<'_>>,
    r: &Roots,
    m: &Modulus,
    canonical: bool,
) {
    assert!(row.len() >= MIN_N && row.len() == r.n());
    if let Some(Conversion {
        inputs, weights, ..
    }) = source
    {
        assert!(inputs.len() == weights.len() && inputs.len() <= max_terms(m));
        assert!(inputs.iter().all(|input| input.len() == row.len()));
    }
    let (p, n, f) = (row.as_mut_ptr(), row.len(), Field::new(m));
    let source = source.map(|conversion| Sum::new(conversion, m));
    let source = source.as_ref();
    // Loose: a pass of three levels needs room for 2q, a lift of 6q and as much again.
    // SAFETY: the row is borrowed mutably; the tables have its size, as asserted; so have the inputs.
    unsafe {
        match (f.room >= 14, n >= COMPACT_N) {
            (true, false) => whole::<true, false>(p, n, r, source, canonical, &f),
            (true, true) => whole::<true, true>(p, n, r, source, canonical, &f),
            (false, false) => whole::<false, false>(p, n, r, source, canonical, &f),
            (false, true) => whole::<false, true>(p, n, r, source, canonical, &f),
        }
    }
}

/// The largest number of inputs of a conversion to this modulus.
pub(in crate::ntt) fn max_terms(m: &Modulus) -> usize {
    Sum::max_terms(m)
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
    source: Option<&Sum<'_>>,
    canonical: bool,
    f: &Field,
) {
    let range = Range { low: 0, high: 4 };
    // SAFETY: the caller's promise.
    unsafe {
        if canonical {
            block::<LOOSE, COMPACT, true>(p, n, r, 1, range, source, f);
        } else {
            block::<LOOSE, COMPACT, false>(p, n, r, 1, range, source, f);
        }
    }
}
