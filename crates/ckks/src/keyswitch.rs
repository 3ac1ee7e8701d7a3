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
//! Rows of a digit modulo its own primes are those of the operand, unchanged. The operand is never rotated: the key
//! is made for the inverse rotation and the permutation is the last write.
mod digits;
mod moddown;
mod tables;

pub(crate) use digits::Decomposition;
pub(crate) use moddown::{Quotient, mod_down_to, rescale, scale_source};
pub(crate) use tables::{BaseConversion, KeySwitchTables, Source};

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

/// Writes what an inner product is added to: (row, first part, second part).
type Start<'a> = &'a (dyn Fn(usize, &mut [u64], &mut [u64]) + Sync);

/// A decomposed operand, the key for it, and what the result is divided by.
pub(crate) struct Switch<'a> {
    pub(crate) digits: &'a Decomposition<'a>,
    pub(crate) key: &'a SwitchingKey,
    /// From P, or from q_level·P.
    pub(crate) division: &'a BaseConversion,
    /// Added before the division, on rows of q; the callee multiplies by P.
    pub(crate) start: Option<Start<'a>>,
}

/// What one thread needs for a row.
struct Scratch {
    digits: Poly<Eval>,
    /// Both parts of the sum, the converted row, and one for `finish`.
    rows: Poly<Eval>,
}

impl Switch<'_> {
    /// Steps 2 and 3 for the primes q_0, q_1, … of `outputs`; `finish` is called with each row of each part.
    pub(crate) fn divide<T: Send>(
        &self,
        cx: Context<'_>,
        outputs: Vec<T>,
        finish: impl Fn(Quotient<'_>, &mut T) + Sync,
    ) {
        let (n, words) = (cx.params.n(), self.digits.words(cx));
        let mut divided: Pair = [0, 1].map(|_| Poly::uninit_pooled(n, self.division.sources.len()));
        let items = self
            .division
            .sources
            .iter()
            .zip(pair_rows(&mut divided))
            .collect();
        let scratch = || self.digits.scratch(cx);
        cx.workers.for_each_with(
            items,
            words,
            scratch,
            |scratch, (source, [u0, u1]): (&Source, [&mut [u64]; 2])| {
                let row = chain::row_of_index(cx.params, self.digits.level(), source.index);
                self.sum_row(cx, row, scratch, u0, u1);
                source.scale_row(cx, u0);
                source.scale_row(cx, u1);
            },
        );
        let sources = [0, 1].map(|part: usize| divided[part].rows_ref());
        let items = outputs.into_iter().enumerate().collect();
        let scratch = || Scratch {
            digits: self.digits.scratch(cx),
            rows: Poly::uninit_pooled(n, 4),
        };
        cx.workers.for_each_with(
            items,
            words,
            scratch,
            |scratch, (row, mut output): (usize, T)| {
                let mut rows = scratch.rows.rows_mut();
                let [u0, u1, converted, spare] = &mut rows[..] else {
                    return;
                };
                self.sum_row(cx, row, &mut scratch.digits, u0, u1);
                let (m, inverse) = (cx.params.modulus(row), &self.division.target(row).inverse);
                for (part, x) in [u0, u1].into_iter().enumerate() {
                    digits::extend_row(cx, self.division, &sources[part], row, converted);
                    finish(
                        Quotient {
                            part,
                            row,
                            m,
                            x,
                            converted,
                            inverse,
                            spare,
                        },
                        &mut output,
                    );
                }
            },
        );
    }

    /// Row `row` of start + Σ digit_j·(b_j, a_j), over Q_level·P.
    fn sum_row(
        &self,
        cx: Context<'_>,
        row: usize,
        scratch: &mut Poly<Eval>,
        u0: &mut [u64],
        u1: &mut [u64],
    ) {
        let level = self.digits.level();
        let m = cx
            .params
            .modulus(chain::index_of_row(cx.params, level, row));
        self.digits.with_row(cx, row, scratch, |digits| {
            let (b, a) = self.key.rows(level, row, digits.len());
            match self.start {
                Some(start) if row <= level => {
                    start(row, u0, u1);
                    kernel::inner_product2_add(cx.path(), u0, u1, digits, &b, &a, m);
                }
                _ => kernel::inner_product2(cx.path(), u0, u1, digits, &b, &a, m),
            }
        });
    }
}
