//! Key generation. No branch and no address depends on a secret; temporaries that hold one are wiped.
use crate::chain;
use crate::cipher::ParametersTag;
use crate::error::{CkksError, Result};
use crate::keys::{EvaluationKeys, PublicKey, SecretKey, Stream, SwitchingKey};
use crate::params::Parameters;
use rand_core::CryptoRng;
use std::collections::BTreeMap;
use tacit_ring::{Eval, Poly, kernel, sampler};
use zeroize::{Zeroize, Zeroizing};

impl SecretKey {
    /// A fresh uniform ternary secret.
    pub fn generate(params: &Parameters, rng: &mut impl CryptoRng) -> Self {
        let mut coefficients = vec![0i8; params.n()];
        sampler::ternary(rng, &mut coefficients);
        Self::from_ternary(params, coefficients)
    }

    /// The secret with these coefficients, natural order.
    ///
    /// # Errors
    /// [`CkksError::Malformed`] unless there are n of them and all are −1, 0 or 1.
    pub fn from_coefficients(params: &Parameters, mut coefficients: Vec<i8>) -> Result<Self> {
        // One bit of information about the whole vector; no early exit.
        let outside = coefficients
            .iter()
            .fold(0, |seen, &c| seen | ((c.wrapping_add(1) as u8) > 2) as u8);
        if coefficients.len() != params.n() || outside != 0 {
            coefficients.zeroize();
            return Err(CkksError::Malformed {
                what: "a secret key",
                reason: "needs n coefficients in -1, 0, 1",
            });
        }
        Ok(Self::from_ternary(params, coefficients))
    }

    fn from_ternary(params: &Parameters, coefficients: Vec<i8>) -> Self {
        let poly = lift(params, &coefficients, params.max_level(), params.p().len());
        Self {
            coefficients,
            poly,
            params: params.clone(),
        }
    }

    /// The coefficients, natural order: whoever has them reads everything.
    pub fn reveal_coefficients(&self) -> &[i8] {
        &self.coefficients
    }

    /// A key with which anybody can encrypt.
    pub fn public_key(&self, rng: &mut impl CryptoRng) -> PublicKey {
        let params = &self.params;
        let (seed, level) = (fresh_seed(rng), params.max_level());
        let a = PublicKey::expand_a(params, &seed);
        let mut b = small_error(params, rng, level, 0);
        for i in 0..=level {
            subtract_product(params, b.row_mut(i), a.row(i), self.poly.row(i), i);
        }
        PublicKey {
            b,
            a,
            seed,
            params: params.clone(),
        }
    }

    /// A key from s² to s for ciphertexts of at most `level`.
    ///
    /// # Errors
    /// [`CkksError::LevelTooHigh`], [`CkksError::InvalidParameters`] when there are no special primes.
    pub fn relinearization_key(
        &self,
        level: usize,
        rng: &mut impl CryptoRng,
    ) -> Result<SwitchingKey> {
        let mut square = self.poly.clone();
        for (row, out) in square.rows_mut().into_iter().enumerate() {
            let m = self.params.modulus(row);
            kernel::mul(
                self.params.path(),
                out,
                self.poly.row(row),
                self.poly.row(row),
                m,
            );
        }
        let key = self.switching_key(Stream::Relinearization, level, &square, &self.poly, rng);
        square.zeroize();
        key
    }

    /// The key of X → X^g for ciphertexts of at most `level`: from s to φ_g^{-1}(s).
    ///
    /// # Errors
    /// As [`Self::relinearization_key`], and [`CkksError::InvalidGaloisElement`].
    pub fn galois_key(
        &self,
        g: u64,
        level: usize,
        rng: &mut impl CryptoRng,
    ) -> Result<SwitchingKey> {
        // 2N is a power of two, so the inverse of an odd g is g^(N-1): the group has exponent N/2.
        self.params.automorphism(g)?;
        let mask = 2 * self.params.n() as u64 - 1;
        let inverse = (0..self.params.log_n()).fold((1u64, g), |(result, base), _| {
            ((result * base) & mask, (base * base) & mask)
        });
        let automorphism = self.params.automorphism(inverse.0)?;
        let mut target = Poly::<Eval>::uninit_pooled(self.params.n(), self.poly.rows());
        for (row, out) in target.rows_mut().into_iter().enumerate() {
            automorphism.apply_eval(self.params.path(), out, self.poly.row(row));
        }
        let key = self.switching_key(Stream::Galois, level, &self.poly, &target, rng);
        target.zeroize();
        key
    }

    /// The keys for some exponents with the level each is used at, and for relinearisation where a level is given.
    ///
    /// # Errors
    /// As [`Self::galois_key`].
    pub fn evaluation_keys(
        &self,
        galois: &BTreeMap<u64, usize>,
        relinearization: Option<usize>,
        rng: &mut impl CryptoRng,
    ) -> Result<EvaluationKeys> {
        let relinearization = relinearization
            .map(|level| self.relinearization_key(level, rng))
            .transpose()?;
        let keys = galois
            .iter()
            .map(|(&g, &level)| Ok((g, self.galois_key(g, level, rng)?)));
        EvaluationKeys::new(&self.params, relinearization, keys.collect::<Result<_>>()?)
    }

    /// b_j = e_j − a_j·to + P·g_j·from.
    fn switching_key(
        &self,
        kind: Stream,
        level: usize,
        from: &Poly<Eval>,
        to: &Poly<Eval>,
        rng: &mut impl CryptoRng,
    ) -> Result<SwitchingKey> {
        let params = &self.params;
        check_key_level(params, level)?;
        let seed = fresh_seed(rng);
        let halves = SwitchingKey::expand_a(params, kind, level, &seed);
        let digits = halves.into_iter().enumerate().map(|(j, a)| {
            let mut b = small_error(params, rng, level, params.alpha());
            for row in 0..b.rows() {
                let index = chain::index_of_row(params, level, row);
                let (m, out) = (params.modulus(index), b.row_mut(row));
                subtract_product(params, out, a.row(row), to.row(index), index);
                if index / params.alpha() == j && row <= level {
                    let p = params.keyswitch_tables().special_product(index);
                    kernel::mul_scalar_add_assign(params.path(), out, from.row(index), p, m);
                }
            }
            (b, a)
        });
        Ok(SwitchingKey {
            level,
            digits: digits.collect(),
            seed,
            tag: ParametersTag::of(params),
        })
    }
}

impl PublicKey {
    /// Half a from its seed.
    pub(crate) fn expand_a(params: &Parameters, seed: &[u8; 32]) -> Poly<Eval> {
        expand(params, seed, Stream::PublicKey, 0, params.max_level(), 0)
    }
}

impl SwitchingKey {
    /// Halves a_j of all digits from their seed.
    pub(crate) fn expand_a(
        params: &Parameters,
        kind: Stream,
        level: usize,
        seed: &[u8; 32],
    ) -> Vec<Poly<Eval>> {
        (0..params.dnum(level))
            .map(|j| expand(params, seed, kind, j, level, params.alpha()))
            .collect()
    }
}

/// Rows q_0..q_level and the first `special` rows of P, uniform.
pub(crate) fn expand(
    params: &Parameters,
    seed: &[u8; 32],
    kind: Stream,
    digit: usize,
    level: usize,
    special: usize,
) -> Poly<Eval> {
    let mut a = Poly::<Eval>::uninit_pooled(params.n(), level + 1 + special);
    for (row, out) in a.rows_mut().into_iter().enumerate() {
        let index = chain::index_of_row(params, level, row);
        sampler::uniform(seed, kind.number(digit, index), out, params.modulus(index));
    }
    a
}

/// A fresh error polynomial over Q_level and the first `special` primes of P, NTT order.
pub(crate) fn small_error(
    params: &Parameters,
    rng: &mut impl CryptoRng,
    level: usize,
    special: usize,
) -> Poly<Eval> {
    let mut error = Zeroizing::new(vec![0i8; params.n()]);
    sampler::gaussian(rng, &mut error);
    lift(params, &error, level, special)
}

/// Small integers over Q_level and the first `special` primes of P, NTT order.
pub(crate) fn lift(params: &Parameters, small: &[i8], level: usize, special: usize) -> Poly<Eval> {
    let mut poly = Poly::<Eval>::uninit_pooled(params.n(), level + 1 + special);
    for (row, out) in poly.rows_mut().into_iter().enumerate() {
        let index = chain::index_of_row(params, level, row);
        sampler::lift_signed(out, small, params.modulus(index));
        params.ntt(index).forward(params.path(), out);
    }
    poly
}

/// out −= a·b modulo the prime `index`.
pub(crate) fn subtract_product(
    params: &Parameters,
    out: &mut [u64],
    a: &[u64],
    b: &[u64],
    index: usize,
) {
    let (path, m) = (params.path(), params.modulus(index));
    kernel::neg_assign(path, out, m);
    kernel::mul_add_assign(path, out, a, b, m);
    kernel::neg_assign(path, out, m);
}

pub(crate) fn fresh_seed(rng: &mut impl CryptoRng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

fn check_key_level(params: &Parameters, level: usize) -> Result<()> {
    if params.alpha() == 0 {
        let (requirement, got) = (
            "a list of at least one prime for evaluation keys",
            String::from("none"),
        );
        return Err(CkksError::InvalidParameters {
            parameter: "log_p",
            requirement,
            got,
        });
    }
    if level > params.max_level() {
        return Err(CkksError::LevelTooHigh {
            op: "a switching key",
            level,
            max_level: params.max_level(),
        });
    }
    Ok(())
}
