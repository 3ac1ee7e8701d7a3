//! The evaluator: computes on ciphertexts, holds no secret.
//!
//! Every operation returns a new ciphertext and leaves its operands alone. Levels and scales are checked, never
//! adjusted behind the caller's back: see the errors of each operation.
mod combination;
mod linear;
mod product;
mod rotation;

use crate::cipher::{Ciphertext, ParametersTag, Plaintext, check_equal_scales, check_scale};
use crate::encoding::encode_constant;
use crate::error::{CkksError, Result};
use crate::keys::{EvaluationKeys, SwitchingKey};
use crate::keyswitch::{Context, Pair};
use crate::params::Parameters;
use crate::workers::Workers;
use core::fmt;
use std::sync::Arc;
use tacit_ring::{CpuPath, Eval, Modulus, Poly, kernel};
use tacit_team::Team;

/// Arithmetic on ciphertexts of one parameter set.
#[derive(Clone)]
pub struct Evaluator {
    params: Parameters,
    keys: Option<Arc<EvaluationKeys>>,
    workers: Workers,
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("params", &self.params)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Evaluator {
    /// An evaluator; without `keys` it cannot relinearise or rotate, without `team` it works on the caller's thread.
    ///
    /// # Errors
    /// [`CkksError::ParametersMismatch`] when the keys were made for other parameters.
    pub fn new(
        params: &Parameters,
        keys: Option<Arc<EvaluationKeys>>,
        team: Option<Arc<Team>>,
    ) -> Result<Self> {
        if let Some(keys) = &keys {
            keys.tag.check(params, "the evaluation key set")?;
        }
        Ok(Self {
            params: params.clone(),
            keys,
            workers: Workers::new(team),
        })
    }

    /// The parameters.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// a + b. Degrees may differ.
    ///
    /// # Errors
    /// [`CkksError::LevelMismatch`], [`CkksError::ScaleMismatch`], [`CkksError::ParametersMismatch`].
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.check_pair("add", a, b)?;
        let (longer, shorter) = if a.degree() >= b.degree() {
            (a, b)
        } else {
            (b, a)
        };
        Ok(self.combine(longer, shorter, kernel::add, None))
    }

    /// a − b. Degrees may differ.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.check_pair("sub", a, b)?;
        if a.degree() >= b.degree() {
            return Ok(self.combine(a, b, kernel::sub, None));
        }
        let reversed: RowKernel = |path, out, b, a, m| kernel::sub(path, out, a, b, m);
        Ok(Ciphertext {
            scale: a.scale,
            ..self.combine(b, a, reversed, Some(kernel::neg))
        })
    }

    /// −a.
    ///
    /// # Errors
    /// [`CkksError::ParametersMismatch`].
    pub fn neg(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.check(a)?;
        Ok(self.map_parts(a, a.scale, |_, m, path, out, row| {
            kernel::neg(path, out, row, m)
        }))
    }

    /// a + plaintext; the plaintext may have more levels.
    ///
    /// # Errors
    /// [`CkksError::LevelMismatch`] when it has fewer, [`CkksError::ScaleMismatch`], [`CkksError::ParametersMismatch`].
    pub fn add_plain(&self, a: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext> {
        self.check_plain("add_plain", a, plaintext)?;
        check_equal_scales("add_plain", a.scale, plaintext.scale)?;
        Ok(self.map_first(a, |row, m, path, out| {
            kernel::add(path, out, a.parts[0].row(row), plaintext.poly.row(row), m)
        }))
    }

    /// a − plaintext; the plaintext may have more levels.
    ///
    /// # Errors
    /// As [`Self::add_plain`].
    pub fn sub_plain(&self, a: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext> {
        self.check_plain("sub_plain", a, plaintext)?;
        check_equal_scales("sub_plain", a.scale, plaintext.scale)?;
        Ok(self.map_first(a, |row, m, path, out| {
            kernel::sub(path, out, a.parts[0].row(row), plaintext.poly.row(row), m)
        }))
    }

    /// a·plaintext; the scales multiply, nothing is rescaled. The plaintext may have more levels.
    ///
    /// # Errors
    /// [`CkksError::LevelMismatch`], [`CkksError::ScaleOverflow`], [`CkksError::ParametersMismatch`].
    pub fn mul_plain(&self, a: &Ciphertext, plaintext: &Plaintext) -> Result<Ciphertext> {
        self.check_plain("mul_plain", a, plaintext)?;
        let scale = self.check_product("mul_plain", a.level, a.scale, plaintext.scale)?;
        Ok(self.map_parts(a, scale, |row, m, path, out, x| {
            kernel::mul(path, out, x, plaintext.poly.row(row), m)
        }))
    }

    /// a + the real `constant` in every slot.
    ///
    /// # Errors
    /// [`CkksError::NonFiniteValue`], [`CkksError::EncodingOverflow`], [`CkksError::ParametersMismatch`].
    pub fn add_const(&self, a: &Ciphertext, constant: f64) -> Result<Ciphertext> {
        self.add_complex_const(a, constant, 0.0)
    }

    /// a + the complex constant `re + im·i` in every slot.
    ///
    /// # Errors
    /// As [`Self::add_const`].
    pub fn add_complex_const(&self, a: &Ciphertext, re: f64, im: f64) -> Result<Ciphertext> {
        self.check(a)?;
        let real = encode_constant(&self.params, re, a.level, a.scale)?;
        let imaginary = encode_constant(&self.params, im, a.level, a.scale)?;
        Ok(self.map_first(a, |row, m, path, out| {
            // X^(N/2) is ψ^(N/2·(2·brv(i)+1)) at word i: i₀ = ψ^(N/2) in the first half of the row, −i₀ in the second.
            let root = m.pow(self.params.ntt_q(row).psi(), self.params.n() as u64 / 2);
            let turned = m.mul(imaginary[row], root);
            out.copy_from_slice(a.parts[0].row(row));
            let (upper, lower) = out.split_at_mut(self.params.n() / 2);
            kernel::add_scalar_assign(path, upper, m.add(real[row], turned), m);
            kernel::add_scalar_assign(path, lower, m.sub(real[row], turned), m);
        }))
    }

    /// a·`constant` in every slot, the constant encoded with `scale`; the scales multiply, nothing is rescaled.
    ///
    /// # Errors
    /// [`CkksError::NonFiniteValue`], [`CkksError::EncodingOverflow`], [`CkksError::ScaleOverflow`],
    /// [`CkksError::ParametersMismatch`].
    pub fn mul_const(&self, a: &Ciphertext, constant: f64, scale: f64) -> Result<Ciphertext> {
        self.check(a)?;
        check_scale("mul_const", scale)?;
        let product = self.check_product("mul_const", a.level, a.scale, scale)?;
        let residues = encode_constant(&self.params, constant, a.level, scale)?;
        Ok(self.map_parts(a, product, |row, m, path, out, x| {
            kernel::mul_scalar(path, out, x, &m.scalar(residues[row]), m);
        }))
    }

    /// The same message with fewer primes: the modulus shrinks, message and scale stay.
    ///
    /// # Errors
    /// [`CkksError::LevelTooHigh`] when `level` is above that of the operand, [`CkksError::ParametersMismatch`].
    pub fn drop_level(&self, a: &Ciphertext, level: usize) -> Result<Ciphertext> {
        self.check(a)?;
        if level > a.level {
            return Err(CkksError::LevelTooHigh {
                op: "drop_level",
                level,
                max_level: a.level,
            });
        }
        let parts = a
            .parts
            .iter()
            .map(|part| part.clone_rows(level + 1))
            .collect();
        Ok(Ciphertext {
            parts,
            level,
            ..self.header(a)
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            params: &self.params,
            workers: &self.workers,
        }
    }

    /// Everything but the parts, which are empty.
    fn header(&self, a: &Ciphertext) -> Ciphertext {
        Ciphertext {
            parts: Vec::new(),
            level: a.level,
            scale: a.scale,
            seed: None,
            tag: a.tag,
        }
    }

    /// Two polynomials over Q_level, not yet written.
    fn new_pair(&self, level: usize) -> Pair {
        [0, 1].map(|_| Poly::uninit_pooled(self.params.n(), level + 1))
    }

    /// A result of degree 1 from its two parts.
    fn pair(&self, parts: Pair, level: usize, scale: f64) -> Ciphertext {
        Ciphertext {
            parts: parts.into(),
            level,
            scale,
            seed: None,
            tag: ParametersTag::of(&self.params),
        }
    }

    fn check(&self, a: &Ciphertext) -> Result<()> {
        a.tag.check(&self.params, "a ciphertext")
    }

    fn check_pair(&self, op: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
        self.check_levels(op, a, b)?;
        check_equal_scales(op, a.scale, b.scale)
    }

    fn check_levels(&self, op: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
        self.check(a)?;
        self.check(b)?;
        if a.level == b.level {
            Ok(())
        } else {
            Err(CkksError::LevelMismatch {
                op,
                left: a.level,
                right: b.level,
            })
        }
    }

    fn check_plain(&self, op: &'static str, a: &Ciphertext, plaintext: &Plaintext) -> Result<()> {
        self.check(a)?;
        plaintext.tag.check(&self.params, "a plaintext")?;
        if plaintext.level >= a.level {
            Ok(())
        } else {
            Err(CkksError::LevelMismatch {
                op,
                left: a.level,
                right: plaintext.level,
            })
        }
    }

    /// The scale of a product, or an error when no message of that scale fits into the modulus.
    fn check_product(&self, op: &'static str, level: usize, left: f64, right: f64) -> Result<f64> {
        let (scale, log_q) = (left * right, self.params.log_q(level));
        if scale.is_finite() && scale.log2() < log_q {
            Ok(scale)
        } else {
            Err(CkksError::ScaleOverflow {
                op,
                log_scale: left.log2() + right.log2(),
                log_q,
            })
        }
    }

    fn check_degree(&self, op: &'static str, a: &Ciphertext, needed: usize) -> Result<()> {
        self.check(a)?;
        if a.degree() == needed {
            Ok(())
        } else {
            Err(CkksError::DegreeMismatch {
                op,
                needed,
                degree: a.degree(),
            })
        }
    }

    fn relinearization_key(&self, level: usize) -> Result<&SwitchingKey> {
        let keys = self
            .keys
            .as_ref()
            .and_then(|keys| keys.relinearization.as_ref());
        let key = keys.ok_or(CkksError::MissingRelinearizationKey)?;
        check_key_level(key, level, || String::from("relinearization key"))
    }

    fn galois_key(&self, g: u64, rotation: Option<i64>, level: usize) -> Result<&SwitchingKey> {
        let key = self.keys.as_ref().and_then(|keys| keys.galois.get(&g));
        let key = key.ok_or(CkksError::MissingGaloisKey {
            galois_element: g,
            rotation,
        })?;
        check_key_level(key, level, || match rotation {
            Some(k) => format!("key of the rotation by {k}"),
            None => String::from("key of the conjugation"),
        })
    }

    /// Part-wise combination; parts that only `longer` has go through `rest` (or are copied).
    fn combine(
        &self,
        longer: &Ciphertext,
        shorter: &Ciphertext,
        both: RowKernel,
        rest: Option<UnaryKernel>,
    ) -> Ciphertext {
        self.for_each_row(longer, longer.scale, |part, row, m, out| {
            let (path, x) = (self.params.path(), longer.parts[part].row(row));
            match (shorter.parts.get(part), rest) {
                (Some(y), _) => both(path, out, x, y.row(row), m),
                (None, Some(rest)) => rest(path, out, x, m),
                (None, None) => out.copy_from_slice(x),
            }
        })
    }

    /// A ciphertext whose every row is `body(row, modulus, path, out, row of a)`.
    fn map_parts(
        &self,
        a: &Ciphertext,
        scale: f64,
        body: impl Fn(usize, &Modulus, CpuPath, &mut [u64], &[u64]) + Sync,
    ) -> Ciphertext {
        self.for_each_row(a, scale, |part, row, m, out| {
            body(row, m, self.params.path(), out, a.parts[part].row(row))
        })
    }

    /// A copy of `a` whose first part is written by `body(row, modulus, path, out)`.
    fn map_first(
        &self,
        a: &Ciphertext,
        body: impl Fn(usize, &Modulus, CpuPath, &mut [u64]) + Sync,
    ) -> Ciphertext {
        self.for_each_row(a, a.scale, |part, row, m, out| match part {
            0 => body(row, m, self.params.path(), out),
            _ => out.copy_from_slice(a.parts[part].row(row)),
        })
    }

    /// A ciphertext of the shape of `a` whose rows are written by `body(part, row, modulus, out)`.
    fn for_each_row(
        &self,
        a: &Ciphertext,
        scale: f64,
        body: impl Fn(usize, usize, &Modulus, &mut [u64]) + Sync,
    ) -> Ciphertext {
        let n = self.params.n();
        let mut parts: Vec<_> = a
            .parts
            .iter()
            .map(|_| Poly::<Eval>::uninit_pooled(n, a.level + 1))
            .collect();
        let rows = parts.iter_mut().enumerate().flat_map(|(part, poly)| {
            poly.rows_mut()
                .into_iter()
                .enumerate()
                .map(move |(row, out)| (part, row, out))
        });
        self.workers.for_each(
            rows.collect(),
            n,
            |(part, row, out): (usize, usize, &mut [u64])| {
                body(part, row, self.params.modulus(row), out);
            },
        );
        Ciphertext {
            parts,
            scale,
            ..self.header(a)
        }
    }
}

/// `out = f(a)` on one row.
type UnaryKernel = fn(CpuPath, &mut [u64], &[u64], &Modulus);

/// `out = f(a, b)` on one row.
type RowKernel = fn(CpuPath, &mut [u64], &[u64], &[u64], &Modulus);

fn check_key_level(
    key: &SwitchingKey,
    level: usize,
    name: impl FnOnce() -> String,
) -> Result<&SwitchingKey> {
    if level <= key.level {
        Ok(key)
    } else {
        Err(CkksError::KeyLevelTooLow {
            key: name(),
            key_level: key.level,
            level,
        })
    }
}
