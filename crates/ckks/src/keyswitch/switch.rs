//! The inner product of a decomposed operand with a key, divided at once: steps 2 and 3.
use super::digits::{self, Decomposition};
use super::moddown::Ending;
use super::shelf::Shelf;
use super::tables::{BaseConversion, Source};
use super::{Context, Pair, pair_rows};
use crate::chain;
use crate::keys::SwitchingKey;
use tacit_ring::{Eval, Poly, kernel};

/// Writes what an inner product is added to: (row, part, out).
type Start<'a> = &'a (dyn Fn(usize, usize, &mut [u64]) + Sync);

/// A decomposed operand, the key for it, and what the result is divided by.
pub(crate) struct Switch<'a> {
    pub(crate) digits: &'a Decomposition<'a>,
    pub(crate) key: &'a SwitchingKey,
    /// From P, or from q_level·P.
    pub(crate) division: &'a BaseConversion,
    /// Added before the division, on rows of q; the callee multiplies by P.
    pub(crate) start: Option<Start<'a>>,
}

/// What a thread takes at a time, in this order.
///
/// With one thread every row of the result is one `Whole`. With several, the last rows are cut into their digits, made while
/// the rows of `Divided` are still on the way, and their two parts, so that all threads end together.
enum Task<'r, 'o> {
    /// Both parts of the sum modulo a prime that is divided by, to scaled coefficients.
    Divided(usize, &'r Source, [&'r mut [u64]; 2]),
    /// Digit j modulo the prime of a row, for a place on the shelf.
    Digit(usize, usize, usize, &'r mut [u64]),
    /// A row of the result.
    Whole(usize, [&'o mut [u64]; 2]),
    /// One part of it, from digits on the shelf: row, part, place of its first digit.
    Part(usize, usize, usize, &'o mut [u64]),
}

/// What one thread needs for a row.
struct Scratch {
    digits: Poly<Eval>,
    /// Both parts of the sum, and the converted row.
    rows: Poly<Eval>,
}

impl Switch<'_> {
    /// Steps 2 and 3 for the primes q_0, q_1, … of `outputs`, both parts of each.
    pub(crate) fn divide(
        &self,
        cx: Context<'_>,
        outputs: Vec<[&mut [u64]; 2]>,
        ending: Ending<'_>,
    ) {
        let (n, dnum) = (cx.params.n(), self.digits.dnum(cx));
        let cut = self.rows_to_cut(cx, outputs.len());
        let mut divided: Pair = [0, 1].map(|_| Poly::uninit_pooled(n, self.division.sources.len()));
        let mut spread = Poly::<Eval>::uninit_pooled(n, self.digits.extended(cx) * cut);
        let whole = outputs.len() - cut;
        let mut spread_rows = spread.rows_mut().into_iter();
        let (mut tasks, mut last) = (Vec::new(), Vec::new());
        let sources = self.division.sources.iter().zip(pair_rows(&mut divided));
        tasks.extend(
            sources
                .enumerate()
                .map(|(i, (source, rows))| Task::Divided(i, source, rows)),
        );
        for (row, output) in outputs.into_iter().enumerate() {
            if row < whole {
                last.push(Task::Whole(row, output));
                continue;
            }
            let place = (row - whole) * dnum;
            for j in (0..dnum).filter(|_| self.digits.extended(cx) > 0) {
                let Some(room) = spread_rows.next() else {
                    break;
                };
                tasks.push(Task::Digit(row, j, place + j, room));
            }
            for (part, out) in output.into_iter().enumerate() {
                last.push(Task::Part(row, part, place, out));
            }
        }
        tasks.append(&mut last);
        // Both parts of the first prime that is divided by, then of the second, …; the digits of the rows that are cut.
        let (quotients, shelf) = (
            Shelf::new(2 * self.division.sources.len()),
            Shelf::new(dnum * cut),
        );
        let scratch = || Scratch {
            digits: self.digits.scratch(cx),
            rows: Poly::uninit_pooled(n, 3),
        };
        cx.workers
            .for_each_with(tasks, self.digits.words(cx), scratch, |scratch, task| {
                let _watches = (quotients.watch(), shelf.watch());
                let mut rows = scratch.rows.rows_mut();
                let [u0, u1, converted] = &mut rows[..] else {
                    return;
                };
                let mut end = |row: usize, part: usize, x: &mut [u64], out: &mut [u64]| {
                    // None only when another task has panicked, and then nobody will see the result.
                    let Some(divided) = quotients.wait_all(0..2 * self.division.sources.len())
                    else {
                        return;
                    };
                    let sources: Vec<&[u64]> = divided.into_iter().skip(part).step_by(2).collect();
                    // The row that is written is fetched as well: not all of it is written in one go.
                    let soon: Vec<&[u64]> = ending.reads(part, row).chain([&*out]).collect();
                    digits::extend_row(cx, self.division, &sources, row, converted, &soon);
                    let inverse = &self.division.target(row).inverse;
                    ending.write(cx, [part, row], x, converted, inverse, out);
                };
                match task {
                    Task::Divided(i, source, [out0, out1]) => {
                        let row = chain::row_of_index(cx.params, self.digits.level(), source.index);
                        self.sum_row(cx, row, &mut scratch.digits, out0, out1);
                        for (part, out) in [out0, out1].into_iter().enumerate() {
                            source.scale_row(cx, out);
                            quotients.put(2 * i + part, out);
                        }
                    }
                    Task::Digit(row, j, place, room) => {
                        self.digits.extend_digit(cx, row, j, room);
                        shelf.put(place, room);
                    }
                    Task::Whole(row, [out0, out1]) => {
                        self.sum_row(cx, row, &mut scratch.digits, u0, u1);
                        end(row, 0, u0, out0);
                        end(row, 1, u1, out1);
                    }
                    Task::Part(row, part, place, out) => {
                        let Some(extended) = (match self.digits.extended(cx) {
                            0 => Some(Vec::new()),
                            _ => shelf.wait_all(place..place + dnum),
                        }) else {
                            return;
                        };
                        let digits = self.digits.row(cx, row, &extended);
                        self.sum_part(cx, row, part, &digits, u0);
                        end(row, part, u0, out);
                    }
                }
            });
    }

    /// How many rows of the result are cut into smaller tasks.
    fn rows_to_cut(&self, cx: Context<'_>, outputs: usize) -> usize {
        match cx.workers.threads() {
            1 => 0,
            threads => {
                let tasks = outputs + self.division.sources.len();
                (tasks % threads + threads).min(outputs)
            }
        }
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
        let (b, a) = self.key.rows(level, row, self.digits.dnum(cx));
        let start = self.start.filter(|_| row <= level);
        if let Some(start) = start {
            start(row, 0, u0);
            start(row, 1, u1);
        }
        let keys = [&b[..], &a[..]];
        self.digits
            .inner_product2(cx, row, scratch, [u0, u1], keys, start.is_some());
    }

    /// One part of [`Self::sum_row`] for a row of q, from its digits.
    fn sum_part(&self, cx: Context<'_>, row: usize, part: usize, digits: &[&[u64]], u: &mut [u64]) {
        let m = cx.params.modulus(row);
        let (b, a) = self.key.rows(self.digits.level(), row, digits.len());
        let key = if part == 0 { b } else { a };
        match self.start {
            Some(start) => {
                start(row, part, u);
                kernel::inner_product_add(cx.path(), u, digits, &key, m);
            }
            None => kernel::inner_product(cx.path(), u, digits, &key, m),
        }
    }
}
