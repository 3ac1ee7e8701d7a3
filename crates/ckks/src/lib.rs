//! Full-RNS leveled CKKS.
pub mod cipher;
pub mod encoding;
pub mod error;
pub mod keys;
pub mod params;

pub use cipher::{Ciphertext, ParametersTag, Plaintext};
pub use encoding::{decode, decode_real, encode, encode_constant, encode_qp, encode_real};
pub use error::{CkksError, Result};
pub use keys::{EvaluationKeys, PublicKey, SecretKey, SwitchingKey};
pub use params::{ERROR_STD, Parameters, ParametersLiteral, SECURITY_TABLE, max_log_qp};
