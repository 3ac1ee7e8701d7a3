//! Full-RNS leveled CKKS: approximate arithmetic on encrypted vectors of complex numbers.
//!
//! # Scheme
//!
//! Messages are polynomials of R = Z[X]/(X^N+1) that encode N/2 complex slots times a scale (Cheon, Kim, Kim, Song,
//! ia.cr/2016/421), held as residues modulo a chain of primes q_0..q_L and always in NTT order (the full-RNS variant:
//! Cheon, Han, Kim, Kim, Song, ia.cr/2018/931). A ciphertext of level l is a tuple with Σ c_i·s^i = message + noise modulo
//! q_0·…·q_l; `rescale` divides it by q_l. [`Evaluator`] multiplies, relinearises, rotates by hybrid key switching with
//! special primes P (Han, Ki, ia.cr/2019/688), shares decompositions between rotations (Halevi, Shoup, ia.cr/2018/244)
//! and applies [`LinearMap`]s with double hoisting (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux, ia.cr/2020/1203).
//! The order of operations and their memory traffic are in docs/design/key-switching.md.
//!
//! Scales are `f64` and exact bookkeeping: `mul` multiplies them, `rescale` divides by the very prime; `add` refuses
//! scales that differ by more than [`cipher::SCALE_TOLERANCE`]. Levels are never adjusted silently.
//!
//! # Security
//!
//! - IND-CPA under RLWE with uniform ternary secret and σ = 3.2, 128-bit classical by the table of ia.cr/2024/463, checked by
//!   [`Parameters::from_literal`]; evaluation keys add the assumption of circular security. Nothing here is CCA secure:
//!   ciphertexts are malleable and belong into an authenticated channel.
//! - A decrypted approximate value reveals its noise. Giving it to anybody but the key's owner can reveal the key
//!   (Li, Micciancio, ia.cr/2020/1533); a release needs flooding noise on top, which is not in this crate.
//! - No circuit privacy: result ciphertexts can tell the key's owner about the plaintext operands of the evaluator.
//! - Secrets are wiped on drop, do not print and do not compare; sampling, key generation, encryption and decryption take
//!   no branch and no address from a secret. Randomness is injected as `rand_core::CryptoRng`.
//!
//! Results are the same bit for bit on every CPU path and for every number of threads.
mod chain;
pub mod cipher;
pub mod encoding;
mod encryption;
pub mod error;
pub mod evaluator;
mod keygen;
pub mod keys;
mod keyswitch;
pub mod linear;
pub mod params;
pub mod wire;
mod workers;

pub use cipher::{Ciphertext, ParametersTag, Plaintext};
pub use encoding::{decode, decode_real, encode, encode_constant, encode_qp, encode_real};
pub use error::{CkksError, Result};
pub use evaluator::Evaluator;
pub use keys::{EvaluationKeys, PublicKey, SecretKey, SwitchingKey};
pub use linear::LinearMap;
pub use params::{ERROR_STD, Parameters, ParametersLiteral, SECURITY_TABLE, max_log_qp};
