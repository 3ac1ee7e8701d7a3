//! Rotations of the slots and complex conjugation.
use super::Evaluator;
use crate::chain;
use crate::cipher::Ciphertext;
use crate::error::Result;
use crate::keys::SwitchingKey;
use crate::keyswitch::{
    self, Context, Decomposition, Pair, multiply_by_key, new_pair, pair_rows, scale_source,
};
use std::sync::Arc;
use tacit_ring::{Automorphism, Eval, Poly, kernel};

/// Memory that the unfinished pairs of one batch of hoisted rotations may take.
const HOISTED_BATCH_BYTES: usize = 256 << 20;

/// A key and the permutation that belongs to it.
pub(super) struct Step<'a> {
    pub(super) key: &'a SwitchingKey,
    pub(super) automorphism: Arc<Automorphism>,
}

impl Evaluator {
    /// Slot i of the result is slot i + k of `a` (cyclic, any sign). A copy when k ≡ 0.
    ///
    /// # Errors
    /// [`crate::CkksError::MissingGaloisKey`], [`crate::CkksError::KeyLevelTooLow`],
    /// [`crate::CkksError::DegreeMismatch`] unless the degree is 1, [`crate::CkksError::ParametersMismatch`].
    pub fn rotate(&self, a: &Ciphertext, k: i64) -> Result<Ciphertext> {
        self.check_degree("rotate", a, 1)?;
        Ok(match self.rotation_step(k, a.level)? {
            Some(step) => self.apply(a, &step),
            None => Ciphertext {
                seed: None,
                ..a.clone()
            },
        })
    }

    /// Every slot's complex conjugate.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn conjugate(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.check_degree("conjugate", a, 1)?;
        let step = self.step(self.params.conjugation_element(), None, a.level)?;
        Ok(self.apply(a, &step))
    }

    /// The rotations of one ciphertext by each of `ks`, in their order. The decomposition is shared (hoisting: Halevi,
    /// Shoup, ia.cr/2018/244, section 4.2); each row of it is made once and used for all keys while it is in cache.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_hoisted(&self, a: &Ciphertext, ks: &[i64]) -> Result<Vec<Ciphertext>> {
        self.check_degree("rotate_hoisted", a, 1)?;
        let steps = ks.iter().map(|&k| self.rotation_step(k, a.level));
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let moving: Vec<&Step<'_>> = steps.iter().flatten().collect();
        let pair_bytes = 2 * 8 * self.params.n() * (a.level + 1 + self.params.alpha());
        let batch = (HOISTED_BATCH_BYTES / pair_bytes).max(1);
        let mut rotated = Vec::with_capacity(moving.len());
        self.workers.enter(|| {
            if moving.is_empty() {
                return;
            }
            let decomposition = Decomposition::new(self.context(), &a.parts[1], a.level);
            for batch in moving.chunks(batch) {
                rotated.extend(self.rotate_batch(a, &decomposition, batch));
            }
        });
        let mut rotated = rotated.into_iter();
        let copy = || Ciphertext {
            seed: None,
            ..a.clone()
        };
        Ok(steps
            .iter()
            .map(|step| {
                step.as_ref()
                    .and_then(|_| rotated.next())
                    .unwrap_or_else(copy)
            })
            .collect())
    }

    /// Folds: for each k of `steps` in turn, adds the rotation by k of the sum so far. With steps 1, 2, 4, …, 2^(m-1)
    /// every slot becomes the sum of the 2^m slots from its own on.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_sum(&self, a: &Ciphertext, steps: &[i64]) -> Result<Ciphertext> {
        self.check_degree("rotate_sum", a, 1)?;
        let mut sum = Ciphertext {
            seed: None,
            ..a.clone()
        };
        for &k in steps {
            let rotated = self.rotate(&sum, k)?;
            sum = self.add(&sum, &rotated)?;
        }
        Ok(sum)
    }

    /// Key and permutation of the rotation by `k`; `None` when it moves nothing.
    pub(super) fn rotation_step(&self, k: i64, level: usize) -> Result<Option<Step<'_>>> {
        match self.params.galois_element(k) {
            1 => Ok(None),
            g => self.step(g, Some(k), level).map(Some),
        }
    }

    fn step(&self, g: u64, rotation: Option<i64>, level: usize) -> Result<Step<'_>> {
        let key = self.galois_key(g, rotation, level)?;
        Ok(Step {
            key,
            automorphism: self.params.automorphism(g)?,
        })
    }

    fn apply(&self, a: &Ciphertext, step: &Step<'_>) -> Ciphertext {
        self.workers.enter(|| {
            let (cx, division) = (self.context(), self.context().tables().mod_down());
            let mut pair = multiply_by_key(cx, &a.parts[1], a.level, step.key, None, division);
            self.finish_rotation(cx, a, &mut pair, &step.automorphism)
        })
    }

    fn rotate_batch(
        &self,
        a: &Ciphertext,
        decomposition: &Decomposition<'_>,
        steps: &[&Step<'_>],
    ) -> Vec<Ciphertext> {
        let cx = self.context();
        let mut pairs: Vec<Pair> = steps.iter().map(|_| new_pair(cx, a.level)).collect();
        let mut by_row: Vec<Vec<[&mut [u64]; 2]>> = Vec::new();
        for pair in &mut pairs {
            for (row, slot) in pair_rows(pair).into_iter().enumerate() {
                match by_row.get_mut(row) {
                    Some(slots) => slots.push(slot),
                    None => by_row.push(vec![slot]),
                }
            }
        }
        decomposition.for_each_row(cx, by_row, |row, digits, outputs| {
            let index = chain::index_of_row(&self.params, a.level, row);
            let m = self.params.modulus(index);
            for (step, [out0, out1]) in steps.iter().zip(outputs) {
                let (b, a) = step.key.rows(a.level, row, digits.len());
                kernel::inner_product2(cx.path(), out0, out1, digits, &b, &a, m);
                scale_source(cx, cx.tables().mod_down(), index, out0);
                scale_source(cx, cx.tables().mod_down(), index, out1);
            }
        });
        let finished = pairs.iter_mut().zip(steps);
        finished
            .map(|(pair, step)| self.finish_rotation(cx, a, pair, &step.automorphism))
            .collect()
    }

    /// (φ(c0 + u0), φ(u1)) with u = pair/P.
    fn finish_rotation(
        &self,
        cx: Context<'_>,
        a: &Ciphertext,
        pair: &mut Pair,
        automorphism: &Automorphism,
    ) -> Ciphertext {
        let mut parts = [0, 1].map(|_| Poly::<Eval>::uninit_pooled(self.params.n(), a.level + 1));
        let outputs = parts.iter_mut().map(Poly::rows_mut).collect();
        keyswitch::mod_down(
            cx,
            cx.tables().mod_down(),
            pair,
            outputs,
            |mut quotient, out| {
                quotient.write_in_place(cx);
                if quotient.part == 0 {
                    kernel::add_assign(
                        cx.path(),
                        quotient.x,
                        a.parts[0].row(quotient.row),
                        quotient.m,
                    );
                }
                automorphism.apply_eval(cx.path(), out, quotient.x);
            },
        );
        self.pair(parts, a.level, a.scale)
    }
}
