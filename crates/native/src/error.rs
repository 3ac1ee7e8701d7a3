//! Errors of the core as the classes of `tacit.errors`: one table.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyType};
use tacit_ckks::CkksError;

/// A class of `tacit.errors`.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    Data,
    InsecureParameter,
    Internal,
    InvalidParameter,
    Level,
    MalformedMessage,
    MissingKey,
    PeerIncompatible,
    Scale,
    Shape,
    Usage,
}

impl Class {
    const NAMES: [&'static str; 11] = [
        "DataError",
        "InsecureParameterError",
        "InternalError",
        "InvalidParameterError",
        "LevelError",
        "MalformedMessageError",
        "MissingKeyError",
        "PeerIncompatibleError",
        "ScaleError",
        "ShapeError",
        "UsageError",
    ];

    /// An error of this class; `hint` says what to do and may be empty.
    pub(crate) fn error(self, message: impl Into<String>, hint: &str) -> PyErr {
        let message = message.into();
        Python::attach(|py| {
            self.raise(py, &message, hint)
                .unwrap_or_else(|import_error| import_error)
        })
    }

    fn raise(self, py: Python<'_>, message: &str, hint: &str) -> PyResult<PyErr> {
        static CLASSES: [PyOnceLock<Py<PyType>>; 11] = [const { PyOnceLock::new() }; 11];
        let class =
            CLASSES[self as usize].import(py, "tacit.errors", Self::NAMES[self as usize])?;
        let hint = [("hint", hint)].into_py_dict(py)?;
        Ok(PyErr::from_value(class.call((message,), Some(&hint))?))
    }
}

/// Where an error came from, which decides who is at fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Call,
    Bytes,
}

/// The error of an operation on objects of this process.
pub(crate) fn of_call(error: CkksError) -> PyErr {
    convert(&error, Origin::Call)
}

/// The error of reading bytes.
pub(crate) fn of_bytes(error: CkksError) -> PyErr {
    convert(&error, Origin::Bytes)
}

/// Class and hint of every error of the core. Messages of the core end with their advice; it moves to the hint.
fn convert(error: &CkksError, origin: Origin) -> PyErr {
    use CkksError as E;
    let (class, hint) = match error {
        E::InsecureParameters { .. } => (
            Class::InsecureParameter,
            "use a larger log_n or fewer and shorter primes",
        ),
        E::InvalidParameters { .. }
        | E::Ring(_)
        | E::InvalidGaloisElement { .. }
        | E::InvalidLinearMap { .. } => (Class::InvalidParameter, ""),
        E::ParametersMismatch { .. } if origin == Origin::Bytes => (
            Class::PeerIncompatible,
            "make it again from the parameters in use",
        ),
        E::ParametersMismatch { .. } => (
            Class::InvalidParameter,
            "make it again from the parameters in use",
        ),
        E::LevelMismatch { .. } => (Class::Level, "use drop_level on the higher one"),
        E::LevelUnderflow { .. } => (Class::Level, "use parameters with more primes"),
        E::LevelTooHigh { .. } => (Class::Level, ""),
        E::ScaleMismatch { .. } => (
            Class::Scale,
            "bring one to the scale of the other with mul_const",
        ),
        E::InvalidScale { .. } if origin == Origin::Bytes => (Class::MalformedMessage, ""),
        E::InvalidScale { .. } => (Class::Scale, ""),
        E::ScaleOverflow { .. } => (Class::Scale, "rescale first"),
        E::EncodingOverflow { .. } => (Class::Scale, "use a smaller scale or a higher level"),
        E::DegreeMismatch { .. } => (Class::InvalidParameter, "use relinearize"),
        E::EmptyOperands { .. } | E::WeightsMismatch { .. } | E::TooManyValues { .. } => {
            (Class::Shape, "")
        }
        E::MissingRelinearizationKey => (Class::MissingKey, "make evaluation keys with one"),
        E::MissingGaloisKey { .. } => (Class::MissingKey, "make evaluation keys with it"),
        E::KeyLevelTooLow { .. } => (
            Class::MissingKey,
            "drop_level first or make the key for that level",
        ),
        E::NonFiniteValue { .. } => (Class::Data, ""),
        E::UnsupportedVersion { .. } => (
            Class::PeerIncompatible,
            "use the same version of Tacit on both sides",
        ),
        E::TransparentCiphertext
        | E::Truncated { .. }
        | E::Malformed { .. }
        | E::NonCanonicalResidue { .. }
        | E::TrailingBytes { .. }
        | E::TooLong { .. }
        | E::ChecksumMismatch { .. } => (Class::MalformedMessage, ""),
        _ => (Class::Internal, "please report this"),
    };
    let message = error.to_string();
    let facts = message
        .strip_suffix(hint)
        .map_or(message.as_str(), |m| m.trim_end_matches([' ', ';', ':']));
    class.error(facts, hint)
}

/// Runs `work` without the interpreter lock. A panic of the core is a bug: it becomes `InternalError`, not a crash.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, CkksError> + Send,
) -> PyResult<T> {
    detached_as(py, work, of_call)
}

/// [`detached`] for reading bytes.
pub(crate) fn detached_read<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, CkksError> + Send,
) -> PyResult<T> {
    detached_as(py, work, of_bytes)
}

/// [`detached`] for work with errors of another kind.
pub(crate) fn detached_as<T: Send, E: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
    convert: fn(E) -> PyErr,
) -> PyResult<T> {
    // Unwind safety: inputs are not changed, or (random streams) have moved on by then; a partial output is dropped or was
    // announced as unspecified.
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(result) => result.map_err(convert),
        Err(_) => Err(Class::Internal.error(
            "the core panicked",
            "please report this with the command that led here",
        )),
    }
}
