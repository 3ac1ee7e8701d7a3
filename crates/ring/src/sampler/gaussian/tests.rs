//! The table against fixed-point arithmetic with 122 fractional bits.

use super::{CUMULATIVE, SIGMA};

/// Fractional bits: the sum of all weights, `3.2·sqrt(2π) = 8.02…`, has to fit in 128.
const BITS: u32 = 122;

/// `a·b`, a little too small.
fn mul(a: u128, b: u128) -> u128 {
    let half = |x: u128| (x >> 64, x & u128::from(u64::MAX));
    let ((a1, a0), (b1, b0)) = (half(a), half(b));
    let (carry, low) = half(a1 * b0 + ((a0 * b0) >> 64));
    let low = low + a0 * b1;
    // Bits 64 and up of the product; bits 0 to 63 are not needed.
    let (high, low) = (a1 * b1 + carry + (low >> 64), low & u128::from(u64::MAX));
    (high << (128 - BITS)) | (low >> (BITS - 64))
}

/// `round(2^64·a / b)` for `a < b`, by long division.
fn quotient(a: u128, b: u128) -> u64 {
    let (mut rest, mut digits) = (a, 0u128);
    for _ in 0..65 {
        rest *= 2;
        digits = 2 * digits + u128::from(rest >= b);
        rest -= if rest >= b { b } else { 0 };
    }
    (digits.div_ceil(2)) as u64
}

#[test]
fn table_is_the_cumulative_distribution() {
    assert_eq!(SIGMA, 3.2);
    // 1 / (2·3.2²) = 25/512; exp(-25/512) by its Taylor series.
    let one = 1u128 << BITS;
    let (mut base, mut term) = (one, one);
    for k in 1..40 {
        term = term / 512 * 25 / k;
        base = if k % 2 == 1 { base - term } else { base + term };
    }
    // weight(x) = base^(x²) = weight(x-1)·base^(2x-1)
    let (square, mut step) = (mul(base, base), base);
    let mut weights = vec![one];
    for x in 1..60 {
        weights.push(mul(weights[x - 1], step));
        step = mul(step, square);
    }
    let total = weights[0] + 2 * weights[1..].iter().sum::<u128>();
    let mut cumulative = weights[0];
    for (x, &threshold) in CUMULATIVE.iter().enumerate() {
        assert_eq!(quotient(cumulative, total), threshold, "entry {x}");
        cumulative += 2 * weights[x + 1];
    }
    // The next entry would round to 2^64.
    assert!(total - cumulative < total >> 65);
}

#[test]
fn scans_agree() {
    let mut words = [0u64; super::BATCH];
    for (i, word) in words.iter_mut().enumerate() {
        // Each threshold and its neighbours, then both ends.
        let entry = CUMULATIVE.get(i / 2).copied().unwrap_or(u64::MAX);
        *word = if i == 63 { 0 } else { entry - (i % 2) as u64 };
    }
    let (mut plain, mut vector) = ([0; super::BATCH], [0; super::BATCH]);
    let available = crate::CpuPath::Ifma.is_available();
    for signs in [0, u64::MAX, 0x1234_5678_9abc_def0] {
        super::scan(false, &mut plain, &words, signs);
        super::scan(available, &mut vector, &words, signs);
        assert_eq!(plain, vector);
    }
}
