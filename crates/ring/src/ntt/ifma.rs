//! AVX-512 IFMA butterflies: eight words at a time, 52-bit quotients.
//!
//! `vpmadd52` reads only the low 52 bits of its factors, so everything is computed modulo `2^52`. Two disciplines, by the size of
//! `q` (`LOOSE` in the code):
//!
//! * tight: every word is below `4q <= 2^52`, as in Harvey's butterflies;
//! * loose: words grow for several levels before something is reduced; the code keeps account of the largest multiple of `q`
//!   and of `2^52 / q`. Words in registers and between passes are then meaningful **modulo `2^52`** only.
//!
//! A transform of `2^k` words is a tree of blocks: node `h` (root 1) has children `2h` and `2h+1` and twiddle factor
//! `ψ^brv(h)`. One pass takes a block through up to three levels in registers; the six levels of 64 words, three of them inside the
//! vectors, are one pass.
//!
//! Key switching uses each table for few rows and then goes on to the next prime, so that large tables come from far away again
//! and again. From degree [`COMPACT_N`] on they are kept small: the three innermost levels, seven eighths of all factors, are
//! stored without quotients, in Montgomery form, which costs one multiplication more (`COMPACT` in the code).

mod conversion;
mod forward;
mod inverse;

use std::arch::x86_64::*;

use super::bit_reversed_powers;
use crate::modulus::Modulus;

pub(super) use forward::{forward, max_terms};
pub(super) use inverse::inverse;

/// Smallest transform of this path, in words.
pub(super) const MIN_N: usize = 128;

/// Smallest transform with compact tables, in words. Measured in turns over the tables of 24 primes: compact ones are slower by
/// a tenth at `2^13` and faster by a fifth at `2^15`.
const COMPACT_N: usize = 1 << 15;

/// Words of the blocks in which a large transform is finished before the next one is touched: 32 kB, the usual L1.
const CACHED: usize = 4096;

/// Twiddle factors in the order in which they are read.
pub(super) struct Roots {
    /// `base^brv(h)` and its Shoup quotient for the levels above the last three, `h < n/8`.
    outer: Vec<[u64; 2]>,
    /// Factors of the levels of distance 4, `[a, b]` for the vectors `a`, `b` of each 16 words;
    four: Inner<2>,
    /// of distance 2, `[a0, b0, a1, b1]`;
    two: Inner<4>,
    /// and of distance 1, `[a0, a1, b0, b1, a2, a3, b2, b3]`.
    one: Inner<8>,
}

/// For each 16 words: `L` factors and their Shoup quotients, or factors in Montgomery form alone.
struct Inner<const L: usize> {
    value: Vec<[u64; L]>,
    shoup: Vec<[u64; L]>,
}

impl<const L: usize> Inner<L> {
    /// Takes the factors of the level with `L` of them for each 16 words, arranged in this order.
    fn new(powers: &[u64], order: [usize; L], m: &Modulus) -> Self {
        let n = powers.len();
        let level = &powers[n / 16 * L..n / 8 * L];
        let value = level
            .as_chunks::<L>()
            .0
            .iter()
            .map(|factors| order.map(|i| factors[i]));
        if n >= COMPACT_N {
            let value = value
                .map(|factors| factors.map(|w| m.mul_scalar(w, m.r52())))
                .collect();
            return Self {
                value,
                shoup: Vec::new(),
            };
        }
        Self {
            value: value.clone().collect(),
            shoup: value.map(|factors| factors.map(|w| m.shoup52(w))).collect(),
        }
    }
}

impl Roots {
    pub(super) fn new(log_n: u32, base: u64, m: &Modulus) -> Self {
        let powers = bit_reversed_powers(log_n, base, m);
        Self {
            outer: powers[..powers.len() / 8]
                .iter()
                .map(|&w| [w, m.shoup52(w)])
                .collect(),
            four: Inner::new(&powers, [0, 1], m),
            two: Inner::new(&powers, [0, 2, 1, 3], m),
            one: Inner::new(&powers, [0, 1, 4, 5, 2, 3, 6, 7], m),
        }
    }

    /// The degree that the table is for.
    fn n(&self) -> usize {
        16 * self.four.value.len()
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
    /// `2^52 - q`.
    neg_q: V,
    /// `q^-1 mod 2^52`.
    q_inverse: V,
    one_shoup: V,
    mask: V,
    /// `floor(2^52 / q)`: the largest multiple of `q` that bounds a word.
    room: u64,
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn broadcast(word: u64) -> V {
    _mm512_set1_epi64(word as i64)
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
    fn new(m: &Modulus) -> Self {
        let q = m.q();
        // Newton's iteration doubles the number of correct bits; q·q = 1 (mod 8).
        let q_inverse = (0..5).fold(q, |x, _| {
            x.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(x)))
        });
        Self {
            q: broadcast(q),
            two_q: broadcast(2 * q),
            neg_q: broadcast((1 << 52) - q),
            q_inverse: broadcast(q_inverse),
            one_shoup: broadcast(m.one_shoup52()),
            mask: broadcast((1 << 52) - 1),
            room: m.one_shoup52(),
        }
    }
}

/// `[0, 2b) → [0, b)`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn fold(a: V, b: V) -> V {
    _mm512_min_epu64(a, _mm512_sub_epi64(a, b))
}

/// Anything modulo `2^52` to `[0, 2q)` modulo `2^52`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn shrink(x: V, f: &Field) -> V {
    let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, f.one_shoup);
    _mm512_madd52lo_epu64(x, quotient, f.neg_q)
}

/// `acc + t` modulo `2^52` with `t = y·w mod q` in `[0, 2q)`, for `y` modulo `2^52`; the bits above are junk.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn mul_add(acc: V, y: V, w: W, f: &Field) -> V {
    let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), y, w.1);
    _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(acc, y, w.0), quotient, f.neg_q)
}

/// `y·w/2^52 mod q` in `(0, 2q)`, for `y` modulo `2^52` and `w` in Montgomery form. Montgomery, *Modular multiplication
/// without trial division*, 1985: `k = y·w/q mod 2^52` makes `y·w - k·q` a multiple of `2^52`, and the high halves of both
/// products are below `q`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn mul_montgomery(y: V, w: V, f: &Field) -> V {
    let zero = _mm512_setzero_si512();
    let k = _mm512_madd52lo_epu64(zero, _mm512_madd52lo_epu64(zero, y, w), f.q_inverse);
    _mm512_sub_epi64(
        _mm512_madd52hi_epu64(f.q, y, w),
        _mm512_madd52hi_epu64(zero, k, f.q),
    )
}

/// The factors of the three innermost levels for pair `i` of vectors, in the lanes where they are wanted: distance 4, 2, 1.
/// Without quotients when `COMPACT`.
///
/// # Safety
/// `i < n/16`; `COMPACT` if `n >= COMPACT_N`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inner_roots<const COMPACT: bool>(r: &Roots, i: usize) -> [W; 3] {
    // SAFETY: the caller's promise.
    unsafe {
        let value = inner_vectors(&r.four.value, &r.two.value, &r.one.value, i);
        if COMPACT {
            return [
                (value[0], value[0]),
                (value[1], value[1]),
                (value[2], value[2]),
            ];
        }
        let shoup = inner_vectors(&r.four.shoup, &r.two.shoup, &r.one.shoup, i);
        [
            (value[0], shoup[0]),
            (value[1], shoup[1]),
            (value[2], shoup[2]),
        ]
    }
}

/// Entry `i` of the tables, in their lanes.
///
/// # Safety
/// `i` is below the length of each.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inner_vectors(four: &[[u64; 2]], two: &[[u64; 4]], one: &[[u64; 8]], i: usize) -> [V; 3] {
    // SAFETY: the caller's promise; 16, 32 and 64 bytes are read from elements of that size.
    unsafe {
        let four = _mm512_castsi128_si512(_mm_loadu_si128(four.as_ptr().add(i).cast()));
        let two = _mm512_castsi256_si512(_mm256_loadu_si256(two.as_ptr().add(i).cast()));
        [
            _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1), four),
            _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), two),
            _mm512_loadu_si512(one.as_ptr().add(i).cast()),
        ]
    }
}

/// Twiddle factor of node `h` in every lane.
///
/// # Safety
/// `h < n/8`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn root(r: &Roots, h: usize) -> W {
    // SAFETY: the caller's promise.
    let [value, shoup] = unsafe { *r.outer.get_unchecked(h) };
    (broadcast(value), broadcast(shoup))
}

/// `K` vectors at distance `t` words.
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

/// Into how many parts one pass splits a block of `size` words (a power of two from 128): down to 64 words in as few
/// passes as possible, each of at most three levels.
fn split(size: usize) -> usize {
    match size.trailing_zeros() - 6 {
        1 => 2,
        levels if levels.is_multiple_of(3) => 8,
        _ => 4,
    }
}
