//! Decimation in frequency, with the factors of the forward transform.
//!
//! The factor of node `2^l + j` is `ψ^-e` for an odd multiple `e` of `N/2^(l+1)`, and `ψ^N = -1`: it is `-ψ^(N-e)`, the negated
//! factor that the forward transform has at the mirrored node `2^l + (2^l - 1 - j)`. So differences are taken the other way round,
//! and tables of both directions need not come from far away. Children of mirrored nodes are mirrored.
//!
//! Three modes. A level doubles the bound of sums and leaves products below `2q`, so after a pass of three levels from `b·q`
//! the eight words are below `8b, 8, 4, 4, 2, 2, 2, 2` times `q`.
//!
//! * `TIGHT`, `q < 2^50`: sums are reduced to `[0, 2q)` in each level.
//! * `HALF`, `q < 2^48`: `b = 2`; the first half of the words of a pass is shrunk at its end. Nothing passes `16q`.
//! * `LOOSE`, `q < 2^45`: `b = 8`; only the first word of a pass is shrunk. Nothing passes `128q`, in the first pass, where
//!   the three levels inside the vectors come before.

use std::arch::x86_64::*;

use super::{
    CACHED, COMPACT_N, Field, MIN_N, Roots, V, W, broadcast, fold, inner_roots, load, mul_add,
    mul_montgomery, root, shrink, split, store,
};
use crate::modulus::Modulus;
use crate::ntt::InverseScale;

const TIGHT: u8 = 0;
const HALF: u8 = 1;
const LOOSE: u8 = 2;

/// `(x + y, x - y + bound)`: `bound` is a multiple of `q` above `y`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn sum_and_difference(x: V, y: V, bound: V) -> (V, V) {
    (
        _mm512_add_epi64(x, y),
        _mm512_sub_epi64(_mm512_add_epi64(x, bound), y),
    )
}

/// `(x + y, (x - y)·w)` of words below `bound`, for the factor `-w`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn butterfly<const MODE: u8>(x: &mut V, y: &mut V, w: W, bound: V, f: &Field) {
    let (sum, difference) = sum_and_difference(*y, *x, bound);
    let t = mul_add(_mm512_setzero_si512(), difference, w, f);
    (*x, *y) = if MODE == TIGHT {
        (fold(sum, f.two_q), _mm512_and_si512(t, f.mask))
    } else {
        (sum, t)
    };
}

/// The same with a factor of the inner levels.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inner_butterfly<const MODE: u8, const COMPACT: bool>(
    x: &mut V,
    y: &mut V,
    w: W,
    bound: V,
    f: &Field,
) {
    if COMPACT {
        let (sum, difference) = sum_and_difference(*y, *x, bound);
        let sum = if MODE == TIGHT {
            fold(sum, f.two_q)
        } else {
            sum
        };
        (*x, *y) = (sum, mul_montgomery(difference, w.0, f));
    } else {
        butterfly::<MODE>(x, y, w, bound, f);
    }
}

/// The node at the other end of its level.
#[inline]
fn mirror(h: usize) -> usize {
    let level = 1 << h.ilog2();
    3 * level - 1 - h
}

/// The bound of the words of the first level of a pass.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn first_bound<const MODE: u8>(f: &Field) -> V {
    if MODE == LOOSE {
        _mm512_slli_epi64::<2>(f.two_q)
    } else {
        f.two_q
    }
}

/// The bound of the next level.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn next_bound<const MODE: u8>(bound: V) -> V {
    if MODE == TIGHT {
        bound
    } else {
        _mm512_add_epi64(bound, bound)
    }
}

/// The levels of the node whose mirror is `h` in registers from the bottom up, without the top one when `LAST`. `bound` bounds
/// the words of the first of them.
///
/// # Safety
/// The nodes below `(h + 1)·K/2` are in the table.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn levels<const K: usize, const MODE: u8, const LAST: bool>(
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
            // SAFETY: the node is below (h + 1)·blocks <= (h + 1)·K/2.
            let w = unsafe { root(r, h * blocks + (blocks - 1 - b)) };
            for i in 2 * b * half..(2 * b + 1) * half {
                let (mut u, mut v) = (x[i], x[i + half]);
                butterfly::<MODE>(&mut u, &mut v, w, bound, f);
                (x[i], x[i + half]) = (u, v);
            }
        }
        blocks /= 2;
        bound = next_bound::<MODE>(bound);
    }
    if MODE != TIGHT && !LAST {
        for x in &mut x[..if MODE == LOOSE { 1 } else { K / 2 }] {
            *x = shrink(*x, f);
        }
    }
}

/// One pass over the block of node `h`, `K·t` words from `p`.
///
/// # Safety
/// The block is inside one allocation that nothing else refers to; `t` is a multiple of 8; `h` is a node of the tree.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn pass<const K: usize, const MODE: u8>(
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
            levels::<K, MODE, false>(&mut x, r, mirror(h), first_bound::<MODE>(f), f);
            store(p.add(j), t, &x);
        }
    }
}

/// The pass of the root: its top level applies the scale and makes the words canonical.
///
/// # Safety
/// As for [`pass`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn last_pass<const K: usize, const MODE: u8>(
    p: *mut u64,
    t: usize,
    r: &Roots,
    scale: &InverseScale,
    f: &Field,
) {
    let low = (broadcast(scale.low.value), broadcast(scale.low.shoup52));
    let high = (broadcast(scale.high.value), broadcast(scale.high.shoup52));
    let offset = broadcast(scale.offset);
    let mut bound = first_bound::<MODE>(f);
    for _ in 1..K.trailing_zeros() {
        bound = next_bound::<MODE>(bound);
    }
    for j in (0..t).step_by(8) {
        // SAFETY: j + 8 <= t, so all vectors are inside the block.
        unsafe {
            let mut x: [V; K] = load(p.add(j), t);
            levels::<K, MODE, true>(&mut x, r, 1, first_bound::<MODE>(f), f);
            for i in 0..K / 2 {
                let (sum, difference) = sum_and_difference(x[i], x[i + K / 2], bound);
                // [0, 3q): the offset is below q.
                let low = _mm512_and_si512(mul_add(offset, sum, low, f), f.mask);
                let high = _mm512_and_si512(mul_add(offset, difference, high, f), f.mask);
                x[i] = fold(fold(low, f.two_q), f.q);
                x[i + K / 2] = fold(fold(high, f.two_q), f.q);
            }
            store(p.add(j), t, &x);
        }
    }
}

/// The three innermost levels of a pair of vectors, with the factors of its mirror; from `[0, 2q)`. Not `TIGHT`: to below `16q`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn inner<const MODE: u8, const COMPACT: bool>(
    a: V,
    b: V,
    [four, two, one]: [W; 3],
    f: &Field,
) -> (V, V) {
    let bound = f.two_q;
    // The arrangements of the forward transform, backwards, and with the lanes the other way round, as the factors come from the
    // other end of their level.
    let mut x = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(14, 12, 6, 4, 10, 8, 2, 0), b);
    let mut y = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(15, 13, 7, 5, 11, 9, 3, 1), b);
    inner_butterfly::<MODE, COMPACT>(&mut x, &mut y, one, bound, f);
    let bound = next_bound::<MODE>(bound);
    let (mut x, mut y) = (_mm512_unpackhi_epi64(y, x), _mm512_unpacklo_epi64(y, x));
    inner_butterfly::<MODE, COMPACT>(&mut x, &mut y, two, bound, f);
    let bound = next_bound::<MODE>(bound);
    // b54 a54 b10 a10 | b76 a76 b32 a32 to b3 a3 b2 a2 b1 a1 b0 a0 | b7 a7 b6 a6 b5 a5 b4 a4
    let (mut x, mut y) = (
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(12, 14, 13, 15, 4, 6, 5, 7), y),
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(8, 10, 9, 11, 0, 2, 1, 3), y),
    );
    inner_butterfly::<MODE, COMPACT>(&mut x, &mut y, four, bound, f);
    if MODE == HALF {
        (x, y) = (shrink(x, f), shrink(y, f));
    }
    (
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(7, 5, 3, 1, 15, 13, 11, 9), y),
        _mm512_permutex2var_epi64(x, _mm512_setr_epi64(6, 4, 2, 0, 14, 12, 10, 8), y),
    )
}

/// The first six levels of the row, from `source` to `p`, 64 words each, which are words `64i` to `64i + 63` of the row.
///
/// # Safety
/// As for [`pass`]; `source` is `p` or in another allocation; `i < n/64`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn head<const MODE: u8, const COMPACT: bool>(
    source: *const u64,
    p: *mut u64,
    r: &Roots,
    i: usize,
    f: &Field,
) {
    let bound = if MODE == LOOSE {
        _mm512_slli_epi64::<3>(f.two_q)
    } else {
        f.two_q
    };
    // SAFETY: the caller's promise; `levels` reads the nodes h to 4h+3 for the mirror h of n/64 + i, all below n/8.
    unsafe {
        let mut x: [V; 8] = load(source, 8);
        for (k, pair) in x.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let roots = inner_roots::<COMPACT>(r, r.n() / 16 - 1 - (4 * i + k));
            (pair[0], pair[1]) = inner::<MODE, COMPACT>(pair[0], pair[1], roots, f);
        }
        levels::<8, MODE, false>(&mut x, r, mirror(r.n() / 64 + i), bound, f);
        store(p, 8, &x);
    }
}

/// All levels of the block of node `h`: `len` words from `p`, `len` a power of two from 64; without the top pass for the root.
/// `source` is the start of the whole input row.
///
/// # Safety
/// As for [`pass`]; `source` is the start of the row at `p` or of one in another allocation.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn block<const MODE: u8, const COMPACT: bool>(
    source: *const u64,
    p: *mut u64,
    len: usize,
    r: &Roots,
    h: usize,
    f: &Field,
) {
    // The sizes that the forward transform goes through.
    let mut sizes = [0; 8];
    let (mut size, mut count) = (len, 0);
    while size > 64 {
        sizes[count] = size;
        size /= split(size);
        count += 1;
    }
    if len > CACHED {
        let parts = split(len);
        for i in 0..parts {
            // SAFETY: part i of the block.
            unsafe {
                block::<MODE, COMPACT>(
                    source,
                    p.add(i * (len / parts)),
                    len / parts,
                    r,
                    h * parts + i,
                    f,
                )
            };
        }
        count = 1;
    } else {
        let first = h * (len / 64) - r.n() / 64;
        for i in 0..len / 64 {
            // SAFETY: part i, of 64 words.
            unsafe {
                head::<MODE, COMPACT>(source.add(64 * (first + i)), p.add(64 * i), r, first + i, f)
            };
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
                    8 => pass::<8, MODE>(p, size / 8, r, h, f),
                    4 => pass::<4, MODE>(p, size / 4, r, h, f),
                    _ => pass::<2, MODE>(p, size / 2, r, h, f),
                }
            }
        }
    }
}

/// From `input`, or from `row` itself, in `[0, 2q)`; `row` becomes canonical and scaled. The rows have `MIN_N` words or more,
/// as many as the table is for.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::ntt) fn inverse(
    row: &mut [u64],
    input: Option<&[u64]>,
    r: &Roots,
    scale: &InverseScale,
    m: &Modulus,
) {
    assert!(row.len() >= MIN_N && row.len() == r.n());
    assert!(input.is_none_or(|input| input.len() == row.len()));
    match m.bits() {
        ..=45 => whole::<LOOSE>(row, input, r, scale, m),
        46..=48 => whole::<HALF>(row, input, r, scale, m),
        _ => whole::<TIGHT>(row, input, r, scale, m),
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn whole<const MODE: u8>(
    row: &mut [u64],
    input: Option<&[u64]>,
    r: &Roots,
    scale: &InverseScale,
    m: &Modulus,
) {
    let (p, n, f) = (row.as_mut_ptr(), row.len(), Field::new(m));
    let source = input.map_or(p.cast_const(), <[u64]>::as_ptr);
    // SAFETY: the row is borrowed mutably, the input is as long, and the tables have that size, as the caller asserted.
    unsafe {
        if n >= COMPACT_N {
            block::<MODE, true>(source, p, n, r, 1, &f);
        } else {
            block::<MODE, false>(source, p, n, r, 1, &f);
        }
        match split(n) {
            8 => last_pass::<8, MODE>(p, n / 8, r, scale, &f),
            4 => last_pass::<4, MODE>(p, n / 4, r, scale, &f),
            _ => last_pass::<2, MODE>(p, n / 2, r, scale, &f),
        }
    }
}
