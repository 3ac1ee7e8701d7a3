//! Encryption and decryption. No branch and no address depends on a secret; temporaries that hold one are wiped.
//!
//! IND-CPA security under RLWE, no more: a decrypted value carries the noise of its ciphertext, and handing it to
//! anybody but the key's owner can reveal the key (Li, Micciancio, ia.cr/2020/1533).
use crate::cipher::{Ciphertext, ParametersTag, Plaintext};
use crate::error::{CkksError, Result};
use crate::keygen::{expand, fresh_seed, lift, small_error, subtract_product};
use crate::keys::{PublicKey, SecretKey, Stream};
use rand_core::CryptoRng;
use tacit_ring::{Poly, kernel, sampler};
use zeroize::Zeroizing;

impl SecretKey {
    /// (e + m − a·s, a) with a from a fresh seed: half the size on the wire.
    ///
    /// # Errors
    /// [`CkksError::ParametersMismatch`].
    pub fn encrypt(&self, plaintext: &Plaintext, rng: &mut impl CryptoRng) -> Result<Ciphertext> {
        let (params, level) = (&self.params, plaintext.level);
        plaintext.tag.check(params, "the plaintext")?;
        let seed = fresh_seed(rng);
        let c1 = expand(params, &seed, Stream::Ciphertext, 0, level, 0);
        let mut c0 = small_error(params, rng, level, 0);
        for i in 0..=level {
            kernel::add_assign(
                params.path(),
                c0.row_mut(i),
                plaintext.poly.row(i),
                &params.q()[i],
            );
            subtract_product(params, c0.row_mut(i), c1.row(i), self.poly.row(i), i);
        }
        Ok(Ciphertext {
            parts: vec![c0, c1],
            level,
            scale: plaintext.scale,
            seed: Some(seed),
            tag: plaintext.tag,
        })
    }

    /// Σ c_i·s^i, the message with its noise. Degree 1 or 2.
    ///
    /// # Errors
    /// [`CkksError::TransparentCiphertext`], [`CkksError::DegreeMismatch`], [`CkksError::ParametersMismatch`].
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Plaintext> {
        let (params, level) = (&self.params, ciphertext.level);
        ciphertext.tag.check(params, "the ciphertext")?;
        if !(1..=2).contains(&ciphertext.degree()) {
            return Err(CkksError::DegreeMismatch {
                op: "decrypt",
                needed: 1,
                degree: ciphertext.degree(),
            });
        }
        if ciphertext.is_transparent() {
            return Err(CkksError::TransparentCiphertext);
        }
        let mut poly = Poly::uninit_pooled(params.n(), level + 1);
        for (i, out) in poly.rows_mut().into_iter().enumerate() {
            let (path, m, s) = (params.path(), &params.q()[i], self.poly.row(i));
            let mut parts = ciphertext.parts.iter().rev();
            // Horner's rule from the last part, which exists since the degree is at least 1.
            if let Some(last) = parts.next() {
                out.copy_from_slice(last.row(i));
            }
            for part in parts {
                kernel::mul_assign(path, out, s, m);
                kernel::add_assign(path, out, part.row(i), m);
            }
        }
        Ok(Plaintext {
            poly,
            level,
            scale: ciphertext.scale,
            tag: ciphertext.tag,
        })
    }
}

impl PublicKey {
    /// (v·b + e_0 + m, v·a + e_1) with a fresh ternary v.
    ///
    /// # Errors
    /// [`CkksError::ParametersMismatch`].
    pub fn encrypt(&self, plaintext: &Plaintext, rng: &mut impl CryptoRng) -> Result<Ciphertext> {
        let (params, level) = (&self.params, plaintext.level);
        plaintext.tag.check(params, "the plaintext")?;
        let mut mask = Zeroizing::new(vec![0i8; params.n()]);
        sampler::ternary(rng, &mut mask);
        let mut v = lift(params, &mask, level, 0);
        let mut c0 = small_error(params, rng, level, 0);
        let mut c1 = small_error(params, rng, level, 0);
        for (i, m) in params.q()[..=level].iter().enumerate() {
            let path = params.path();
            kernel::add_assign(path, c0.row_mut(i), plaintext.poly.row(i), m);
            kernel::mul_add_assign(path, c0.row_mut(i), v.row(i), self.b.row(i), m);
            kernel::mul_add_assign(path, c1.row_mut(i), v.row(i), self.a.row(i), m);
        }
        v.zeroize();
        let tag = ParametersTag::of(params);
        Ok(Ciphertext {
            parts: vec![c0, c1],
            level,
            scale: plaintext.scale,
            seed: None,
            tag,
        })
    }
}
