//! Arrays of words of Python, without copies.

use numpy::{
    PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::error::Class;

/// An array of words of Python.
pub(crate) type Array<'py> = Bound<'py, PyArrayDyn<u64>>;

/// A C-contiguous array of uint64 to read. While it is borrowed nothing of ours writes to it; the stub says that nothing else may.
pub(crate) struct Words<'py> {
    array: PyReadonlyArrayDyn<'py, u64>,
}

impl<'py> Words<'py> {
    pub(crate) fn slice(&self) -> &[u64] {
        // Contiguous and aligned, as `extract` made sure.
        self.array.as_slice().unwrap_or(&[])
    }

    pub(crate) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    pub(crate) fn len(&self) -> usize {
        self.array.len()
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Words<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let array = checked(object)?;
        let array = array.try_readonly().map_err(|_| overlap())?;
        Ok(Self { array })
    }
}

/// A C-contiguous array of uint64 to write.
pub(crate) struct Target<'py> {
    array: PyReadwriteArrayDyn<'py, u64>,
}

impl<'py> Target<'py> {
    pub(crate) fn slice(&mut self) -> &mut [u64] {
        // Contiguous and aligned, as `extract` made sure.
        self.array.as_slice_mut().unwrap_or(&mut [])
    }

    /// Of an array made by [`fresh`], or the caller's.
    pub(crate) fn of(array: &Array<'py>) -> PyResult<Self> {
        let array = array.try_readwrite().map_err(|error| match error {
            numpy::BorrowError::NotWriteable => {
                Class::InvalidParameter.error("an array to write to is read-only", "")
            }
            _ => overlap(),
        })?;
        Ok(Self { array })
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Target<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Self::of(&checked(object)?)
    }
}

/// The result: the caller's array of that many words, or a new one.
pub(crate) fn result<'py>(
    py: Python<'py>,
    out: Option<Bound<'py, PyAny>>,
    shape: &[usize],
) -> PyResult<Array<'py>> {
    let Some(out) = out else {
        return fresh(py, shape);
    };
    let array = checked(out.as_borrowed())?;
    if array.shape() != shape {
        let message = format!("'out' must be of shape {shape:?}; got {:?}", array.shape());
        return Err(Class::Shape.error(message, ""));
    }
    Ok(array)
}

/// A new array whose words are whatever the memory held: Python's allocator makes it, so that for us they are initialised.
pub(crate) fn fresh<'py>(py: Python<'py>, shape: &[usize]) -> PyResult<Array<'py>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let shape = PyTuple::new(py, shape)?;
    let array = EMPTY
        .import(py, "numpy", "empty")?
        .call1((shape, "uint64"))?;
    Ok(array.cast_into()?)
}

fn checked<'py>(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Array<'py>> {
    if let Ok(array) = object.cast::<PyArrayDyn<u64>>() {
        if array.is_c_contiguous() && array.is_aligned() {
            return Ok(array.to_owned());
        }
        return Err(Class::Shape.error(
            "an array of words must be C-contiguous",
            "use numpy.ascontiguousarray",
        ));
    }
    let what = match object.cast::<PyUntypedArray>() {
        Ok(array) => format!("an array of {}", array.dtype()),
        Err(_) => object.get_type().to_string(),
    };
    Err(Class::Data.error(format!("words must be an array of uint64; got {what}"), ""))
}

fn overlap() -> PyErr {
    Class::InvalidParameter.error(
        "an array that is written to is in use elsewhere",
        "use arrays that share no memory",
    )
}

/// Two shapes that must be equal.
pub(crate) fn same_shape(what: &str, a: &[usize], b: &[usize]) -> PyResult<()> {
    if a == b {
        return Ok(());
    }
    Err(Class::Shape.error(
        format!("{what} must have one shape; got {a:?} and {b:?}"),
        "",
    ))
}

/// A length that must be so.
pub(crate) fn words_of(what: &str, got: usize, wanted: usize) -> PyResult<()> {
    if got == wanted {
        return Ok(());
    }
    Err(Class::Shape.error(format!("{what} must have {wanted} words; got {got}"), ""))
}
