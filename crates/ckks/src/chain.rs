//! One index over all primes: q_0..q_L, then p_0..p_{K-1}.
//!
//! A polynomial over Q_l·P has rows q_0..q_l, p_0..p_{K-1}; [`index_of_row`] turns its row number into the index of
//! the prime, which does not depend on the level.
use crate::params::Parameters;
use tacit_ring::{Modulus, NttTable};

/// Number of primes.
pub(crate) fn len(params: &Parameters) -> usize {
    params.q().len() + params.p().len()
}

/// The prime with this index.
pub(crate) fn modulus(params: &Parameters, index: usize) -> &Modulus {
    let n_q = params.q().len();
    if index < n_q {
        &params.q()[index]
    } else {
        &params.p()[index - n_q]
    }
}

/// The transform of the prime with this index.
pub(crate) fn ntt(params: &Parameters, index: usize) -> &NttTable {
    let n_q = params.q().len();
    if index < n_q {
        params.ntt_q(index)
    } else {
        params.ntt_p(index - n_q)
    }
}

/// The prime of row `row` of a polynomial over Q_level·P.
pub(crate) fn index_of_row(params: &Parameters, level: usize, row: usize) -> usize {
    if row <= level {
        row
    } else {
        row - (level + 1) + params.q().len()
    }
}

/// Indices of the special primes.
pub(crate) fn special(params: &Parameters) -> core::ops::Range<usize> {
    params.q().len()..len(params)
}
