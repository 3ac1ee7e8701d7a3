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
