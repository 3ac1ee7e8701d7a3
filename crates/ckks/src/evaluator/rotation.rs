//! Rotations of the slots and complex conjugation.
use super::Evaluator;
use crate::cipher::Ciphertext;
use crate::error::Result;
use crate::keys::SwitchingKey;
use crate::keyswitch::{Context, Decomposition, Ending, Pair, Switch, pair_rows};
use crate::workers::Workers;
use std::sync::Arc;
use tacit_ring::Automorphism;

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
            Some(step) => self.decompose_and_apply(a, &step, false),
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
        Ok(self.decompose_and_apply(a, &step, false))
    }

    /// The rotations of one ciphertext by each of `ks`, in their order. The decomposition is shared (hoisting: Halevi,
    /// Shoup, ia.cr/2018/244, section 4.2); it takes dnum·(level + 1 + K)·n words while the rotations are made.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_hoisted(&self, a: &Ciphertext, ks: &[i64]) -> Result<Vec<Ciphertext>> {
        self.check_degree("rotate_hoisted", a, 1)?;
        let steps = ks.iter().map(|&k| self.rotation_step(k, a.level));
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let copy = || Ciphertext {
            seed: None,
            ..a.clone()
        };
        if steps.iter().all(Option::is_none) {
            return Ok(steps.iter().map(|_| copy()).collect());
        }
        let cx = self.context();
        let digits = Decomposition::new(cx, &a.parts[1], a.level).store(cx);
        let moving: Vec<&Step<'_>> = steps.iter().flatten().collect();
        let mut pairs: Vec<Pair> = moving.iter().map(|_| self.new_pair(a.level)).collect();
        // One rotation for each thread, without a step to share, as long as there is one for all of them.
        let threads = self.workers.threads();
        let alone = moving.len() - moving.len() % threads;
        let items = moving.iter().zip(&mut pairs).take(alone).collect();
        let caller = Workers::default();
        let one = Context {
            workers: &caller,
            ..cx
        };
        cx.workers
            .for_each(items, cx.params.n() * a.level, |(step, pair)| {
                self.apply(one, a, &digits, step, false, pair);
            });
        for (step, pair) in moving.iter().zip(&mut pairs).skip(alone) {
            self.apply(cx, a, &digits, step, false, pair);
        }
        let mut pairs = pairs.into_iter();
        let result = |step: &Option<Step<'_>>| match step.as_ref().and_then(|_| pairs.next()) {
            Some(pair) => self.pair(pair, a.level, a.scale),
            None => copy(),
        };
        Ok(steps.iter().map(result).collect())
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
            sum = match self.rotation_step(k, a.level)? {
                Some(step) => self.decompose_and_apply(&sum, &step, true),
                None => self.add(&sum, &sum)?,
            };
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

    /// The rotation, with `folded` plus the operand itself.
    fn decompose_and_apply(&self, a: &Ciphertext, step: &Step<'_>, folded: bool) -> Ciphertext {
        let cx = self.context();
        let digits = Decomposition::new(cx, &a.parts[1], a.level);
        let mut parts = self.new_pair(a.level);
        self.apply(cx, a, &digits, step, folded, &mut parts);
        self.pair(parts, a.level, a.scale)
    }

    /// Writes (φ(c0 + u0), φ(u1)) with u = Σ digit_j·key_j / P; with `folded` plus (c0, c1).
    fn apply(
        &self,
        cx: Context<'_>,
        a: &Ciphertext,
        digits: &Decomposition<'_>,
        step: &Step<'_>,
        folded: bool,
        parts: &mut Pair,
    ) {
        let switch = Switch {
            digits,
            key: step.key,
            division: cx.tables().mod_down(),
            start: None,
        };
        let base = if folded {
            [0, 1].map(|part| a.parts.get(part))
        } else {
            [None; 2]
        };
        let ending = Ending {
            added: [a.parts.first(), None],
            automorphism: Some(&step.automorphism),
            base,
        };
        switch.divide(cx, pair_rows(parts), ending);
    }
}
