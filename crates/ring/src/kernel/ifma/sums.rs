//! Sums of many products: base conversion and the inner products of key switching.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Field, LANES, V, Wide, broadcast, canonical, load, store};
use crate::modulus::Modulus;

/// Words between what is read of a key and what is fetched.
const AHEAD: usize = 128;

/// How many products may be added to a [`Wide`] that starts below `2^52` before it must be reduced, so that it stays below
/// `2^104` and its low lanes below `2^64`. The factors are below `2^input_bits` (50 to 52) and `q`.
fn terms(input_bits: u32, m: &Modulus) -> usize {
    // t·(2^input_bits - 1)·(q - 1) < t·2^input_bits·(2^bits - 1) = 2^104 - t·2^input_bits < 2^104 - 2^52 for t >= 4.
    let log_terms = 104 - input_bits - m.bits();
    if log_terms >= 12 {
        (1 << 12) - 1
    } else {
        1 << log_terms
    }
}

/// Runs the first body for each position with `unroll` whole vectors, and the second with a mask for each vector left.
macro_rules! blocks {
    ($words:expr, $unroll:expr, |$i:ident| $body:expr, |$j:ident, $mask:ident| $rest:expr) => {{
        let (Range { start, end: n }, step) = ($words, LANES * $unroll);
        let whole = n - (n - start) % step;
        for $i in (start..whole).step_by(step) {
            $body
        }
        for $j in (whole..n).step_by(LANES) {
            let $mask: __mmask8 = if n - $j >= LANES {
                0xff
            } else {
                (1 << (n - $j)) - 1
            };
            $rest
        }
    }};
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::kernel) fn weighted_sum(
    out: &mut [u64],
    inputs: &[&[u64]],
    weights: &[u64],
    offset: u64,
    m: &Modulus,
    is_canonical: bool,
) {
    let n = inputs.iter().map(|x| x.len()).fold(out.len(), usize::min);
    let (f, offset, limit, out) = (
        &Field::new(m),
        broadcast(offset),
        terms(50, m),
        out.as_mut_ptr(),
    );
    blocks!(
        0..n,
        4,
        // SAFETY: n is the length of the shortest row.
        |i| unsafe {
            weighted_block::<4>(
                out,
                i,
                0xff,
                inputs,
                weights,
                offset,
                limit,
                is_canonical,
                f,
            )
        },
        // SAFETY: as above.
        |i, mask| unsafe {
            weighted_block::<1>(
                out,
                i,
                mask,
                inputs,
                weights,
                offset,
                limit,
                is_canonical,
                f,
            )
        }
    );
}

/// `U` vectors of [`weighted_sum`] from position `i` on.
///
/// # Safety
/// All rows have these words; `mask` is full unless `U` is 1.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[allow(clippy::too_many_arguments)] // one block of a loop, inlined there
unsafe fn weighted_block<const U: usize>(
    out: *mut u64,
    i: usize,
    mask: __mmask8,
    inputs: &[&[u64]],
    weights: &[u64],
    offset: V,
    limit: usize,
    is_canonical: bool,
    f: &Field,
) {
    let mut sums = [Wide::new(offset); U];
    let mut room = limit;
    for (input, &weight) in inputs.iter().zip(weights) {
        if room == 0 {
            compress(&mut sums, f);
            room = limit;
        }
        room -= 1;
        let weight = broadcast(weight);
        for (u, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            sum.add_product(unsafe { load(input.as_ptr(), i + u * LANES, mask) }, weight);
        }
    }
    for (u, sum) in sums.into_iter().enumerate() {
        let r = sum.reduce(f);
        // SAFETY: the caller's promise.
        unsafe {
            store(
                out,
                i + u * LANES,
                mask,
                if is_canonical { canonical(r, f) } else { r },
            )
        }
    }
}

/// With fewer inputs than this a pass for each target is faster: the multiplications are the limit, not the loads.
const MIN_SHARED_INPUTS: usize = 8;

/// [`weighted_sum`] for many targets, in `[0, 4q)`, up to four of them at a time.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::kernel) fn weighted_sums(
    outs: &mut [&mut [u64]],
    inputs: &[&[u64]],
    weights: &[&[u64]],
    offsets: &[u64],
    ms: &[&Modulus],
) {
    let together = if inputs.len() < MIN_SHARED_INPUTS {
        1
    } else {
        4
    };
    for (i, outs) in outs.chunks_mut(together).enumerate() {
        let i = i * together;
        let (weights, offsets, ms) = (&weights[i..], &offsets[i..], &ms[i..]);
        match outs {
            [a] => weighted_sum(a, inputs, weights[0], offsets[0], ms[0], false),
            [a, b] => weighted_targets([a, b], inputs, weights, offsets, ms),
            [a, b, c] => weighted_targets([a, b, c], inputs, weights, offsets, ms),
            [a, b, c, d] => weighted_targets([a, b, c, d], inputs, weights, offsets, ms),
            _ => {}
        }
    }
}

/// The first `T` targets.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn weighted_targets<const T: usize>(
    outs: [&mut &mut [u64]; T],
    inputs: &[&[u64]],
    weights: &[&[u64]],
    offsets: &[u64],
    ms: &[&Modulus],
) {
    let shortest = outs.iter().map(|out| out.len()).min().unwrap_or(0);
    let n = inputs.iter().map(|x| x.len()).fold(shortest, usize::min);
    let outs = outs.map(|out| out.as_mut_ptr());
    assert!(
        weights[..T]
            .iter()
            .all(|weights| weights.len() >= inputs.len())
    );
    let mut targets = [(weights[0], broadcast(offsets[0]), Field::new(ms[0])); T];
    for t in 1..T {
        targets[t] = (weights[t], broadcast(offsets[t]), Field::new(ms[t]));
    }
    let limit = ms[..T].iter().map(|m| terms(50, m)).min().unwrap_or(1);
    blocks!(
        0..n,
        2,
        // SAFETY: n is the length of the shortest row; there is a weight for each input.
        |i| unsafe { weighted_targets_block::<2, T>(outs, i, 0xff, inputs, &targets, limit) },
        // SAFETY: as above.
        |i, mask| unsafe { weighted_targets_block::<1, T>(outs, i, mask, inputs, &targets, limit) }
    );
}

/// `U` vectors from position `i` on of the sums for `T` targets: weights, offset and modulus of each.
///
/// # Safety
/// All rows have these words; `mask` is full unless `U` is 1; each target has a weight for each input.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
unsafe fn weighted_targets_block<const U: usize, const T: usize>(
    outs: [*mut u64; T],
    i: usize,
    mask: __mmask8,
    inputs: &[&[u64]],
    targets: &[(&[u64], V, Field); T],
    limit: usize,
) {
    let mut sums = [[Wide::new(_mm512_setzero_si512()); U]; T];
    for (sums, (_, offset, _)) in sums.iter_mut().zip(targets) {
        *sums = [Wide::new(*offset); U];
    }
    let mut room = limit;
    for (j, input) in inputs.iter().enumerate() {
        if room == 0 {
            for (sums, (_, _, f)) in sums.iter_mut().zip(targets) {
                compress(sums, f);
            }
            room = limit;
        }
        room -= 1;
        let mut x = [_mm512_setzero_si512(); U];
        for (u, x) in x.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *x = unsafe { load(input.as_ptr(), i + u * LANES, mask) };
        }
        for (sums, (weights, _, _)) in sums.iter_mut().zip(targets) {
            // SAFETY: the caller's promise.
            let weight = broadcast(unsafe { *weights.get_unchecked(j) });
            for (sum, x) in sums.iter_mut().zip(x) {
                sum.add_product(x, weight);
            }
        }
    }
    for ((sums, (_, _, f)), out) in sums.into_iter().zip(targets).zip(outs) {
        for (u, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { store(out, i + u * LANES, mask, sum.reduce(f)) }
        }
    }
}

/// Makes room for the next products.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
fn compress<const U: usize>(sums: &mut [Wide; U], f: &Field) {
    for sum in sums {
        *sum = Wide::new(sum.reduce(f));
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::kernel) fn inner_product(
    out: &mut [u64],
    xs: &[&[u64]],
    ys: &[&[u64]],
    m: &Modulus,
    add: bool,
) {
    let rows = xs.iter().chain(ys);
    let n = rows.map(|x| x.len()).fold(out.len(), usize::min);
    let (f, limit, out) = (&Field::new(m), terms(52, m), out.as_mut_ptr());
    let (xs, ys) = (addresses(xs), addresses(ys));
    blocks!(
        0..n,
        4,
        // SAFETY: n is the length of the shortest row.
        |i| unsafe { product_block::<4, 1>([out], i, 0xff, &xs, [&ys], limit, add, f) },
        // SAFETY: as above.
        |i, mask| unsafe { product_block::<1, 1>([out], i, mask, &xs, [&ys], limit, add, f) }
    );
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(in crate::kernel) fn inner_product2(
    out0: &mut [u64],
    out1: &mut [u64],
    xs: &[&[u64]],
    k0s: &[&[u64]],
    k1s: &[&[u64]],
    m: &Modulus,
    add: bool,
) {
    let rows = xs.iter().chain(k0s).chain(k1s);
    let shortest = out0.len().min(out1.len());
    let n = rows.map(|x| x.len()).fold(shortest, usize::min);
    let outs = [out0.as_mut_ptr(), out1.as_mut_ptr()];
    let (xs, k0s, k1s) = (addresses(xs), addresses(k0s), addresses(k1s));
    // SAFETY: n is the length of the shortest row; the outputs are borrowed mutably.
    unsafe { inner_product2_words(outs, 0..n, &xs, [&k0s, &k1s], add, m) }
}

fn addresses(rows: &[&[u64]]) -> Vec<*const u64> {
    rows.iter().map(|row| row.as_ptr()).collect()
}

/// These words of `outs[o] = Σ xs[i]·keys[o][i]`, added to what they hold when `add`; `xs` below `2^52`.
///
/// # Safety
/// All rows have these words, and those of `outs` are in allocations, or parts of one, that nothing else refers to.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
pub(crate) unsafe fn inner_product2_words(
    outs: [*mut u64; 2],
    words: Range<usize>,
    xs: &[*const u64],
    keys: [&[*const u64]; 2],
    add: bool,
    m: &Modulus,
) {
    assert!(keys.iter().all(|keys| keys.len() == xs.len()));
    let (f, limit) = (&Field::new(m), terms(52, m));
    blocks!(
        words,
        2,
        // SAFETY: the caller's promise.
        |i| unsafe { product_block::<2, 2>(outs, i, 0xff, xs, keys, limit, add, f) },
        // SAFETY: as above.
        |i, mask| unsafe { product_block::<1, 2>(outs, i, mask, xs, keys, limit, add, f) }
    );
}

/// `U` vectors from position `i` on of the inner products of `xs` with `O` lists of rows.
///
/// # Safety
/// All rows have these words; `mask` is full unless `U` is 1; all lists are as long as `xs`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512ifma")]
#[allow(clippy::too_many_arguments)] // one block of a loop, inlined there
unsafe fn product_block<const U: usize, const O: usize>(
    outs: [*mut u64; O],
    i: usize,
    mask: __mmask8,
    xs: &[*const u64],
    ys: [&[*const u64]; O],
    limit: usize,
    add: bool,
    f: &Field,
) {
    let mut sums = [[Wide::new(_mm512_setzero_si512()); U]; O];
    if add {
        for (sums, out) in sums.iter_mut().zip(outs) {
            for (u, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                sum.low = unsafe { load(out, i + u * LANES, mask) };
            }
        }
    }
    let mut room = limit;
    for (j, &x) in xs.iter().enumerate() {
        if room == 0 {
            for sums in &mut sums {
                compress(sums, f);
            }
            room = limit;
        }
        room -= 1;
        if O > 1 {
            // Keys come from memory, in more streams than the hardware follows: a tenth faster when they do not fit the caches.
            for ys in ys {
                // SAFETY: the lists have equal length. A prefetch may name any address.
                let y = unsafe { ys.get_unchecked(j) }.wrapping_add(i + AHEAD);
                for u in 0..U {
                    _mm_prefetch::<_MM_HINT_T0>(y.wrapping_add(u * LANES).cast());
                }
            }
        }
        for u in 0..U {
            // SAFETY: the caller's promise.
            let x = unsafe { load(x, i + u * LANES, mask) };
            for (sums, ys) in sums.iter_mut().zip(ys) {
                // SAFETY: the caller's promise; the lists have equal length.
                let y = unsafe { load(*ys.get_unchecked(j), i + u * LANES, mask) };
                sums[u].add_product(x, y);
            }
        }
    }
    for (sums, out) in sums.into_iter().zip(outs) {
        for (u, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { store(out, i + u * LANES, mask, canonical(sum.reduce(f), f)) }
        }
    }
}
