//! Rows and primes: all primes have one index, q_0..q_L, then p_0..p_{K-1}, as in `Parameters::modulus`.
use crate::params::Parameters;
use core::ops::Range;

/// Number of primes.
pub(crate) fn len(params: &Parameters) -> usize {
    params.q().len() + params.p().len()
}

/// The prime of row `row` of a polynomial over Q_level·P, whose rows are q_0..q_level, p_0..p_{K-1}.
pub(crate) fn index_of_row(params: &Parameters, level: usize, row: usize) -> usize {
    if row <= level {
        row
    } else {
        row - (level + 1) + params.q().len()
    }
}

/// Indices of the special primes.
pub(crate) fn special(params: &Parameters) -> Range<usize> {
    params.q().len()..len(params)
}
