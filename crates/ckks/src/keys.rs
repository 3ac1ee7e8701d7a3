//! Keys: what the owner keeps, what may be published, what the evaluator gets.
//!
//! # Streams of the public uniform halves
//!
//! Every uniform half is `tacit_ring::sampler::uniform(seed, stream, …)` row by row, directly in NTT order; the
//! stream number names the row, so that a row can be made without the others:
//!
//! `stream = kind · 2^48 + digit · 2^32 + prime`
//!
//! with `prime` the index of the row's prime in the whole chain q_0..q_L, p_0..p_{K-1} (p_j is L+1+j at *every*
//! level), `digit` the digit of a switching key (0 elsewhere) and `kind` 0 for a ciphertext, 1 for the public key,
//! 2 for the relinearisation key, 3 for a Galois key. Each key and each ciphertext has a fresh seed of its own.
//!
//! # Assumptions
//!
//! RLWE with uniform ternary secret and σ = 3.2; evaluation keys encrypt functions of the secret under the secret
//! itself, so their publication assumes circular security (stated, as in every implementation of CKKS17).
use crate::cipher::ParametersTag;
use crate::params::Parameters;
use core::fmt;
use std::collections::BTreeMap;
use tacit_ring::{Eval, Poly};
use zeroize::Zeroize;

/// What a seed is expanded for; the high bits of a stream number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Part c_1 of a seeded ciphertext.
    Ciphertext = 0,
    /// Half a of the public key.
    PublicKey = 1,
    /// Halves a_j of the relinearisation key.
    Relinearization = 2,
    /// Halves a_j of a Galois key.
    Galois = 3,
}

impl Stream {
    /// The stream number of one row: `prime` counts q_0..q_L, p_0..p_{K-1} of the whole chain.
    pub fn number(self, digit: usize, prime: usize) -> u64 {
        (self as u64) << 48 | (digit as u64) << 32 | prime as u64
    }
}

/// The owner's secret: a uniform ternary polynomial. Wiped on drop; not comparable, not printable.
#[derive(Clone)]
pub struct SecretKey {
    /// Coefficients in {-1, 0, 1}, natural order.
    pub(crate) coefficients: Vec<i8>,
    /// The same over q_0..q_L, p_0..p_{K-1}, canonical, bit-reversed NTT order.
    pub(crate) poly: Poly<Eval>,
    pub(crate) params: Parameters,
}

impl SecretKey {
    /// The parameters it belongs to.
    pub fn params(&self) -> &Parameters {
        &self.params
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.coefficients.zeroize();
        self.poly.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

/// (b, a) with b + a·s = e over q_0..q_L; half a is `seed` expanded with [`Stream::PublicKey`].
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) b: Poly<Eval>,
    pub(crate) a: Poly<Eval>,
    pub(crate) seed: [u8; 32],
    pub(crate) params: Parameters,
}

impl PublicKey {
    /// The public seed of the uniform half.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The parameters it belongs to.
    pub fn params(&self) -> &Parameters {
        &self.params
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}

/// A key from s' to s (both fixed by its use): digit j is (b_j, a_j) with b_j + a_j·s = e_j + P·g_j·s', where g_j is 1 modulo the
/// primes q_{jK}..q_{(j+1)K-1} and 0 modulo all others. Rows q_0..q_level, p_0..p_{K-1}, canonical, bit-reversed
/// NTT order. Made for one level, it serves every level below ("level-trimmed").
#[derive(Clone)]
pub struct SwitchingKey {
    pub(crate) level: usize,
    /// (b_j, a_j) for j < dnum(level).
    pub(crate) digits: Vec<(Poly<Eval>, Poly<Eval>)>,
    pub(crate) seed: [u8; 32],
    pub(crate) tag: ParametersTag,
}

impl SwitchingKey {
    /// The public seed of the uniform half.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The highest level it serves.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Bytes of residues held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.digits
            .iter()
            .map(|(b, a)| (b.rows() * b.n() + a.rows() * a.n()) * 8)
            .sum()
    }
}

impl fmt::Debug for SwitchingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchingKey")
            .field("level", &self.level)
            .field("digits", &self.digits.len())
            .finish_non_exhaustive()
    }
}

/// What the evaluator gets: it computes, it does not decrypt.
///
/// The Galois key of g is a key from s to φ_g^{-1}(s): with φ_g(X) = X^g, digit j satisfies
/// b_j + a_j·φ_g^{-1}(s) = e_j + P·g_j·s. Decomposition and inner product work on the ciphertext as it is and the
/// permutation comes last, once, on the result.
#[derive(Clone)]
pub struct EvaluationKeys {
    pub(crate) relinearization: Option<SwitchingKey>,
    pub(crate) galois: BTreeMap<u64, SwitchingKey>,
    pub(crate) tag: ParametersTag,
}

impl EvaluationKeys {
    /// A set of keys; `galois` maps the exponent g to its key.
    pub fn new(
        params: &Parameters,
        relinearization: Option<SwitchingKey>,
        galois: BTreeMap<u64, SwitchingKey>,
    ) -> crate::error::Result<Self> {
        for key in relinearization.iter().chain(galois.values()) {
            key.tag.check(params, "a switching key")?;
        }
        Ok(Self {
            relinearization,
            galois,
            tag: ParametersTag::of(params),
        })
    }

    /// The key for s² → s.
    pub fn relinearization(&self) -> Option<&SwitchingKey> {
        self.relinearization.as_ref()
    }

    /// The keys by exponent g of X → X^g.
    pub fn galois(&self) -> &BTreeMap<u64, SwitchingKey> {
        &self.galois
    }

    /// Bytes of residues held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.relinearization
            .iter()
            .chain(self.galois.values())
            .map(SwitchingKey::memory_bytes)
            .sum()
    }
}

impl fmt::Debug for EvaluationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvaluationKeys")
            .field("relinearization", &self.relinearization.is_some())
            .field("galois", &self.galois.len())
            .finish_non_exhaustive()
    }
}
