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
mod fetch;
mod forward;
mod inverse;
mod product;

use std::arch::x86_64::*;
use std::mem::offset_of;

use super::bit_reversed_powers;
use crate::modulus::Modulus;

pub(super) use forward::{forward, max_terms};
pub(super) use inverse::inverse;
pub(super) use product::inner_product2;

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
    /// The last three levels, for each 64 words of the row; one of the lists is empty.
    inner: Vec<Inner>,
    compact: Vec<CompactInner>,
}

/// The factors of the last three levels of 64 words, for each pair `a`, `b` of vectors.
#[repr(C, align(64))]
struct Inner {
    /// Distance 1: `a0, a1, b0, b1, a2, a3, b2, b3`, then their quotients.
    one: [[u64; 16]; 4],
    /// Distance 2: `a0, b0, a1, b1`, each followed by its quotient.
    two: [[u64; 8]; 4],
    /// Distance 4: `a`, `b`, then their quotients.
    four: [[u64; 4]; 4],
}

/// [`Inner`] in Montgomery form, without quotients.
#[repr(C, align(64))]
struct CompactInner {
    one: [[u64; 8]; 4],
    two: [[u64; 4]; 4],
    four: [[u64; 2]; 4],
}

impl Roots {
    pub(super) fn new(log_n: u32, base: u64, m: &Modulus) -> Self {
        let powers = bit_reversed_powers(log_n, base, m);
        let n = powers.len();
        // Factors of the pairs of 64 words, from the level with `L` of them for each pair, in this order.
        fn pairs<const L: usize>(powers: &[u64], i: usize, order: [usize; L]) -> [[u64; L]; 4] {
            let first = powers.len() / 16 * L + 4 * i * L;
            [0, 1, 2, 3].map(|k| order.map(|j| powers[first + k * L + j]))
        }
        let one = |i| pairs(&powers, i, [0, 1, 4, 5, 2, 3, 6, 7]);
        let two = |i| pairs(&powers, i, [0, 2, 1, 3]);
        let four = |i| pairs(&powers, i, [0, 1]);
        let with_quotient = |w: u64| [w, m.shoup52(w)];
        let montgomery = |w: u64| m.mul_scalar(w, m.r52());
        let (mut inner, mut compact) = (Vec::new(), Vec::new());
        for i in 0..n / 64 {
            if n >= COMPACT_N {
                compact.push(CompactInner {
                    one: one(i).map(|pair| pair.map(montgomery)),
                    two: two(i).map(|pair| pair.map(montgomery)),
                    four: four(i).map(|pair| pair.map(montgomery)),
                });
                continue;
            }
            inner.push(Inner {
                one: one(i).map(|pair| std::array::from_fn(|j| with_quotient(pair[j % 8])[j / 8])),
                two: two(i).map(|pair| std::array::from_fn(|j| with_quotient(pair[j / 2])[j % 2])),
                four: four(i)
                    .map(|pair| std::array::from_fn(|j| with_quotient(pair[j % 2])[j / 2])),
            });
        }
        let outer = powers[..n / 8].iter().map(|&w| with_quotient(w)).collect();
        Self {
            outer,
            inner,
            compact,
        }
    }

    /// The degree that the table is for.
    fn n(&self) -> usize {
        8 * self.outer.len()
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
/// Loads repeat them, so that the port that moves words between lanes is left to the words of the row.
///
/// # Safety
/// `i < n/16`; `COMPACT` if `n >= COMPACT_N`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn inner_roots<const COMPACT: bool>(r: &Roots, i: usize) -> [W; 3] {
    let (i, k) = (i / 4, i % 4);
    // SAFETY: the caller's promise: there is an element for each 64 words. All loads are inside it: those of 8 words from the
    // second word of `two` on end with the first word of what follows `two`, or of `four`.
    unsafe {
        if COMPACT {
            let roots = r.compact.get_unchecked(i);
            let four = _mm512_broadcast_i64x2(_mm_loadu_si128(roots.four[k].as_ptr().cast()));
            let two = _mm512_castsi256_si512(_mm256_loadu_si256(roots.two[k].as_ptr().cast()));
            let two = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), two);
            let one = _mm512_loadu_si512(roots.one[k].as_ptr().cast());
            return [(four, four), (two, two), (one, one)];
        }
        let roots = std::ptr::from_ref(r.inner.get_unchecked(i));
        let one = (&raw const (*roots).one).cast::<u64>().add(16 * k);
        // Through a pointer to all of the element: the loads reach over the ends of `two`.
        let two = roots.cast::<u64>().add(offset_of!(Inner, two) / 8 + 8 * k);
        let four = (&raw const (*roots).four).cast::<u64>().add(4 * k);
        let repeat = |p: *const u64| _mm512_broadcast_i64x2(_mm_loadu_si128(p.cast()));
        let double =
            |p: *const u64| _mm512_castpd_si512(_mm512_movedup_pd(_mm512_loadu_pd(p.cast())));
        [
            (repeat(four), repeat(four.add(2))),
            (double(two), double(two.add(1))),
            (
                _mm512_loadu_si512(one.cast()),
                _mm512_loadu_si512(one.add(8).cast()),
            ),
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
