//! Arrays of Python as vectors of the core.

use numpy::{Complex64, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::IntoPyDict;

use crate::error::Class;

/// One-dimensional numbers, copied: other threads may write to the array once the interpreter lock is released.
pub(crate) enum Values {
    Real(Vec<f64>),
    Complex(Vec<(f64, f64)>),
}

impl Values {
    /// From anything that `numpy.asarray` makes a one-dimensional array of numbers.
    pub(crate) fn extract(what: &str, object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(array) = object.extract::<PyReadonlyArray1<'_, f64>>() {
            return Ok(Self::Real(array.as_array().to_vec()));
        }
        if let Ok(array) = object.extract::<PyReadonlyArray1<'_, Complex64>>() {
            return Ok(Self::Complex(
                array.as_array().iter().map(|z| (z.re, z.im)).collect(),
            ));
        }
        let array = asarray(what, object)?;
        let (dimensions, kind) = (array.getattr("ndim")?.extract::<usize>()?, kind_of(&array)?);
        if dimensions != 1 {
            let message =
                format!("{what} must be a one-dimensional array; got {dimensions} dimensions");
            return Err(Class::Shape.error(message, "use numpy.ravel"));
        }
        let (wanted, is_complex) = match kind.as_str() {
            "b" | "i" | "u" | "f" => ("float64", false),
            "c" => ("complex128", true),
            _ => {
                let message = format!(
                    "{what} must hold numbers; got an array of {}",
                    array.getattr("dtype")?
                );
                return Err(Class::Data.error(message, "convert it to float64 or complex128"));
            }
        };
        let array = array.call_method1("astype", (wanted,))?;
        if is_complex {
            let array: PyReadonlyArray1<'_, Complex64> = array.extract()?;
            return Ok(Self::Complex(
                array.as_array().iter().map(|z| (z.re, z.im)).collect(),
            ));
        }
        let array: PyReadonlyArray1<'_, f64> = array.extract()?;
        Ok(Self::Real(array.as_array().to_vec()))
    }

    /// All values as pairs.
    pub(crate) fn into_complex(self) -> Vec<(f64, f64)> {
        match self {
            Self::Real(values) => values.into_iter().map(|re| (re, 0.0)).collect(),
            Self::Complex(values) => values,
        }
    }
}

/// A row-major float64 matrix and its shape.
pub(crate) fn matrix(what: &str, object: &Bound<'_, PyAny>) -> PyResult<(Vec<f64>, usize, usize)> {
    let read = |array: PyReadonlyArray2<'_, f64>| {
        let (rows, columns) = (array.shape()[0], array.shape()[1]);
        (array.as_array().iter().copied().collect(), rows, columns)
    };
    if let Ok(array) = object.extract() {
        return Ok(read(array));
    }
    let array = asarray(what, object)?;
    let dimensions = array.getattr("ndim")?.extract::<usize>()?;
    if dimensions != 2 {
        let message =
            format!("{what} must be a two-dimensional array; got {dimensions} dimensions");
        return Err(Class::Shape.error(message, ""));
    }
    if !"biuf".contains(&kind_of(&array)?) {
        let message = format!(
            "{what} must hold real numbers; got an array of {}",
            array.getattr("dtype")?
        );
        return Err(Class::Data.error(message, "convert it to float64"));
    }
    Ok(read(array.call_method1("astype", ("float64",))?.extract()?))
}

fn asarray<'py>(what: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let nothing = [("dtype", py.None())].into_py_dict(py)?;
    ASARRAY
        .import(py, "numpy", "asarray")?
        .call((object,), Some(&nothing))
        .map_err(|error| {
            let wrapped = Class::Data.error(
                format!("{what} cannot be read as an array of numbers"),
                "pass a numpy array",
            );
            wrapped.set_cause(py, Some(error));
            wrapped
        })
}

fn kind_of(array: &Bound<'_, PyAny>) -> PyResult<String> {
    array.getattr("dtype")?.getattr("kind")?.extract()
}
