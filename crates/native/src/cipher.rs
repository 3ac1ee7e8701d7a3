//! `Plaintext` and `Ciphertext`.

use std::sync::Arc;

use numpy::{PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use tacit_ckks::{Ciphertext, Parameters, Plaintext};

use crate::error::{detached, detached_read, of_call};
use crate::integers::Size;
use crate::parameters::PyParameters;
use crate::threads;

/// An encoded polynomial.
#[pyclass(frozen, name = "Plaintext", module = "tacit._native")]
pub(crate) struct PyPlaintext {
    params: Parameters,
    pub(crate) plaintext: Plaintext,
}

impl PyPlaintext {
    pub(crate) fn new(params: &Parameters, plaintext: Plaintext) -> Self {
        Self {
            params: params.clone(),
            plaintext,
        }
    }
}

#[pymethods]
impl PyPlaintext {
    #[getter]
    fn level(&self) -> usize {
        self.plaintext.level()
    }

    #[getter]
    fn scale(&self) -> f64 {
        self.plaintext.scale()
    }

    #[getter]
    fn params_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.params.hash())
    }

    /// The residues, row i modulo q_i, in bit-reversed NTT order.
    fn residues<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let (rows, n) = (self.plaintext.level() + 1, self.params.n());
        let array = PyArray2::zeros(py, [rows, n], false);
        let mut view = array.try_readwrite()?;
        for (i, row) in view.as_slice_mut()?.chunks_exact_mut(n).enumerate() {
            row.copy_from_slice(self.plaintext.poly().row(i));
        }
        drop(view);
        Ok(array)
    }

    fn __repr__(&self) -> String {
        format!(
            "<Plaintext level={} scale=2^{:.3}>",
            self.plaintext.level(),
            self.plaintext.scale().log2()
        )
    }
}

/// An encrypted polynomial tuple.
#[pyclass(frozen, name = "Ciphertext", module = "tacit._native")]
pub(crate) struct PyCiphertext {
    params: Parameters,
    pub(crate) ciphertext: Arc<Ciphertext>,
}

impl PyCiphertext {
    pub(crate) fn new(params: &Parameters, ciphertext: Ciphertext) -> Self {
        Self {
            params: params.clone(),
            ciphertext: Arc::new(ciphertext),
        }
    }
}

#[pymethods]
impl PyCiphertext {
    #[getter]
    fn level(&self) -> usize {
        self.ciphertext.level()
    }

    #[getter]
    fn scale(&self) -> f64 {
        self.ciphertext.scale()
    }

    #[getter]
    fn degree(&self) -> usize {
        self.ciphertext.degree()
    }

    #[getter]
    fn is_seeded(&self) -> bool {
        self.ciphertext.seed().is_some()
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.ciphertext.wire_len(&self.params)
    }

    #[getter]
    fn params_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.params.hash())
    }

    /// The same polynomials read with another scale.
    fn with_scale(&self, py: Python<'_>, scale: f64) -> PyResult<Self> {
        let ciphertext = detached(py, || self.ciphertext.with_scale(scale))?;
        Ok(Self::new(&self.params, ciphertext))
    }

    /// The residues of one part, row i modulo q_i, in bit-reversed NTT order.
    fn residues<'py>(&self, py: Python<'py>, part: Size) -> PyResult<Bound<'py, PyArray2<u64>>> {
        let degree = self.ciphertext.degree();
        let Some(poly) = self.ciphertext.parts().get(part.0 as usize) else {
            return Err(of_call(tacit_ckks::CkksError::InvalidParameters {
                parameter: "part",
                requirement: "at most the degree of the ciphertext",
                got: format!("{} for degree {degree}", part.0),
            }));
        };
        let n = self.params.n();
        let array = PyArray2::zeros(py, [self.ciphertext.level() + 1, n], false);
        let mut view = array.try_readwrite()?;
        for (i, row) in view.as_slice_mut()?.chunks_exact_mut(n).enumerate() {
            row.copy_from_slice(poly.row(i));
        }
        drop(view);
        Ok(array)
    }

    /// The binary form.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, self.ciphertext.wire_len(&self.params), |bytes| {
            detached(py, || self.ciphertext.write_bytes(&self.params, bytes))
        })
    }

    /// Reads the binary form.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, params: &PyParameters, data: &[u8]) -> PyResult<Self> {
        let ciphertext = detached_read(py, || Ciphertext::from_bytes(&params.0, data))?;
        Ok(Self::new(&params.0, ciphertext))
    }

    /// Reads several binary forms, spread over threads.
    #[staticmethod]
    #[pyo3(signature = (params, data, *, threads=1))]
    fn from_bytes_many(
        py: Python<'_>,
        params: &PyParameters,
        data: Vec<PyBackedBytes>,
        threads: i64,
    ) -> PyResult<Vec<Self>> {
        let (params, team) = (&params.0, threads::team(threads)?);
        let read = |bytes: &PyBackedBytes| Ciphertext::from_bytes(params, bytes);
        let ciphertexts = detached_read(py, || {
            // Collected in two steps, so that the error is that of the first bad input.
            let results: Vec<_> = match &team {
                Some(team) => team.map(data.iter().collect(), read),
                None => data.iter().map(read).collect(),
            };
            results.into_iter().collect::<Result<Vec<_>, _>>()
        })?;
        Ok(ciphertexts
            .into_iter()
            .map(|ciphertext| Self::new(params, ciphertext))
            .collect())
    }

    fn __repr__(&self) -> String {
        format!(
            "<Ciphertext degree={} level={} scale=2^{:.3}>",
            self.ciphertext.degree(),
            self.ciphertext.level(),
            self.ciphertext.scale().log2()
        )
    }
}
