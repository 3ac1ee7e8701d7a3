//! Full-RNS leveled CKKS.
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
