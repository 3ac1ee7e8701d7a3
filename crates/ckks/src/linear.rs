//! Linear maps on slot vectors as sums of diagonals, prepared for the evaluator.
use crate::cipher::{ParametersTag, check_scale};
use crate::encoding::encode_qp;
use crate::error::{CkksError, Result};
use crate::params::Parameters;
use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use tacit_ring::{Eval, Poly};

/// y = Σ_k diagonal_k ⊙ rot(x, k), split into baby and giant steps: k = giant·baby + j with 0 ≤ j < baby, so that
/// y = Σ_giant rot(Σ_j rot(diagonal_k, −giant·baby) ⊙ rot(x, j), giant·baby) (Halevi, Shoup, ia.cr/2014/873, section
/// 4; Bossuat et al., ia.cr/2020/1203, algorithm 6). The rotated diagonals are encoded over Q_level·P.
pub struct LinearMap {
    pub(crate) giants: Vec<Giant>,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) tag: ParametersTag,
    baby: usize,
}

/// The diagonals of one giant step.
pub(crate) struct Giant {
    /// giant·baby.
    pub(crate) rotation: i64,
    /// (j, diagonal rotated by −giant·baby); rows q_0..q_level, p_0..p_{K-1}.
    pub(crate) diagonals: Vec<(i64, Poly<Eval>)>,
}

impl LinearMap {
    /// Encodes `diagonals` with `scale` for ciphertexts of at most `level`. Each has one value per slot; their
    /// indices k lie strictly between −slots and slots. Those that round to nothing are left out, for a sum in which
    /// only they were rotated is a multiple of P: the division by P·q_l would round all its coefficients to one side.
    ///
    /// # Errors
    /// [`CkksError::InvalidLinearMap`] for `baby` = 0, no diagonal, an index or a length out of range;
    /// [`CkksError::LevelTooHigh`], [`CkksError::InvalidScale`] and the errors of encoding.
    pub fn new(
        params: &Parameters,
        diagonals: &BTreeMap<i64, Vec<(f64, f64)>>,
        level: usize,
        scale: f64,
        baby: usize,
    ) -> Result<Self> {
        let slots = params.slots();
        check_scale("a linear map", scale)?;
        if level > params.max_level() {
            return Err(CkksError::LevelTooHigh {
                op: "a linear map",
                level,
                max_level: params.max_level(),
            });
        }
        if !(1..=slots).contains(&baby) {
            return Err(invalid("baby", "between 1 and the number of slots", baby));
        }
        if diagonals.is_empty() {
            return Err(invalid(
                "diagonals",
                "a map of at least one diagonal",
                "none",
            ));
        }
        let mut giants: BTreeMap<i64, Vec<(i64, Poly<Eval>)>> = BTreeMap::new();
        let mut nothing = None;
        for (&k, diagonal) in diagonals {
            if k.unsigned_abs() >= slots as u64 {
                return Err(invalid(
                    "diagonals",
                    "indexed from 1 - slots to slots - 1",
                    k,
                ));
            }
            if diagonal.len() != slots {
                return Err(invalid(
                    "diagonals",
                    "made of one value per slot",
                    diagonal.len(),
                ));
            }
            let (giant, j) = (
                k.div_euclid(baby as i64) * baby as i64,
                k.rem_euclid(baby as i64),
            );
            // A turn by −slots moves nothing: it joins the giant step 0.
            let rotation = if giant == -(slots as i64) { 0 } else { giant };
            let mut turned = diagonal.clone();
            turned.rotate_right(rotation.rem_euclid(slots as i64) as usize);
            let encoded = encode_qp(params, &turned, level, scale)?;
            if is_zero(&encoded) {
                nothing = Some(encoded);
            } else {
                giants.entry(rotation).or_default().push((j, encoded));
            }
        }
        if giants.is_empty() {
            giants.extend(nothing.map(|encoded| (0, vec![(0, encoded)])));
        }
        let giants = giants
            .into_iter()
            .map(|(rotation, diagonals)| Giant {
                rotation,
                diagonals,
            })
            .collect();
        Ok(Self {
            giants,
            level,
            scale,
            tag: ParametersTag::of(params),
            baby,
        })
    }

    /// The highest level of ciphertexts it can be applied to.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The scale of the diagonals, by which the scale of the ciphertext is multiplied.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Baby steps per giant step.
    pub fn baby(&self) -> usize {
        self.baby
    }

    /// The rotations whose keys the evaluator needs, ascending, at the level of the operand.
    pub fn rotations(&self) -> Vec<i64> {
        let giants = self.giants.iter().map(|giant| giant.rotation);
        let all: BTreeSet<i64> = self
            .baby_steps()
            .into_iter()
            .chain(giants)
            .filter(|&k| k != 0)
            .collect();
        all.into_iter().collect()
    }

    /// Bytes of encoded diagonals.
    pub fn memory_bytes(&self) -> usize {
        let diagonals = self.giants.iter().flat_map(|giant| &giant.diagonals);
        diagonals.map(|(_, poly)| poly.rows() * poly.n() * 8).sum()
    }

    /// The j in use, ascending.
    pub(crate) fn baby_steps(&self) -> Vec<i64> {
        let steps: BTreeSet<i64> = self
            .giants
            .iter()
            .flat_map(|giant| giant.diagonals.iter().map(|(j, _)| *j))
            .collect();
        steps.into_iter().collect()
    }
}

impl fmt::Debug for LinearMap {
    /// Shape only: the diagonals are the model.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearMap")
            .field("level", &self.level)
            .field("scale", &self.scale)
            .field("baby", &self.baby)
            .field("giants", &self.giants.len())
            .finish_non_exhaustive()
    }
}

fn is_zero(poly: &Poly<Eval>) -> bool {
    (0..poly.rows()).all(|row| poly.row(row).iter().all(|&word| word == 0))
}

fn invalid(
    parameter: &'static str,
    requirement: &'static str,
    got: impl fmt::Display,
) -> CkksError {
    CkksError::InvalidLinearMap {
        parameter,
        requirement,
        got: got.to_string(),
    }
}
