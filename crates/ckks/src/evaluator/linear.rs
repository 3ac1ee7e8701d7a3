//! Linear maps with double hoisting (Bossuat et al., ia.cr/2020/1203, algorithm 6).
//!
//! Baby-step rotations stay over Q_l·P; they are multiplied by diagonals encoded over Q_l·P and summed without
//! reduction in between. Of each giant step only the second part is brought down to Q_l, to be decomposed again; all
//! sums meet over Q_l·P, and one division by P (or by P·q_l, which is also the rescale) ends the map.
use super::Evaluator;
use super::rotation::Step;
use crate::chain;
use crate::cipher::{Ciphertext, ParametersTag};
use crate::error::{CkksError, Result};
use crate::keyswitch::{
    Context, Decomposition, Pair, mod_down_to, new_pair, pair_rows, rescale, scale_source,
};
use crate::linear::{Giant, LinearMap};
use crate::workers::Workers;
use tacit_ring::{Eval, Poly, kernel};

/// A baby step j; `None` for the one that moves nothing.
type Baby<'a> = (i64, Option<Step<'a>>);

/// Σ_j diagonal_j ⊙ rot(x, j) of one giant step: over Q_l·P and times P when a baby step is a rotation, else over Q_l.
struct InnerSum {
    pair: Pair,
    times_p: bool,
}

impl Evaluator {
    /// The map applied to the slots of `a`; scales multiply, and with `rescaled` the result is divided by q_level
    /// in the same step as by P.
    ///
    /// # Errors
    /// [`CkksError::MissingGaloisKey`] and [`CkksError::KeyLevelTooLow`] for [`LinearMap::rotations`],
    /// [`CkksError::LevelMismatch`] when the map was encoded for a lower level, [`CkksError::LevelUnderflow`],
    /// [`CkksError::ScaleOverflow`], [`CkksError::DegreeMismatch`] unless the degree is 1,
    /// [`CkksError::ParametersMismatch`].
    pub fn linear(&self, a: &Ciphertext, map: &LinearMap, rescaled: bool) -> Result<Ciphertext> {
        self.check_degree("linear", a, 1)?;
        map.tag.check(&self.params, "the linear map")?;
        if map.level < a.level {
            return Err(CkksError::LevelMismatch {
                op: "linear",
                left: a.level,
                right: map.level,
            });
        }
        let product = self.check_product("linear", a.level, a.scale, map.scale)?;
        let scale = if rescaled {
            self.rescaled("linear", a.level, product)?
        } else {
            product
        };
        let babies = map
            .baby_steps()
            .into_iter()
            .map(|j| Ok((j, self.rotation_step(j, a.level)?)));
        let babies = babies.collect::<Result<Vec<Baby<'_>>>>()?;
        let giants = map
            .giants
            .iter()
            .map(|giant| self.rotation_step(giant.rotation, a.level));
        let giants = giants.collect::<Result<Vec<_>>>()?;
        let sums = self.inner_sums(a, map, &babies);
        let parts = self.outer_sum(a.level, sums, &giants, rescaled);
        let level = if rescaled { a.level - 1 } else { a.level };
        Ok(Ciphertext {
            parts,
            level,
            scale,
            seed: None,
            tag: ParametersTag::of(&self.params),
        })
    }

    fn inner_sums(&self, a: &Ciphertext, map: &LinearMap, babies: &[Baby<'_>]) -> Vec<InnerSum> {
        let (cx, n, level) = (self.context(), self.params.n(), a.level);
        let times_p = babies.iter().any(|(_, step)| step.is_some());
        let mut pairs: Vec<Pair> = map
            .giants
            .iter()
            .map(|_| match times_p {
                true => new_pair(cx, level),
                false => [0, 1].map(|_| Poly::uninit_pooled(n, level + 1)),
            })
            .collect();
        let outputs = transpose(pairs.iter_mut().map(pair_rows));
        if !times_p {
            let items = outputs.into_iter().enumerate().collect();
            cx.workers.for_each(
                items,
                4 * n,
                |(row, outputs): (usize, Vec<[&mut [u64]; 2]>)| {
                    let m = &self.params.q()[row];
                    for (giant, out) in map.giants.iter().zip(outputs) {
                        for (out, part) in out.into_iter().zip(&a.parts) {
                            // Without baby rotations every giant step has the one diagonal j = 0.
                            let diagonal = giant.diagonals[0].1.row(row);
                            kernel::mul(cx.path(), out, part.row(row), diagonal, m);
                        }
                    }
                },
            );
            return pairs
                .into_iter()
                .map(|pair| InnerSum { pair, times_p })
                .collect();
        }
        let decomposition = Decomposition::new(cx, &a.parts[1], level);
        let scratch = || RotatedRows::scratch(cx, babies);
        decomposition.for_each_row(cx, outputs, scratch, |rotated, row, digits, outputs| {
            rotated.write(cx, a, row, digits);
            let index = chain::index_of_row(&self.params, level, row);
            for (giant, [out0, out1]) in map.giants.iter().zip(outputs) {
                rotated.inner_sum(cx, map, giant, index, [out0, out1]);
                if giant.rotation != 0 {
                    scale_source(cx, cx.tables().mod_down(), index, out1);
                }
            }
        });
        pairs
            .into_iter()
            .map(|pair| InnerSum { pair, times_p })
            .collect()
    }

    /// Σ rot(sum, giant) over Q_l·P, then the division.
    fn outer_sum(
        &self,
        level: usize,
        sums: Vec<InnerSum>,
        giants: &[Option<Step<'_>>],
        rescaled: bool,
    ) -> Vec<Poly<Eval>> {
        let cx = self.context();
        let (mut total, mut moving) = (None, Vec::new());
        for (sum, step) in sums.into_iter().zip(giants) {
            match step {
                Some(step) => moving.push((sum, step)),
                None => total = Some(sum),
            }
        }
        // Only a product with a diagonal: nothing was multiplied by P.
        if moving.is_empty()
            && let Some(InnerSum {
                pair,
                times_p: false,
            }) = total
        {
            return if rescaled {
                rescale(cx, &pair, level)
            } else {
                pair.into()
            };
        }
        let mut total = match total {
            Some(InnerSum {
                pair,
                times_p: true,
            }) => pair,
            Some(InnerSum {
                pair,
                times_p: false,
            }) => self.times_p(&pair, level),
            None => [0, 1].map(|_| Poly::zeroed(self.params.n(), level + 1 + self.params.alpha())),
        };
        self.add_all_rotated(level, &moving, &mut total);
        let division = if rescaled {
            cx.tables().mod_down_rescale(level)
        } else {
            cx.tables().mod_down()
        };
        let rows = pair_rows(&mut total)
            .into_iter()
            .enumerate()
            .flat_map(|(row, pair)| pair.map(|x| (row, x)));
        let sources = rows
            .skip(2 * if rescaled { level } else { level + 1 })
            .collect();
        cx.workers.for_each(
            sources,
            4 * self.params.n(),
            |(row, x): (usize, &mut [u64])| {
                scale_source(
                    cx,
                    division,
                    chain::index_of_row(&self.params, level, row),
                    x,
                );
            },
        );
        mod_down_to(
            cx,
            division,
            &total,
            if rescaled { level } else { level + 1 },
        )
    }

    /// total += Σ rot(sum, step), over Q_l·P. One giant step for each thread, which then has nothing to share, as long as
    /// there is one for all of them; each thread adds to a total of its own. What the caller made stays its own, so that
    /// buffers return to the pool of the thread that took them.
    fn add_all_rotated(&self, level: usize, moving: &[(InnerSum, &Step<'_>)], total: &mut Pair) {
        let (cx, threads) = (self.context(), self.workers.threads());
        let (even, rest) = moving.split_at(moving.len() - moving.len() % threads);
        if threads > 1 && !even.is_empty() {
            let one = Context {
                workers: &Workers::default(),
                ..cx
            };
            let rows = level + 1 + self.params.alpha();
            let mut totals: Vec<Pair> = (1..threads)
                .map(|_| [0, 1].map(|_| Poly::zeroed(self.params.n(), rows)))
                .collect();
            let mut lists: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
            for (i, step) in even.iter().enumerate() {
                lists[i % threads].push(step);
            }
            let own = core::iter::once(&mut *total).chain(&mut totals);
            let words = self.params.n() * rows;
            cx.workers.for_each(
                lists.into_iter().zip(own).collect(),
                words,
                |(list, total)| {
                    for (sum, step) in list {
                        self.add_rotated(one, level, sum, step, total);
                    }
                },
            );
            for part in &totals {
                self.add_pair(level, total, part);
            }
        } else {
            for (sum, step) in even {
                self.add_rotated(cx, level, sum, step, total);
            }
        }
        for (sum, step) in rest {
            self.add_rotated(cx, level, sum, step, total);
        }
    }

    /// total += pair, over Q_l·P.
    fn add_pair(&self, level: usize, total: &mut Pair, pair: &Pair) {
        let cx = self.context();
        let items = pair_rows(total).into_iter().enumerate().collect();
        let add = |(row, sums): (usize, [&mut [u64]; 2])| {
            let m = cx
                .params
                .modulus(chain::index_of_row(&self.params, level, row));
            for (sum, part) in sums.into_iter().zip(pair) {
                kernel::add_assign(cx.path(), sum, part.row(row), m);
            }
        };
        cx.workers.for_each(items, 2 * self.params.n(), add);
    }

    /// total += rot(sum, step), over Q_l·P.
    fn add_rotated(
        &self,
        cx: Context<'_>,
        level: usize,
        sum: &InnerSum,
        step: &Step<'_>,
        total: &mut Pair,
    ) {
        let n = self.params.n();
        let InnerSum {
            pair: [first, second],
            times_p,
        } = sum;
        let divided;
        let operand = if *times_p {
            let dividends = core::slice::from_ref(second);
            divided = mod_down_to(cx, cx.tables().mod_down(), dividends, level + 1);
            // One dividend gives one quotient.
            &divided[0]
        } else {
            second
        };
        let decomposition = Decomposition::new(cx, operand, level);
        let scratch = || Poly::<Eval>::uninit_pooled(n, 2);
        decomposition.for_each_row(
            cx,
            pair_rows(total),
            scratch,
            |scratch, row, digits, [out0, out1]| {
                let index = chain::index_of_row(&self.params, level, row);
                let (m, path) = (self.params.modulus(index), cx.path());
                let mut rows = scratch.rows_mut();
                let [u0, u1] = &mut rows[..] else { return };
                let (b, a) = step.key.rows(level, row, digits.len());
                kernel::inner_product2(path, u0, u1, digits, &b, &a, m);
                if *times_p {
                    kernel::add_assign(path, u0, first.row(row), m);
                } else if row <= level {
                    kernel::mul_scalar_add_assign(
                        path,
                        u0,
                        first.row(row),
                        cx.tables().special_product(row),
                        m,
                    );
                }
                step.automorphism.apply_eval_add(path, out0, u0, m);
                step.automorphism.apply_eval_add(path, out1, u1, m);
            },
        );
    }

    /// P·pair over Q_l·P.
    fn times_p(&self, pair: &Pair, level: usize) -> Pair {
        let cx = self.context();
        [0, 1].map(|part| {
            let mut out = Poly::<Eval>::zeroed(self.params.n(), level + 1 + self.params.alpha());
            for (row, m) in self.params.q()[..=level].iter().enumerate() {
                let p = cx.tables().special_product(row);
                kernel::mul_scalar(cx.path(), out.row_mut(row), pair[part].row(row), p, m);
            }
            out
        })
    }
}

/// One row of P·rot(x, j) for each baby step.
struct RotatedRows<'a> {
    babies: &'a [Baby<'a>],
    /// Rows 2i and 2i + 1 are the parts of step i.
    rows: Poly<Eval>,
    /// Both parts before the permutation.
    sums: Poly<Eval>,
}

impl<'a> RotatedRows<'a> {
    /// Room for rows to come.
    fn scratch(cx: Context<'_>, babies: &'a [Baby<'a>]) -> Self {
        let fresh = |rows| Poly::uninit_pooled(cx.params.n(), rows);
        Self {
            babies,
            rows: fresh(2 * babies.len()),
            sums: fresh(2),
        }
    }

    /// Row `row` of Q_level·P. Rows of P of the step that moves nothing are zero.
    fn write(&mut self, cx: Context<'_>, a: &Ciphertext, row: usize, digits: &[&[u64]]) {
        let (path, level) = (cx.path(), a.level);
        let m = cx
            .params
            .modulus(chain::index_of_row(cx.params, level, row));
        let (mut sums, mut outputs) = (self.sums.rows_mut(), self.rows.rows_mut());
        let [u0, u1] = &mut sums[..] else { return };
        for ((_, step), out) in self.babies.iter().zip(outputs.chunks_exact_mut(2)) {
            let [out0, out1] = out else { return };
            match step {
                Some(step) => {
                    let (key_b, key_a) = step.key.rows(level, row, digits.len());
                    kernel::inner_product2(path, u0, u1, digits, &key_b, &key_a, m);
                    if row <= level {
                        let p = cx.tables().special_product(row);
                        kernel::mul_scalar_add_assign(path, u0, a.parts[0].row(row), p, m);
                    }
                    step.automorphism.apply_eval(path, out0, u0);
                    step.automorphism.apply_eval(path, out1, u1);
                }
                None if row <= level => {
                    let p = cx.tables().special_product(row);
                    kernel::mul_scalar(path, out0, a.parts[0].row(row), p, m);
                    kernel::mul_scalar(path, out1, a.parts[1].row(row), p, m);
                }
                None => {
                    out0.fill(0);
                    out1.fill(0);
                }
            }
        }
    }

    /// The row of Σ_j diagonal_j ⊙ rot(x, j) for one giant step, modulo the prime `index`.
    fn inner_sum(
        &self,
        cx: Context<'_>,
        map: &LinearMap,
        giant: &Giant,
        index: usize,
        [out0, out1]: [&mut [u64]; 2],
    ) {
        let m = cx.params.modulus(index);
        let diagonal_row = if index <= map.level {
            index
        } else {
            index - cx.params.max_level() + map.level
        };
        let (mut diagonals, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        for (j, diagonal) in &giant.diagonals {
            // Every j of the map is in its list of baby steps.
            let Ok(position) = self.babies.binary_search_by_key(j, |baby| baby.0) else {
                continue;
            };
            diagonals.push(diagonal.row(diagonal_row));
            first.push(self.rows.row(2 * position));
            second.push(self.rows.row(2 * position + 1));
        }
        kernel::inner_product2(cx.path(), out0, out1, &diagonals, &first, &second, m);
    }
}

/// From a list of rows for each giant step to a list of giant steps for each row.
fn transpose<T>(lists: impl Iterator<Item = Vec<T>>) -> Vec<Vec<T>> {
    let mut by_row: Vec<Vec<T>> = Vec::new();
    for list in lists {
        by_row.resize_with(by_row.len().max(list.len()), Vec::new);
        for (row, item) in by_row.iter_mut().zip(list) {
            row.push(item);
        }
    }
    by_row
}
