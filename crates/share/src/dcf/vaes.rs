//! Four paths in a vector and eight vectors at a time.

use std::arch::x86_64::*;

use zeroize::Zeroize;

use super::{Batch, LEAF_BITS, bit, blocks, leaf, leaves, levels};
use crate::prg::vaes::{RoundKeys, encrypt};

type V = __m512i;

/// Paths in a vector.
const LANES: usize = 4;

/// Vectors of paths that one party follows together.
const VECTORS: usize = 8;

/// Vectors of pairs of keys that the generator makes together: each takes four encryptions.
const PAIRS: usize = 2;

/// All ones in each 64-bit half of a lane where bit 0 of its lower half is 1, else zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn spread(x: V) -> V {
    let low = _mm512_and_si512(_mm512_shuffle_epi32::<0x44>(x), _mm512_set1_epi64(1));
    _mm512_sub_epi64(_mm512_setzero_si512(), low)
}

/// 1 in the lower half of each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn ones() -> V {
    _mm512_set_epi64(0, 1, 0, 1, 0, 1, 0, 1)
}

/// Everything but bits 0 to 2 of each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper() -> V {
    _mm512_set_epi64(-1, !7, -1, !7, -1, !7, -1, !7)
}

/// A 64-bit number into the lower half of each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn lower_halves(x: &[u64; LANES]) -> V {
    let [a, b, c, d] = x.map(|x| x as i64);
    _mm512_set_epi64(0, d, 0, c, 0, b, 0, a)
}

/// Four blocks from block `i` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u64], i: usize) -> V {
    let from: &[u64; 2 * LANES] = words[2 * i..][..2 * LANES].try_into().unwrap();
    // SAFETY: a reference to eight words is read.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(words: &mut [u64], i: usize, x: V) {
    let to: &mut [u64; 2 * LANES] = (&mut words[2 * i..][..2 * LANES]).try_into().unwrap();
    // SAFETY: a reference to eight words is written.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), x) }
}

/// `H` of each block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,aes,vaes")]
fn hash<const N: usize>(keys: &[V; 11], blocks: [V; N]) -> [V; N] {
    let mut out = encrypt(keys, blocks);
    for (out, block) in out.iter_mut().zip(blocks) {
        *out = _mm512_xor_si512(*out, block);
    }
    out
}

/// `x` where `choice` is ones, `y` where it is zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn either(choice: V, x: V, y: V) -> V {
    _mm512_ternarylogic_epi64::<0xca>(choice, x, y)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,aes,vaes")]
pub(super) fn evaluate(
    batch: &Batch,
    second: bool,
    roots: &[u64],
    keys: &[u64],
    points: &[u64],
    out: &mut [u64],
) {
    const GROUP: usize = LANES * VECTORS;
    let bits = batch.bits;
    let (expanded, n) = (RoundKeys::new(&batch.prg_key), points.len());
    let round_keys = expanded.wide();
    let (one, upper) = (ones(), upper());
    out.fill(0);
    let whole = n - n % GROUP;
    for start in (0..whole).step_by(GROUP) {
        let (groups, _) = points[start..start + GROUP].as_chunks::<LANES>();
        let (mut paths, mut seeds) = ([one; VECTORS], [one; VECTORS]);
        let (mut controls, mut values) = (
            [_mm512_set1_epi64(-i64::from(second)); VECTORS],
            [_mm512_setzero_si512(); VECTORS],
        );
        for v in 0..VECTORS {
            paths[v] = lower_halves(&groups[v]);
            seeds[v] = _mm512_and_si512(load(roots, start + LANES * v), upper);
        }
        for level in 0..levels(bits) {
            let row = &keys[2 * n * level..];
            let shift = _mm_cvtsi64_si128(i64::from(bits) - 1 - level as i64);
            let mut directions = [one; VECTORS];
            for v in 0..VECTORS {
                directions[v] = _mm512_and_si512(_mm512_srl_epi64(paths[v], shift), one);
                seeds[v] = _mm512_or_si512(seeds[v], directions[v]);
            }
            let children = hash(&round_keys, seeds);
            for v in 0..VECTORS {
                // children ^ word & control
                let word = load(row, start + LANES * v);
                let child = _mm512_ternarylogic_epi64::<0x78>(children[v], word, controls[v]);
                values[v] = _mm512_xor_si512(values[v], child);
                controls[v] = spread(_mm512_srlv_epi64(child, directions[v]));
                seeds[v] = _mm512_and_si512(child, upper);
            }
        }
        let children = hash(&round_keys, seeds);
        let row = &keys[2 * n * levels(bits)..];
        let mut packed = 0;
        for v in 0..VECTORS {
            let word = load(row, start + LANES * v);
            let block = _mm512_ternarylogic_epi64::<0x78>(children[v], word, controls[v]);
            let (mut leaves, mut sums) = ([0u64; 2 * LANES], [0u64; 2 * LANES]);
            store(&mut leaves, 0, block);
            store(&mut sums, 0, values[v]);
            for (j, point) in groups[v].iter().enumerate() {
                let suffix = point & ((1 << LEAF_BITS.min(bits)) - 1);
                let block = u128::from(leaves[2 * j + 1]) << 64 | u128::from(leaves[2 * j]);
                packed |= (leaf(block, suffix) ^ sums[2 * j] >> 2 & 1) << (LANES * v + j);
            }
        }
        out[start / 64] |= packed << (start % 64);
    }
    if whole < n {
        let mut last = [0];
        let (rows, rest) = (levels(bits) + 1, n - whole);
        let mut own = vec![0; 2 * rows * rest];
        for (row, own) in own.chunks_mut(2 * rest).enumerate() {
            own.copy_from_slice(&keys[2 * (row * n + whole)..][..2 * rest]);
        }
        let (roots, points) = (&roots[2 * whole..], &points[whole..]);
        blocks::evaluate(batch, second, roots, &own, points, &mut last);
        out[whole / 64] |= last[0] << (whole % 64);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,aes,vaes")]
pub(super) fn generate(
    batch: &Batch,
    roots: [&[u64]; 2],
    alpha: &[u64],
    flips: &[u64],
    keys: &mut [u64],
) {
    const GROUP: usize = LANES * PAIRS;
    let bits = batch.bits;
    let (expanded, n) = (RoundKeys::new(&batch.prg_key), alpha.len());
    let round_keys = expanded.wide();
    let (one, upper, zero) = (ones(), upper(), _mm512_setzero_si512());
    let whole = n - n % GROUP;
    for start in (0..whole).step_by(GROUP) {
        let (mut secrets, mut flipped) = ([zero; PAIRS], [zero; PAIRS]);
        // Of the first party, then of the second.
        let mut seeds = [[zero; PAIRS]; 2];
        let mut controls = [[zero; PAIRS], [_mm512_set1_epi64(-1); PAIRS]];
        let mut values = [zero; PAIRS];
        for v in 0..PAIRS {
            let at = start + LANES * v;
            secrets[v] = lower_halves(alpha[at..at + LANES].try_into().unwrap());
            flipped[v] = lower_halves(&[0, 1, 2, 3].map(|j| bit(flips, at + j)));
            for party in 0..2 {
                seeds[party][v] = _mm512_and_si512(load(roots[party], at), upper);
            }
        }
        for level in 0..levels(bits) {
            let shift = _mm_cvtsi64_si128(i64::from(bits) - 1 - level as i64);
            let mut parents = [zero; 4 * PAIRS];
            for v in 0..PAIRS {
                for party in 0..2 {
                    parents[4 * v + 2 * party] = seeds[party][v];
                    parents[4 * v + 2 * party + 1] = _mm512_or_si512(seeds[party][v], one);
                }
            }
            let children = hash(&round_keys, parents);
            for v in 0..PAIRS {
                let a = _mm512_and_si512(_mm512_srl_epi64(secrets[v], shift), one);
                let right = spread(a);
                let [l0, r0, l1, r1] = [0, 1, 2, 3].map(|i| children[4 * v + i]);
                let (lefts, rights) = (_mm512_xor_si512(l0, l1), _mm512_xor_si512(r0, r1));
                let lose = either(right, lefts, rights);
                // Bit 0 of each: value of the lost child, and the control bits.
                let want = _mm512_xor_si512(_mm512_xor_si512(values[v], a), flipped[v]);
                let lost = _mm512_xor_si512(_mm512_srli_epi64::<2>(lose), want);
                let left_control = _mm512_xor_si512(_mm512_xor_si512(lefts, a), one);
                let right_control = _mm512_xor_si512(_mm512_srli_epi64::<1>(rights), a);
                let low = [(lost, 2), (right_control, 1), (left_control, 0)];
                let mut word = _mm512_and_si512(lose, upper);
                for (x, place) in low {
                    let x = _mm512_sll_epi64(_mm512_and_si512(x, one), _mm_cvtsi64_si128(place));
                    word = _mm512_or_si512(word, x);
                }
                store(&mut keys[2 * n * level..], start + LANES * v, word);
                let mut sum = zero;
                for (party, [left, right_child]) in [[l0, r0], [l1, r1]].into_iter().enumerate() {
                    let kept = either(right, right_child, left);
                    let kept = _mm512_ternarylogic_epi64::<0x78>(kept, word, controls[party][v]);
                    sum = _mm512_xor_si512(sum, kept);
                    controls[party][v] = spread(_mm512_srlv_epi64(kept, a));
                    seeds[party][v] = _mm512_and_si512(kept, upper);
                }
                let sum = _mm512_and_si512(_mm512_srli_epi64::<2>(sum), one);
                values[v] = _mm512_xor_si512(values[v], sum);
            }
        }
        let mut last = [zero; 2 * PAIRS];
        last[..PAIRS].copy_from_slice(&seeds[0]);
        last[PAIRS..].copy_from_slice(&seeds[1]);
        let last = hash(&round_keys, last);
        for v in 0..PAIRS {
            let mut targets = [0u64; 2 * LANES];
            let mut sums = [0u64; 2 * LANES];
            store(&mut sums, 0, values[v]);
            for j in 0..LANES {
                let at = start + LANES * v + j;
                let suffix = alpha[at] & ((1 << LEAF_BITS.min(bits)) - 1);
                let flip = u128::from((bit(flips, at) ^ sums[2 * j]) & 1).wrapping_neg();
                let target = leaves(suffix, flip);
                (targets[2 * j], targets[2 * j + 1]) = (target as u64, (target >> 64) as u64);
            }
            let word = _mm512_xor_si512(
                _mm512_xor_si512(last[v], last[PAIRS + v]),
                load(&targets, 0),
            );
            store(&mut keys[2 * n * levels(bits)..], start + LANES * v, word);
        }
    }
    if whole < n {
        let (rows, rest) = (levels(bits) + 1, n - whole);
        let mut own = vec![0; 2 * rows * rest];
        let flips = [(0..rest).fold(0, |packed, j| packed | bit(flips, whole + j) << j)];
        let roots = roots.map(|roots| &roots[2 * whole..]);
        blocks::generate(batch, roots, &alpha[whole..], &flips, &mut own);
        for (row, own) in own.chunks(2 * rest).enumerate() {
            keys[2 * (row * n + whole)..][..2 * rest].copy_from_slice(own);
        }
        own.zeroize();
    }
}
