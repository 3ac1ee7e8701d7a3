//! Decomposition of a polynomial over Q_l into digits, and their extension to Q_l·P.
use super::{BaseConversion, Context};
use crate::chain;
use tacit_ring::{Coeff, Eval, Poly, kernel};

/// The digits of `operand`, in the form from which each prime's rows are made on demand.
pub(crate) struct Decomposition<'a> {
    operand: &'a Poly<Eval>,
    /// Row i: [(x+H)·(Q_d/q_i)^-1] mod q_i, coefficients.
    scaled: Poly<Coeff>,
    level: usize,
}

impl<'a> Decomposition<'a> {
    /// Step 1: `level + 1` inverse transforms.
    pub(crate) fn new(cx: Context<'_>, operand: &'a Poly<Eval>, level: usize) -> Self {
        let alpha = cx.params.alpha();
        let mut scaled = Poly::<Coeff>::uninit_pooled(cx.params.n(), level + 1);
        let rows = scaled.rows_mut().into_iter().enumerate().collect();
        cx.workers
            .for_each(rows, cx.params.n() * 4, |(i, row): (usize, &mut [u64])| {
                let conversion = cx.tables().digit(cx.params, i / alpha, level);
                let scale = &conversion.sources[i % alpha].scale;
                cx.params
                    .ntt(i)
                    .inverse_scaled_to(cx.path(), row, operand.row(i), scale);
            });
        Self {
            operand,
            scaled,
            level,
        }
    }

    /// Calls `body(row, digits, output)` for each row of Q_level·P; `digits[j]` is digit j modulo the row's prime in
    /// NTT order, in [0, 4q).
    pub(crate) fn for_each_row<T: Send>(
        &self,
        cx: Context<'_>,
        outputs: Vec<T>,
        body: impl Fn(usize, &[&[u64]], T) + Sync,
    ) {
        let (params, digits) = (cx.params, cx.params.dnum(self.level));
        let items = outputs.into_iter().enumerate().collect();
        cx.workers.for_each(
            items,
            params.n() * 4 * digits,
            |(row, output): (usize, T)| {
                let index = chain::index_of_row(params, self.level, row);
                let mut extended = Poly::<Eval>::uninit_pooled(params.n(), digits);
                let mut own = None;
                for (j, target) in extended.rows_mut().into_iter().enumerate() {
                    let conversion = cx.tables().digit(params, j, self.level);
                    if conversion
                        .sources
                        .iter()
                        .any(|source| source.index == index)
                    {
                        own = Some(j);
                    } else {
                        let sources: Vec<&[u64]> = conversion
                            .sources
                            .iter()
                            .map(|source| self.scaled.row(source.index))
                            .collect();
                        extend_row(cx, conversion, &sources, index, target);
                    }
                }
                let rows: Vec<&[u64]> = (0..digits)
                    .map(|j| {
                        if own == Some(j) {
                            self.operand.row(row)
                        } else {
                            extended.row(j)
                        }
                    })
                    .collect();
                body(row, &rows, output);
            },
        );
    }
}

/// Conversion of scaled source rows to the prime `index`, NTT order, [0, 4q).
pub(super) fn extend_row(
    cx: Context<'_>,
    conversion: &BaseConversion,
    sources: &[&[u64]],
    index: usize,
    out: &mut [u64],
) {
    let (m, path) = (cx.params.modulus(index), cx.path());
    let target = conversion.target(index);
    kernel::weighted_sum_lazy(path, out, sources, &target.weights, target.offset, m);
    cx.params.ntt(index).forward_lazy(path, out);
}
