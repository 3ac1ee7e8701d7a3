//! Decimation in time.

use std::arch::x86_64::*;

use super::conversion::{Sum, first_pass};
use super::fetch::Fetch;
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
pub(super) struct Range {
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

impl Range {
    /// [`Self::step`] of loose words; tight ones stay where they are.
    fn next<const LOOSE: bool>(self, levels: u32, remaining: u32, f: &Field) -> (u8, u64, Self) {
        if LOOSE {
            self.step(levels.into(), remaining.into(), f.room)
        } else {
            (KEEP, 0, self)
        }
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
    fetch: &mut Fetch<'_>,
) {
    for j in (0..t).step_by(8) {
        fetch.step::<K>();
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
    // distance 4: a0 b0 a1 b1 a2 b2 a3 b3 | a4 b4 a5 b5 a6 b6 a7 b7
    let x = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
    let mut y = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
    let mut x = start::<START>(x, lift, f);
    inner_butterfly::<LOOSE, COMPACT>(&mut x, &mut y, four, f);
    // distance 2: a01 b01 a45 b45 | a23 b23 a67 b67
    let (mut x, mut y) = (
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(0, 2, 1, 3, 8, 10, 9, 11), y),
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(4, 6, 5, 7, 12, 14, 13, 15), y),
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

/// Calls a pass with a number of parts and a start that the compiler knows.
macro_rules! by_shape {
    ($k:expr, $start:expr, $name:ident::<$loose:ident>($($argument:expr),*)) => {
        match ($k, $start) {
            (8, KEEP) => $name::<8, $loose, KEEP>($($argument),*),
            (8, LIFT) => $name::<8, $loose, LIFT>($($argument),*),
            (8, _) => $name::<8, $loose, SHRINK>($($argument),*),
            (4, KEEP) => $name::<4, $loose, KEEP>($($argument),*),
            (4, LIFT) => $name::<4, $loose, LIFT>($($argument),*),
            (4, _) => $name::<4, $loose, SHRINK>($($argument),*),
            (_, KEEP) => $name::<2, $loose, KEEP>($($argument),*),
            (_, LIFT) => $name::<2, $loose, LIFT>($($argument),*),
            (_, _) => $name::<2, $loose, SHRINK>($($argument),*),
        }
    };
}

/// A block on its way: the words, its node and where the words are.
#[derive(Clone, Copy)]
pub(super) struct Block {
    p: *mut u64,
    pub(super) len: usize,
    h: usize,
    range: Range,
}

impl Block {
    /// The block of the root: `len` words from `p`, in `[0, 4q)`.
    ///
    /// # Safety
    /// They are one allocation, or a row in one, that nothing else refers to while the block or a part of it is used; `len` is a
    /// power of two from 128, and the tables that are used are those of this degree.
    pub(super) unsafe fn root(p: *mut u64, len: usize) -> Self {
        Self {
            p,
            len,
            h: 1,
            range: Range { low: 0, high: 4 },
        }
    }

    /// Part `i` of `k`, after the pass that split the block.
    pub(super) fn part(self, i: usize, k: usize, range: Range) -> Self {
        let len = self.len / k;
        Self {
            p: self.p.wrapping_add(i * len),
            len,
            h: self.h * k + i,
            range,
        }
    }

    /// What the next pass over words in `range` of a block of `len` does: the number of parts, the start, its lift, and the range
    /// after it. Tight words stay where they are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn next_pass<const LOOSE: bool>(range: Range, len: usize, f: &Field) -> (usize, u8, V, Range) {
        let k = split(len);
        let (start, lift, after) = range.next::<LOOSE>(k.trailing_zeros(), len.trailing_zeros(), f);
        (k, start, multiple(lift, f), after)
    }

    /// The first pass over a block of more than 64 words, for the root perhaps with the input made by `source`: the number of
    /// parts into which it splits the block, and the range of their words.
    ///
    /// # Safety
    /// All inputs of `source` have `len` words, and there are as many weights and at most `max_terms`.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) unsafe fn split<const LOOSE: bool>(
        self,
        r: &Roots,
        source: Option<&Sum<'_>>,
        f: &Field,
        fetch: &mut Fetch<'_>,
    ) -> (usize, Range) {
        let Self { p, len, h, range } = self;
        let (k, start, lift, after) = Self::next_pass::<LOOSE>(range, len, f);
        let t = len / k;
        // SAFETY: the promise of `root`, and the caller's.
        unsafe {
            match source {
                Some(source) => {
                    by_shape!(k, start, first_pass::<LOOSE>(p, t, r, source, lift, f))
                }
                None => by_shape!(k, start, pass::<LOOSE>(p, t, r, h, lift, f, fetch)),
            }
        }
        (k, after)
    }

    /// All levels.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    pub(super) fn transform<const LOOSE: bool, const COMPACT: bool, const CANONICAL: bool>(
        self,
        r: &Roots,
        f: &Field,
        fetch: &mut Fetch<'_>,
    ) {
        if self.len > CACHED {
            // Too large for the first cache: finish the parts one after the other.
            // SAFETY: there is no source.
            let (k, range) = unsafe { self.split::<LOOSE>(r, None, f, fetch) };
            for i in 0..k {
                let part = self.part(i, k, range);
                part.transform::<LOOSE, COMPACT, CANONICAL>(r, f, fetch);
            }
            return;
        }
        // Each pass splits the parts of the one before.
        let (mut size, mut range) = (self.len, self.range);
        while size > 64 {
            let parts = self.len / size;
            let (k, start, lift, after) = Self::next_pass::<LOOSE>(range, size, f);
            for i in 0..parts {
                let (p, t, h) = (self.p.wrapping_add(i * size), size / k, self.h * parts + i);
                // SAFETY: part i of the block, of node h.
                unsafe { by_shape!(k, start, pass::<LOOSE>(p, t, r, h, lift, f, fetch)) }
            }
            (size, range) = (size / k, after);
        }
        // Position of the block among the blocks of 64 words: h·parts is n/64 plus that.
        let parts = self.len / 64;
        let first = self.h * parts - r.n() / 64;
        let (outer_start, outer_lift, range) = range.next::<LOOSE>(3, 6, f);
        let (inner_start, inner_lift, _) = range.next::<LOOSE>(3, 3, f);
        let lifts = [multiple(outer_lift, f), multiple(inner_lift, f)];
        for i in 0..parts {
            fetch.step::<8>();
            let (p, i) = (self.p.wrapping_add(64 * i), first + i);
            // SAFETY: part i, of 64 words.
            unsafe {
                match (outer_start, inner_start) {
                    (KEEP, KEEP) => {
                        tail::<LOOSE, COMPACT, CANONICAL, KEEP, KEEP>(p, r, i, lifts, f)
                    }
                    (KEEP, _) => tail::<LOOSE, COMPACT, CANONICAL, KEEP, SHRINK>(p, r, i, lifts, f),
                    (_, KEEP) => tail::<LOOSE, COMPACT, CANONICAL, SHRINK, KEEP>(p, r, i, lifts, f),
                    (_, _) => tail::<LOOSE, COMPACT, CANONICAL, SHRINK, SHRINK>(p, r, i, lifts, f),
                }
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
/// more, as many as the table is for and as the inputs of `source` have, which are at most [`max_terms`]. Lines of `soon` are
/// fetched meanwhile.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::ntt) fn forward(
    row: &mut [u64],
    source: Option<&Conversion<'_>>,
    soon: &[&[u64]],
    r: &Roots,
    m: &Modulus,
    canonical: bool,
) {
    assert!(row.len() >= MIN_N && row.len() == r.n());
    let (n, f) = (row.len(), &Field::new(m));
    let source = source.map(|conversion| Sum::new(conversion, n, m));
    let (source, fetch) = (
        source.as_ref(),
        &mut Fetch::new(soon, n, inner_passes(n) * n / 8),
    );
    // SAFETY: the row is borrowed mutably and the table is for its length, as asserted.
    let root = unsafe { Block::root(row.as_mut_ptr(), n) };
    match (is_loose(f), n >= COMPACT_N) {
        (true, false) => whole::<true, false>(root, r, source, canonical, f, fetch),
        (true, true) => whole::<true, true>(root, r, source, canonical, f, fetch),
        (false, false) => whole::<false, false>(root, r, source, canonical, f, fetch),
        (false, true) => whole::<false, true>(root, r, source, canonical, f, fetch),
    }
}

/// Whether there is room for loose words: a pass of three levels needs it for `2q`, a lift of `6q` and as much again.
pub(super) fn is_loose(f: &Field) -> bool {
    f.room >= 14
}

/// How many passes the transform of `n` words makes after that which makes its input.
pub(super) fn inner_passes(n: usize) -> usize {
    let (mut size, mut passes) = (n / split(n), 1);
    while size > 64 {
        (size, passes) = (size / split(size), passes + 1);
    }
    passes
}

/// The largest number of inputs of a conversion to this modulus.
pub(in crate::ntt) fn max_terms(m: &Modulus) -> usize {
    Sum::max_terms(m)
}

/// The block of the root; the inputs of `source` are as long.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn whole<const LOOSE: bool, const COMPACT: bool>(
    root: Block,
    r: &Roots,
    source: Option<&Sum<'_>>,
    canonical: bool,
    f: &Field,
    fetch: &mut Fetch<'_>,
) {
    if canonical {
        return finished::<LOOSE, COMPACT, true>(root, r, source, f, fetch);
    }
    finished::<LOOSE, COMPACT, false>(root, r, source, f, fetch);
}

/// [`whole`], with the form of the result.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn finished<const LOOSE: bool, const COMPACT: bool, const CANONICAL: bool>(
    root: Block,
    r: &Roots,
    source: Option<&Sum<'_>>,
    f: &Field,
    fetch: &mut Fetch<'_>,
) {
    if source.is_none() {
        return root.transform::<LOOSE, COMPACT, CANONICAL>(r, f, fetch);
    }
    // SAFETY: `Sum::new` has checked its inputs against the length of the row.
    let (k, range) = unsafe { root.split::<LOOSE>(r, source, f, fetch) };
    for i in 0..k {
        let part = root.part(i, k, range);
        part.transform::<LOOSE, COMPACT, CANONICAL>(r, f, fetch);
    }
}
