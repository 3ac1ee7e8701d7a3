//! 64-bit Harvey butterflies. All ranges hold because `4q < 2^52`.

use super::{InverseScale, Root};
use crate::modulus::Modulus;

/// `y·w mod q` in `[0, 2q)`; any 64-bit `y`.
#[inline(always)]
fn mul(y: u64, w: Root, q: u64) -> u64 {
    let quotient = ((y as u128 * w.shoup64 as u128) >> 64) as u64;
    y.wrapping_mul(w.value)
        .wrapping_sub(quotient.wrapping_mul(q))
}

/// `[0, 2b) → [0, b)`.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    a.min(a.wrapping_sub(b))
}

/// Input `[0, 4q)`; output `[0, 4q)`, or `[0, q)` when `canonical`.
pub(super) fn forward(row: &mut [u64], roots: &[Root], modulus: &Modulus, canonical: bool) {
    let (q, two_q, n) = (modulus.q(), 2 * modulus.q(), row.len());
    let mut blocks = 1;
    while blocks < n {
        for (block, &w) in row
            .chunks_exact_mut(n / blocks)
            .zip(&roots[blocks..2 * blocks])
        {
            let (low, high) = block.split_at_mut(n / blocks / 2);
            for (x, y) in low.iter_mut().zip(high) {
                let (u, v) = (fold(*x, two_q), mul(*y, w, q)); // both in [0, 2q)
                (*x, *y) = (u + v, u + two_q - v);
            }
        }
        blocks *= 2;
    }
    if canonical {
        for x in row {
            *x = fold(fold(*x, two_q), q);
        }
    }
}

/// Input `[0, 2q)`; output canonical, scaled.
pub(super) fn inverse(row: &mut [u64], roots: &[Root], scale: &InverseScale, modulus: &Modulus) {
    let (q, two_q, n) = (modulus.q(), 2 * modulus.q(), row.len());
    let mut blocks = n / 2;
    while blocks > 1 {
        for (block, &w) in row
            .chunks_exact_mut(n / blocks)
            .zip(&roots[blocks..2 * blocks])
        {
            let (low, high) = block.split_at_mut(n / blocks / 2);
            for (x, y) in low.iter_mut().zip(high) {
                let (u, v) = (*x, *y); // [0, 2q)
                (*x, *y) = (fold(u + v, two_q), mul(u + two_q - v, w, q));
            }
        }
        blocks /= 2;
    }
    let (low, high) = row.split_at_mut(n / 2);
    for (x, y) in low.iter_mut().zip(high) {
        let (u, v) = (*x, *y);
        *x = modulus.add(modulus.mul_scalar(u + v, &scale.low), scale.offset);
        *y = modulus.add(modulus.mul_scalar(u + two_q - v, &scale.high), scale.offset);
    }
}
