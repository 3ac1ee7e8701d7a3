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

/// The row of the prime with this index in a polynomial over Q_level·P; the reverse of [`index_of_row`].
pub(crate) fn row_of_index(params: &Parameters, level: usize, index: usize) -> usize {
    if index <= level {
        index
    } else {
        index - params.q().len() + (level + 1)
    }
}

/// Indices of the special primes.
pub(crate) fn special(params: &Parameters) -> Range<usize> {
    params.q().len()..len(params)
}
