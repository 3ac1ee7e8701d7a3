//! Products of words, one by one, and what is added to them.

use crate::compiled::compiled;
use crate::cpu::CpuPath;
use crate::prg::StreamExhaustedError;
use crate::sum::{Sum, pass};

/// `out = x·y + sum`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When the lengths differ.
pub fn product(
    path: CpuPath,
    out: &mut [u64],
    x: &[u64],
    y: &[u64],
    sum: &mut Sum<'_>,
) -> Result<(), StreamExhaustedError> {
    assert_eq!(x.len(), out.len(), "words of the first factor");
    assert_eq!(y.len(), out.len(), "words of the second factor");
    pass(path, out, sum, |at, out| {
        multiply(path, out, &x[at.clone()], &y[at]);
        Ok(())
    })
}

/// One party's part of a product of replicated shares, `x1·y1 + x1·y2 + x2·y1`, and `sum`. It must not leave this party unless
/// `sum` has a fresh share of zero ([`crate::sum::Summand::Zero`]).
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When the lengths differ.
pub fn replicated_product(
    path: CpuPath,
    out: &mut [u64],
    x: [&[u64]; 2],
    y: [&[u64]; 2],
    sum: &mut Sum<'_>,
) -> Result<(), StreamExhaustedError> {
    for part in x.iter().chain(&y) {
        assert_eq!(part.len(), out.len(), "words of each part of a factor");
    }
    pass(path, out, sum, |at, out| {
        let (x, y) = (x.map(|x| &x[at.clone()]), y.map(|y| &y[at.clone()]));
        multiply_parts(path, out, x[0], x[1], y[0], y[1]);
        Ok(())
    })
}

compiled! {
    fn multiply(out: &mut [u64], x: &[u64], y: &[u64]) {
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = x.wrapping_mul(*y);
        }
    }
}

compiled! {
    fn multiply_parts(out: &mut [u64], x1: &[u64], x2: &[u64], y1: &[u64], y2: &[u64]) {
        for ((((out, x1), x2), y1), y2) in out.iter_mut().zip(x1).zip(x2).zip(y1).zip(y2) {
            *out = x1.wrapping_mul(y1.wrapping_add(*y2)).wrapping_add(x2.wrapping_mul(*y1));
        }
    }
}
