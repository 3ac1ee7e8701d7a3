//! Products, relinearisation and rescaling.
use super::Evaluator;
use crate::cipher::Ciphertext;
use crate::error::{CkksError, Result};
use crate::keyswitch::{self, Decomposition, Ending, Switch, pair_rows};
use tacit_ring::{Eval, Poly, kernel};

impl Evaluator {
    /// a·b of degree 2; the scales multiply.
    ///
    /// # Errors
    /// [`CkksError::DegreeMismatch`] unless both have degree 1, [`CkksError::LevelMismatch`],
    /// [`CkksError::ScaleOverflow`], [`CkksError::ParametersMismatch`].
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        let scale = self.check_factors("mul", a, b)?;
        Ok(self.tensor(a, b, scale))
    }

    /// a² of degree 2; the scale is squared.
    ///
    /// # Errors
    /// As [`Self::mul`].
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext> {
        let scale = self.check_factors("square", a, a)?;
        Ok(self.tensor(a, a, scale))
    }

    /// The same message with degree 1.
    ///
    /// # Errors
    /// [`CkksError::DegreeMismatch`] unless the degree is 2, [`CkksError::MissingRelinearizationKey`],
    /// [`CkksError::KeyLevelTooLow`], [`CkksError::ParametersMismatch`].
    pub fn relinearize(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.check_degree("relinearize", a, 2)?;
        let key = self.relinearization_key(a.level)?;
        let mut parts = self.new_pair(a.level);
        let cx = self.context();
        let (digits, division) = (
            &Decomposition::new(cx, &a.parts[2], a.level),
            cx.tables().mod_down(),
        );
        let switch = Switch {
            digits,
            key,
            division,
            start: None,
        };
        let ending = Ending {
            added: [0, 1].map(|part| a.parts.get(part)),
            ..Ending::default()
        };
        switch.divide(cx, pair_rows(&mut parts), ending);
        Ok(self.pair(parts, a.level, a.scale))
    }

    /// a·b, relinearised and rescaled, with one division for mod-down and rescale together; one level is used and the
    /// scale is the product over q_level.
    ///
    /// # Errors
    /// As [`Self::mul`], [`Self::relinearize`] and [`Self::rescale`].
    pub fn mul_relin_rescale(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        let scale = self.check_factors("mul_relin_rescale", a, b)?;
        self.relin_rescale("mul_relin_rescale", a, b, scale)
    }

    /// a², relinearised and rescaled: [`Self::mul_relin_rescale`] with one product less.
    ///
    /// # Errors
    /// As [`Self::mul_relin_rescale`].
    pub fn square_relin_rescale(&self, a: &Ciphertext) -> Result<Ciphertext> {
        let scale = self.check_factors("square_relin_rescale", a, a)?;
        self.relin_rescale("square_relin_rescale", a, a, scale)
    }

    /// Divides message and modulus by q_level, rounded; one level is used and the scale is divided by q_level.
    ///
    /// # Errors
    /// [`CkksError::LevelUnderflow`] at level 0, [`CkksError::ParametersMismatch`].
    pub fn rescale(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.check(a)?;
        let scale = self.rescaled("rescale", a.level, a.scale)?;
        let parts = keyswitch::rescale(self.context(), &a.parts, a.level);
        Ok(Ciphertext {
            parts,
            level: a.level - 1,
            scale,
            ..self.header(a)
        })
    }

    /// The scale after a rescale at `level`.
    pub(super) fn rescaled(&self, op: &'static str, level: usize, scale: f64) -> Result<f64> {
        if level == 0 {
            return Err(CkksError::LevelUnderflow {
                op,
                needed: 1,
                level,
            });
        }
        Ok(scale / self.params.q()[level].q() as f64)
    }

    fn check_factors(&self, op: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<f64> {
        self.check_levels(op, a, b)?;
        self.check_degree(op, a, 1)?;
        self.check_degree(op, b, 1)?;
        self.check_product(op, a.level, a.scale, b.scale)
    }

    fn relin_rescale(
        &self,
        op: &'static str,
        a: &Ciphertext,
        b: &Ciphertext,
        scale: f64,
    ) -> Result<Ciphertext> {
        let level = a.level;
        let scale = self.rescaled(op, level, scale)?;
        let key = self.relinearization_key(level)?;
        let mut parts = self.new_pair(level - 1);
        let cx = self.context();
        let division = cx.tables().mod_down_rescale(level);
        let digits = &Decomposition::of_written(cx, level, |row, out| {
            let (a1, b1) = (a.parts[1].row(row), b.parts[1].row(row));
            kernel::mul(cx.path(), out, a1, b1, &self.params.q()[row]);
        });
        let start = |row: usize, part: usize, u: &mut [u64]| {
            let (m, p) = (&self.params.q()[row], cx.tables().special_product(row));
            self.lower_product(a, b, row, part, u);
            kernel::mul_scalar_assign(cx.path(), u, p, m);
        };
        let switch = Switch {
            digits,
            key,
            division,
            start: Some(&start),
        };
        switch.divide(cx, pair_rows(&mut parts), Ending::default());
        Ok(self.pair(parts, level - 1, scale))
    }

    /// Row `row` of part 0 or 1 of the product: a0·b0 or a0·b1 + a1·b0.
    fn lower_product(
        &self,
        a: &Ciphertext,
        b: &Ciphertext,
        row: usize,
        part: usize,
        out: &mut [u64],
    ) {
        let (path, m) = (self.params.path(), &self.params.q()[row]);
        let (a0, a1) = (a.parts[0].row(row), a.parts[1].row(row));
        let (b0, b1) = (b.parts[0].row(row), b.parts[1].row(row));
        match part {
            0 => kernel::mul(path, out, a0, b0, m),
            _ => kernel::inner_product(path, out, &[a0, a1], &[b1, b0], m),
        }
    }

    fn tensor(&self, a: &Ciphertext, b: &Ciphertext, scale: f64) -> Ciphertext {
        let (n, level) = (self.params.n(), a.level);
        let [mut d0, mut d1, mut d2] = [0, 1, 2].map(|_| Poly::<Eval>::uninit_pooled(n, level + 1));
        let rows = d0
            .rows_mut()
            .into_iter()
            .zip(d1.rows_mut())
            .zip(d2.rows_mut())
            .enumerate();
        let items = rows
            .map(|(row, ((d0, d1), d2))| (row, [d0, d1, d2]))
            .collect();
        self.workers.for_each(
            items,
            4 * n,
            |(row, [d0, d1, d2]): (usize, [&mut [u64]; 3])| {
                self.lower_product(a, b, row, 0, d0);
                self.lower_product(a, b, row, 1, d1);
                let (a1, b1) = (a.parts[1].row(row), b.parts[1].row(row));
                kernel::mul(self.params.path(), d2, a1, b1, &self.params.q()[row]);
            },
        );
        Ciphertext {
            parts: vec![d0, d1, d2],
            scale,
            ..self.header(a)
        }
    }
}
