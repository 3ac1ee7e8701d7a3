//! Hybrid key switching (Han, Ki, ia.cr/2019/688) in the order of operations of docs/design/key-switching.md.
//!
//! With digits of K primes, Q_d the product of digit d and P that of the special primes:
//!
//! 1. [`Decomposition`]: one inverse transform per row of the operand, times (Q_d/q_i)^-1, centred.
//! 2. For each prime of Q_l·P in turn, so that all of it stays in the second-level cache: convert each digit to the
//!    prime, transform, and take the inner product of all digits with both halves of the key in one pass. Rows of
//!    the digit itself are the operand unchanged. Rows of P go straight back to coefficients, scaled for step 3.
//! 3. [`mod_down`]: for each prime of Q_l, convert from P, transform, subtract, multiply by P^-1.
//!
//! The operand is never rotated: the key is made for the inverse rotation and the permutation is the last write.
mod digits;
mod moddown;
mod tables;

pub(crate) use digits::Decomposition;
pub(crate) use moddown::{mod_down, mod_down_to, rescale, scale_source};
pub(crate) use tables::{BaseConversion, KeySwitchTables};

use crate::chain;
use crate::keys::SwitchingKey;
use crate::params::Parameters;
use crate::workers::Workers;
use tacit_ring::{CpuPath, Eval, Poly, kernel};

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

/// Steps 1 and 2: Σ digit_j(operand)·(b_j, a_j), plus (d0, d1)·P where given, ready for division by `division`.
pub(crate) fn multiply_by_key(
    cx: Context<'_>,
    operand: &Poly<Eval>,
    level: usize,
    key: &SwitchingKey,
    added: Option<&Pair>,
    division: &BaseConversion,
) -> Pair {
    let decomposition = Decomposition::new(cx, operand, level);
    let mut out = new_pair(cx, level);
    decomposition.for_each_row(cx, pair_rows(&mut out), |row, digits, [out0, out1]| {
        let index = chain::index_of_row(cx.params, level, row);
        let (m, path) = (cx.params.modulus(index), cx.path());
        let (b, a) = key.rows(level, row, digits.len());
        match added {
            Some([d0, d1]) if row <= level => {
                let p = cx.tables().special_product(row);
                kernel::mul_scalar(path, out0, d0.row(row), p, m);
                kernel::mul_scalar(path, out1, d1.row(row), p, m);
                kernel::inner_product2_add(path, out0, out1, digits, &b, &a, m);
            }
            _ => kernel::inner_product2(path, out0, out1, digits, &b, &a, m),
        }
        scale_source(cx, division, index, out0);
        scale_source(cx, division, index, out1);
    });
    out
}
