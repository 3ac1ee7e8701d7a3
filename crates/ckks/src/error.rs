//! The one error type of the crate.
//!
//! Every variant carries facts (levels, scales, sizes) and says what to do; none carries a user's value, a
//! coefficient or anything that depends on decrypted content.
use tacit_ring::RingError;
use thiserror::Error;

/// What can go wrong in a CKKS operation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CkksError {
    // --- parameters
    /// The literal was understood and refused: too large a modulus for the ring degree.
    #[error(
        "log2(QP) = {log_qp:.1} is above {max_log_qp} bits, the 128-bit limit for log_n = {log_n}; \
         use a larger log_n or fewer and shorter primes"
    )]
    InsecureParameters {
        /// log2 of the ring degree.
        log_n: u32,
        /// log2 of the product of all primes.
        log_qp: f64,
        /// The limit of the security table for this degree; 0 when the degree is not in the table.
        max_log_qp: u32,
    },
    /// The literal cannot be made into parameters.
    #[error("the '{parameter}' parameter must be {requirement}; got {got}")]
    InvalidParameters {
        /// The field of the literal or the argument.
        parameter: &'static str,
        /// What it must be.
        requirement: &'static str,
        /// What was given, in words.
        got: String,
    },
    /// Operands, keys or bytes belong to different parameter sets.
    #[error("{what} belongs to other parameters; make it again from the parameters in use")]
    ParametersMismatch {
        /// The object that does not fit.
        what: &'static str,
    },
    /// The ring layer refused (no such prime, unsupported degree, CPU path not available).
    #[error(transparent)]
    Ring(#[from] RingError),

    // --- levels, scales, degrees
    /// Two operands have different levels.
    #[error("{op} needs equal levels; got {left} and {right}: use drop_level on the higher one")]
    LevelMismatch {
        /// The operation.
        op: &'static str,
        /// Level of the first operand.
        left: usize,
        /// Level of the second operand.
        right: usize,
    },
    /// The operand has no level left for the operation.
    #[error("{op} needs level >= {needed}; got {level}: use parameters with more primes")]
    LevelUnderflow {
        /// The operation.
        op: &'static str,
        /// The least level the operation needs.
        needed: usize,
        /// The level of the operand.
        level: usize,
    },
    /// A level above the largest possible one.
    #[error("{op} needs level <= {max_level}; got {level}")]
    LevelTooHigh {
        /// The operation.
        op: &'static str,
        /// The level asked for.
        level: usize,
        /// The largest possible level.
        max_level: usize,
    },
    /// Two operands have different scales.
    #[error(
        "{op} needs equal scales; got 2^{:.4} and 2^{:.4}: bring one to the scale of the other with mul_const",
        left.log2(),
        right.log2()
    )]
    ScaleMismatch {
        /// The operation.
        op: &'static str,
        /// Scale of the first operand.
        left: f64,
        /// Scale of the second operand.
        right: f64,
    },
    /// A scale that is not a positive finite number.
    #[error("{op} needs a positive finite scale")]
    InvalidScale {
        /// The operation.
        op: &'static str,
    },
    /// The scale of the result does not fit into the modulus.
    #[error("{op} gives scale 2^{log_scale:.1} at a level of {log_q:.1} bits: rescale first")]
    ScaleOverflow {
        /// The operation.
        op: &'static str,
        /// log2 of the scale of the result.
        log_scale: f64,
        /// log2 of the modulus at that level.
        log_q: f64,
    },
    /// A ciphertext of the wrong degree.
    #[error("{op} needs a ciphertext of degree {needed}; got {degree}: use relinearize")]
    DegreeMismatch {
        /// The operation.
        op: &'static str,
        /// The degree that the operation takes.
        needed: usize,
        /// The degree of the operand.
        degree: usize,
    },
    /// An operation on a list was given an empty one.
    #[error("{op} needs at least one operand")]
    EmptyOperands {
        /// The operation.
        op: &'static str,
    },
    /// A weight matrix whose size does not fit the operands.
    #[error("{op} needs a multiple of {columns} weights; got {got}")]
    WeightsMismatch {
        /// The operation.
        op: &'static str,
        /// Number of operands, the row length of the matrix.
        columns: usize,
        /// Number of weights given.
        got: usize,
    },

    // --- keys
    /// The evaluator has no relinearisation key.
    #[error("no relinearization key; make evaluation keys with one")]
    MissingRelinearizationKey,
    /// The evaluator lacks the key of a rotation or of the conjugation.
    #[error(
        "no galois key for element {galois_element}{}; make evaluation keys with it",
        rotation.map_or(String::from(" (conjugation)"), |k| format!(" (rotation by {k})"))
    )]
    MissingGaloisKey {
        /// The exponent g of X → X^g.
        galois_element: u64,
        /// The rotation; `None` for the conjugation.
        rotation: Option<i64>,
    },
    /// A key trimmed to a level below that of the ciphertext.
    #[error(
        "the {key} serves levels <= {key_level}; got a ciphertext of level {level}: drop_level first or make the key for that level"
    )]
    KeyLevelTooLow {
        /// Which key.
        key: String,
        /// The level it was made for.
        key_level: usize,
        /// The level of the ciphertext.
        level: usize,
    },
    /// An exponent that is no automorphism of the ring.
    #[error("galois element {galois_element} must be odd and < 2n")]
    InvalidGaloisElement {
        /// The exponent.
        galois_element: u64,
    },
    /// A ciphertext that carries its plaintext in the clear (c1 = 0).
    #[error("transparent ciphertext refused: c1 is zero, it protects nothing")]
    TransparentCiphertext,

    // --- encoding
    /// More values than slots.
    #[error("at most {slots} values can be encoded; got {got}")]
    TooManyValues {
        /// Number of values given.
        got: usize,
        /// Number of slots.
        slots: usize,
    },
    /// A value that is infinite or not a number.
    #[error("value {index} is not finite")]
    NonFiniteValue {
        /// Its position.
        index: usize,
    },
    /// An encoded coefficient does not fit into the modulus of the level.
    #[error(
        "{op}: a value times scale 2^{log_scale:.1} does not fit into {log_q:.1} bits; use a smaller scale or a higher level"
    )]
    EncodingOverflow {
        /// The operation.
        op: &'static str,
        /// log2 of the scale.
        log_scale: f64,
        /// log2 of the modulus at that level.
        log_q: f64,
    },
    /// A linear map that cannot be built or applied.
    #[error("linear map: the '{parameter}' parameter must be {requirement}; got {got}")]
    InvalidLinearMap {
        /// The argument.
        parameter: &'static str,
        /// What it must be.
        requirement: &'static str,
        /// What was given, in words.
        got: String,
    },

    // --- wire
    /// Fewer bytes than the form needs.
    #[error("{what} is truncated: {needed} bytes needed, {got} given")]
    Truncated {
        /// The object read.
        what: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        got: usize,
    },
    /// Bytes that are no valid form of the object.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The object read.
        what: &'static str,
        /// What is wrong, without content.
        reason: &'static str,
    },
    /// Bytes whose checksum does not agree.
    #[error("{what} was damaged: its checksum does not agree")]
    ChecksumMismatch {
        /// The object read.
        what: &'static str,
    },
    /// A residue that is not below its prime.
    #[error("{what} has a residue that is not reduced in row {row}")]
    NonCanonicalResidue {
        /// The object read.
        what: &'static str,
        /// The row.
        row: usize,
    },
    /// A version of the wire form that this build does not read.
    #[error("{what} has wire version {got}; this build reads {supported}")]
    UnsupportedVersion {
        /// The object read.
        what: &'static str,
        /// The version found.
        got: u32,
        /// The version read.
        supported: u32,
    },
    /// Bytes after the end of the object.
    #[error("{what} has {count} bytes after its end")]
    TrailingBytes {
        /// The object read.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// An object above the size limit.
    #[error("{what} has {got} bytes, above the limit of {limit}")]
    TooLong {
        /// The object read.
        what: &'static str,
        /// Its size.
        got: usize,
        /// The limit.
        limit: usize,
    },
}

/// `Result` with [`CkksError`].
pub type Result<T> = core::result::Result<T, CkksError>;
