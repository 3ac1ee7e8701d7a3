//! Plaintexts and ciphertexts: residue polynomials with a level and a scale.
use crate::error::{CkksError, Result};
use crate::params::Parameters;
use core::fmt;
use tacit_ring::{Eval, Poly};

/// Largest relative difference of two scales that `add` and its kin take as equal: 2^-30.
///
/// Scales are exact quotients of products of `f64` values; primes of one chain differ by about 2^-20 relative or
/// more, so that a forgotten rescale or a skipped scale correction is never taken for rounding.
pub const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// The first eight bytes of the parameter hash: every object carries them, so that mixing parameter sets is a
/// typed error instead of a wrong result. Not a cryptographic binding; the wire form carries the whole hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParametersTag([u8; 8]);

impl ParametersTag {
    /// The tag of `params`.
    pub fn of(params: &Parameters) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&params.hash()[..8]);
        Self(tag)
    }

    /// `Ok` when `params` has this tag, else an error that names `what`.
    pub fn check(self, params: &Parameters, what: &'static str) -> Result<()> {
        if self == Self::of(params) {
            Ok(())
        } else {
            Err(CkksError::ParametersMismatch { what })
        }
    }
}

impl fmt::Debug for ParametersTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// An encoded polynomial: rows q_0..q_level, canonical residues in bit-reversed NTT order.
///
/// A plaintext may be secret (what an owner is about to encrypt or has just decrypted), so it is wiped on drop and
/// does not show its content.
#[derive(Clone)]
pub struct Plaintext {
    pub(crate) poly: Poly<Eval>,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    pub(crate) tag: ParametersTag,
}

impl Plaintext {
    /// Number of primes that can still be dropped.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The factor between values and slots.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The parameters it belongs to.
    pub fn tag(&self) -> ParametersTag {
        self.tag
    }

    /// The residues: row i modulo q_i, canonical, bit-reversed NTT order.
    pub fn poly(&self) -> &Poly<Eval> {
        &self.poly
    }

    /// The same polynomial read with another scale: every slot is divided by `scale / self.scale()`.
    pub fn with_scale(mut self, scale: f64) -> Result<Self> {
        check_scale("with_scale", scale)?;
        self.scale = scale;
        Ok(self)
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.poly.zeroize();
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plaintext")
            .field("level", &self.level)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

/// A polynomial tuple (c_0, …, c_d) with Σ c_i·s^i = message + noise; each part has rows q_0..q_level, canonical
/// residues in bit-reversed NTT order. Degree 1 from encryption, 2 from `mul` and `square`.
#[derive(Clone)]
pub struct Ciphertext {
    pub(crate) parts: Vec<Poly<Eval>>,
    pub(crate) level: usize,
    pub(crate) scale: f64,
    /// When present, row i of `parts[1]` is `uniform(seed, i)` (see `keys::Stream`); lost by every operation.
    pub(crate) seed: Option<[u8; 32]>,
    pub(crate) tag: ParametersTag,
}

impl Ciphertext {
    /// Number of primes that can still be dropped.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The factor between values and slots.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Number of parts less one.
    pub fn degree(&self) -> usize {
        self.parts.len() - 1
    }

    /// The public seed of `parts()[1]` of a fresh secret-key encryption.
    pub fn seed(&self) -> Option<&[u8; 32]> {
        self.seed.as_ref()
    }

    /// The parameters it belongs to.
    pub fn tag(&self) -> ParametersTag {
        self.tag
    }

    /// c_0, c_1 and, after a product, c_2.
    pub fn parts(&self) -> &[Poly<Eval>] {
        &self.parts
    }

    /// The same polynomials read with another scale: every slot is divided by `scale / self.scale()`. This changes
    /// the meaning, not the polynomials; executors use it for exact scale bookkeeping.
    pub fn with_scale(&self, scale: f64) -> Result<Self> {
        check_scale("with_scale", scale)?;
        Ok(Self {
            scale,
            ..self.clone()
        })
    }

    /// Whether all of c_1 (and c_2) is zero: such a tuple shows its plaintext to everybody.
    pub fn is_transparent(&self) -> bool {
        let zero_row = |row: &[u64]| row.iter().fold(0, |acc, &x| acc | x) == 0;
        self.parts[1..]
            .iter()
            .all(|part| (0..part.rows()).all(|i| zero_row(part.row(i))))
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ciphertext")
            .field("degree", &self.degree())
            .field("level", &self.level)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

/// Refuses scales that are not positive finite numbers.
pub(crate) fn check_scale(op: &'static str, scale: f64) -> Result<()> {
    if scale.is_finite() && scale > 0.0 {
        Ok(())
    } else {
        Err(CkksError::InvalidScale { op })
    }
}

/// Refuses scales that differ by more than [`SCALE_TOLERANCE`].
pub(crate) fn check_equal_scales(op: &'static str, left: f64, right: f64) -> Result<()> {
    if (left - right).abs() <= SCALE_TOLERANCE * left.abs().max(right.abs()) {
        Ok(())
    } else {
        Err(CkksError::ScaleMismatch { op, left, right })
    }
}
