//! Decomposition of a polynomial over Q_l into digits, and their extension to Q_l·P.
use super::{BaseConversion, Context};
use crate::chain;
use std::borrow::Cow;
use tacit_ring::{Coeff, Eval, Poly, Term};

/// Words of one polynomial over Q·P from which on its rows no longer wait in a cache for the next pass (8 MiB).
const LARGE_WORDS: usize = 1 << 20;

/// The digits of an operand, in the form from which the rows of each prime are made.
pub(crate) struct Decomposition<'a> {
    operand: Cow<'a, Poly<Eval>>,
    /// Row i: [(x+H)·(Q_d/q_i)^-1] mod q_i, coefficients.
    scaled: Poly<Coeff>,
    level: usize,
    /// For each row of Q_level·P all digits; empty when they are made on demand.
    stored: Vec<Poly<Eval>>,
}

impl<'a> Decomposition<'a> {
    /// Of a polynomial over Q_level: `level + 1` inverse transforms.
    pub(crate) fn new(cx: Context<'_>, operand: &'a Poly<Eval>, level: usize) -> Self {
        let mut scaled = Poly::<Coeff>::uninit_pooled(cx.params.n(), level + 1);
        let rows = scaled.rows_mut().into_iter().enumerate().collect();
        cx.workers
            .for_each(rows, cx.params.n() * 4, |(i, out): (usize, &mut [u64])| {
                scale_row(cx, level, i, operand.row(i), out);
            });
        Self {
            operand: Cow::Borrowed(operand),
            scaled,
            level,
            stored: Vec::new(),
        }
    }

    /// Of the polynomial over Q_level whose rows are written by `write(row, out)`.
    pub(crate) fn of_written(
        cx: Context<'_>,
        level: usize,
        write: impl Fn(usize, &mut [u64]) + Sync,
    ) -> Self {
        let n = cx.params.n();
        let mut operand = Poly::<Eval>::uninit_pooled(n, level + 1);
        let mut scaled = Poly::<Coeff>::uninit_pooled(n, level + 1);
        let rows = operand
            .rows_mut()
            .into_iter()
            .zip(scaled.rows_mut())
            .enumerate()
            .collect();
        cx.workers.for_each(
            rows,
            n * 4,
            |(i, (row, out)): (usize, (&mut [u64], &mut [u64]))| {
                write(i, row);
                scale_row(cx, level, i, row, out);
            },
        );
        Self {
            operand: Cow::Owned(operand),
            scaled,
            level,
            stored: Vec::new(),
        }
    }

    /// Makes all rows now, for use with several keys.
    pub(crate) fn store(mut self, cx: Context<'_>) -> Self {
        let (n, digits) = (cx.params.n(), cx.params.dnum(self.level));
        let rows = self.level + 1 + cx.params.alpha();
        let mut stored: Vec<_> = (0..rows)
            .map(|_| Poly::<Eval>::uninit_pooled(n, digits))
            .collect();
        cx.workers.for_each(
            stored.iter_mut().enumerate().collect(),
            n * 4 * digits,
            |(row, out)| {
                self.extend(cx, row, out);
            },
        );
        self.stored = stored;
        self
    }

    pub(crate) fn level(&self) -> usize {
        self.level
    }

    /// Number of digits.
    pub(crate) fn dnum(&self, cx: Context<'_>) -> usize {
        cx.params.dnum(self.level)
    }

    /// Digits that have to be made for each row: all, or none when they are stored.
    pub(crate) fn extended(&self, cx: Context<'_>) -> usize {
        if self.stored.is_empty() {
            self.dnum(cx)
        } else {
            0
        }
    }

    /// Room for the digits of one row, for [`Self::with_row`].
    pub(crate) fn scratch(&self, cx: Context<'_>) -> Poly<Eval> {
        Poly::uninit_pooled(cx.params.n(), self.extended(cx))
    }

    /// Calls `body(digits)` with digit j modulo the prime of row `row` of Q_level·P as `digits[j]`, NTT order, words below 2^52.
    pub(crate) fn with_row<R>(
        &self,
        cx: Context<'_>,
        row: usize,
        scratch: &mut Poly<Eval>,
        body: impl FnOnce(&[&[u64]]) -> R,
    ) -> R {
        if self.stored.is_empty() {
            self.extend(cx, row, scratch);
        }
        body(&self.row(cx, row, &scratch.rows_ref()))
    }

    /// All digits modulo the prime of row `row`: those that are there, and else the given ones.
    pub(super) fn row<'b>(
        &'b self,
        cx: Context<'_>,
        row: usize,
        extended: &[&'b [u64]],
    ) -> Vec<&'b [u64]> {
        (0..self.dnum(cx))
            .map(|j| self.ready(cx, row, j).unwrap_or_else(|| extended[j]))
            .collect()
    }

    /// Digit j modulo the prime of row `row`, when it need not be made: that of the digit which has this prime, or a stored one.
    fn ready(&self, cx: Context<'_>, row: usize, j: usize) -> Option<&[u64]> {
        if self.is_own(cx, row, j) {
            return Some(self.operand.row(row));
        }
        self.stored.get(row).map(|stored| stored.row(j))
    }

    /// Whether digit j has the prime of row `row`: its residues are then those of the operand.
    fn is_own(&self, cx: Context<'_>, row: usize, j: usize) -> bool {
        row <= self.level && row / cx.params.alpha() == j
    }

    /// Calls `body(scratch, row, digits, output)` for each row of Q_level·P, with digits as in [`Self::with_row`] and
    /// the thread's own scratch.
    pub(crate) fn for_each_row<T: Send, S>(
        &self,
        cx: Context<'_>,
        outputs: Vec<T>,
        scratch: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, usize, &[&[u64]], T) + Sync,
    ) {
        let mut items: Vec<(usize, T)> = outputs.into_iter().enumerate().collect();
        // Rows of P have one digit more to convert. Longest first lets threads end together (1.59 to 1.70 times one
        // thread at 2^16 with 35 rows); while caches hold a good part, what the next pass reads first is better made last.
        if items.len() * cx.params.n() > LARGE_WORDS {
            items.reverse();
        }
        let scratch = || (self.scratch(cx), scratch());
        cx.workers.for_each_with(
            items,
            self.words(cx),
            scratch,
            |(digits, scratch), (row, output)| {
                self.with_row(cx, row, digits, |digits| body(scratch, row, digits, output));
            },
        );
    }

    /// Words that the work on one row moves, for [`crate::workers::Workers`].
    pub(crate) fn words(&self, cx: Context<'_>) -> usize {
        cx.params.n() * 4 * (cx.params.dnum(self.level) + 1)
    }

    /// Row j of `out` becomes digit j modulo the prime of row `row`; not written for the digit that has this prime.
    fn extend(&self, cx: Context<'_>, row: usize, out: &mut Poly<Eval>) {
        for (j, target) in out.rows_mut().into_iter().enumerate() {
            self.extend_digit(cx, row, j, target);
        }
    }

    /// `target` becomes digit j modulo the prime of row `row`; not written for the digit that has this prime.
    pub(super) fn extend_digit(&self, cx: Context<'_>, row: usize, j: usize, target: &mut [u64]) {
        if self.is_own(cx, row, j) {
            return;
        }
        let index = chain::index_of_row(cx.params, self.level, row);
        let sources = self.sources(cx, j);
        let conversion = cx.tables().digit(cx.params, j, self.level);
        extend_row(cx, conversion, &sources, index, target, &[]);
    }

    /// The scaled rows of digit j.
    fn sources(&self, cx: Context<'_>, j: usize) -> Vec<&[u64]> {
        let conversion = cx.tables().digit(cx.params, j, self.level);
        let rows = conversion.sources.iter();
        rows.map(|source| self.scaled.row(source.index)).collect()
    }

    /// The inner product of the digits modulo the prime of row `row` with both halves of a key, added to what the outputs hold
    /// when `add`. Digits that have to be made are made in `scratch`, see [`Self::scratch`].
    pub(super) fn inner_product2(
        &self,
        cx: Context<'_>,
        row: usize,
        scratch: &mut Poly<Eval>,
        outs: [&mut [u64]; 2],
        keys: [&[&[u64]]; 2],
        add: bool,
    ) {
        let index = chain::index_of_row(cx.params, self.level, row);
        let digits = 0..self.dnum(cx);
        let sources: Vec<Vec<&[u64]>> = digits.clone().map(|j| self.sources(cx, j)).collect();
        let mut rooms = scratch.rows_mut().into_iter();
        let mut terms: Vec<Term<'_>> = Vec::with_capacity(digits.len());
        for j in digits {
            let room = rooms.next();
            terms.push(match (self.ready(cx, row, j), room) {
                (None, Some(room)) => Term::Converted {
                    source: cx
                        .tables()
                        .digit(cx.params, j, self.level)
                        .source(index, &sources[j]),
                    room,
                },
                (ready, _) => Term::Ready(ready.unwrap_or_default()),
            });
        }
        cx.params
            .ntt(index)
            .inner_product2(cx.path(), outs, &mut terms, keys, add);
    }
}

/// Row i of an operand as scaled coefficients of its digit.
fn scale_row(cx: Context<'_>, level: usize, i: usize, row: &[u64], out: &mut [u64]) {
    let alpha = cx.params.alpha();
    let source = &cx.tables().digit(cx.params, i / alpha, level).sources[i % alpha];
    cx.params
        .ntt(i)
        .inverse_scaled_to(cx.path(), out, row, &source.scale);
}

/// Conversion of scaled source rows to the prime `index`, NTT order, words below 2^52. `soon`: rows that are used next.
pub(super) fn extend_row(
    cx: Context<'_>,
    conversion: &BaseConversion,
    sources: &[&[u64]],
    index: usize,
    out: &mut [u64],
    soon: &[&[u64]],
) {
    let source = conversion.source(index, sources);
    cx.params
        .ntt(index)
        .forward_converted(cx.path(), out, &source, soon);
}
