//! Hybrid key switching (Han, Ki, ia.cr/2019/688) in the order of operations of docs/design/key-switching.md.
//!
//! With digits of K primes, Q_d the product of digit d and P that of the special primes:
//!
//! 1. [`Decomposition`]: one inverse transform per row of the operand, times (Q_d/q_i)^-1, centred.
//! 2. For each prime p_k that is divided by at the end: convert each digit to the prime, transform, take the inner
//!    product of all digits with both halves of the key in one pass, and go straight back to scaled coefficients.
//! 3. For each prime that remains: the same inner product, then at once the division: convert the rows of step 2,
//!    transform, subtract, multiply by P^-1, add, permute, write. The sum over Q_l·P never exists as a whole; what
//!    belongs to one prime stays in the second-level cache from the conversion to the last write.
//!
//! Steps 2 and 3 are one list of tasks ([`Switch::divide`]), taken in order by all threads, without a barrier in between.
//!
//! Rows of a digit modulo its own primes are those of the operand, unchanged. The operand is never rotated: the key
//! is made for the inverse rotation and the permutation is the last write.
mod digits;
mod moddown;
mod shelf;
mod switch;
mod tables;

pub(crate) use digits::Decomposition;
pub(crate) use moddown::{Ending, mod_down_to, rescale, scale_source};
pub(crate) use switch::Switch;
pub(crate) use tables::{BaseConversion, KeySwitchTables};

use crate::keys::SwitchingKey;
use crate::params::Parameters;
use crate::workers::Workers;
use tacit_ring::{CpuPath, Eval, Poly};

/// What every step needs: constants and threads.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) params: &'a Parameters,
    pub(crate) workers: &'a Workers,
}

impl<'a> Context<'a> {
    pub(crate) fn tables(self) -> &'a KeySwitchTables {
        self.params.keyswitch_tables()
    }

    pub(crate) fn path(self) -> CpuPath {
        self.params.path()
    }
}

/// A pair of polynomials over Q_l·P on the way to [`mod_down`]: the rows that will be divided out are in coefficient
/// form and scaled by [`scale_source`], all others in NTT order.
pub(crate) type Pair = [Poly<Eval>; 2];

/// Two polynomials over Q_level·P, not yet written.
pub(crate) fn new_pair(cx: Context<'_>, level: usize) -> Pair {
    let rows = level + 1 + cx.params.alpha();
    [0, 1].map(|_| Poly::uninit_pooled(cx.params.n(), rows))
}

/// The rows of a pair, for writing from several threads.
pub(crate) fn pair_rows(pair: &mut Pair) -> Vec<[&mut [u64]; 2]> {
    let [first, second] = pair;
    first
        .rows_mut()
        .into_iter()
        .zip(second.rows_mut())
        .map(|(a, b)| [a, b])
        .collect()
}

impl SwitchingKey {
    /// Halves (b_j, a_j) of all digits for row `row` of a polynomial over Q_level·P, `level` ≤ `self.level`.
    pub(crate) fn rows(
        &self,
        level: usize,
        row: usize,
        digits: usize,
    ) -> (Vec<&[u64]>, Vec<&[u64]>) {
        let row = if row <= level {
            row
        } else {
            row - level + self.level
        };
        self.digits[..digits]
            .iter()
            .map(|(b, a)| (b.row(row), a.row(row)))
            .unzip()
    }
}
