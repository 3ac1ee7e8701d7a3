//! Integers of Python with typed errors where they are negative or too large.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use crate::error::Class;

/// Any integer of 64 bits, else `InvalidParameterError`.
#[derive(Clone, Copy)]
pub(crate) struct Integer(pub(crate) i64);

/// A level, not negative, else `LevelError`; the upper limit is the core's to check.
#[derive(Clone, Copy)]
pub(crate) struct Level(pub(crate) usize);

/// A size or a count of 32 bits, else `InvalidParameterError`.
#[derive(Clone, Copy)]
pub(crate) struct Size(pub(crate) u32);

/// A count of this machine's memory, not negative, else `InvalidParameterError`.
#[derive(Clone, Copy)]
pub(crate) struct Count(pub(crate) usize);

/// An integer modulo 2^64, from -2^63 to 2^64 - 1, else `InvalidParameterError`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Word(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Integer {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(object.py()) {
                Class::InvalidParameter.error("an integer must have at most 64 bits", "")
            } else {
                error
            }
        })
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Level {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let Integer(level) = object.extract()?;
        let negative = |_| Class::Level.error(format!("a level must be >= 0; got {level}"), "");
        usize::try_from(level).map(Self).map_err(negative)
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Count {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let Integer(count) = object.extract()?;
        // More than a slice can have bytes is refused before anything multiplies it.
        let limit = isize::MAX as usize / 64;
        match usize::try_from(count) {
            Ok(count) if count <= limit => Ok(Self(count)),
            _ => {
                let message = format!("a count must be between 0 and {limit}; got {count}");
                Err(Class::InvalidParameter.error(message, ""))
            }
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Word {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract() {
            Ok(word) => Ok(Self(word)),
            Err(_) => object.extract().map(|Integer(word)| Self(word as u64)),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Size {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let Integer(size) = object.extract()?;
        let outside = |_| {
            Class::InvalidParameter.error(
                format!("a size must be between 0 and 2^32 - 1; got {size}"),
                "",
            )
        };
        u32::try_from(size).map(Self).map_err(outside)
    }
}
