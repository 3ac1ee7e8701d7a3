//! `EvaluationKeys`: what the evaluator gets.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tacit_ckks::{EvaluationKeys, Parameters};

use crate::error::{detached, detached_read};
use crate::parameters::PyParameters;

/// What the evaluator gets: keys for products and rotations, nothing that decrypts.
#[pyclass(frozen, name = "EvaluationKeys", module = "tacit._native")]
pub(crate) struct PyEvaluationKeys {
    pub(crate) params: Parameters,
    pub(crate) keys: Arc<EvaluationKeys>,
}

#[pymethods]
impl PyEvaluationKeys {
    #[getter]
    fn params_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.params.hash())
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.keys.wire_len(&self.params)
    }

    #[getter]
    fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes()
    }

    #[getter]
    fn has_relinearization(&self) -> bool {
        self.keys.relinearization().is_some()
    }

    #[getter]
    fn has_conjugation(&self) -> bool {
        self.keys
            .galois()
            .contains_key(&self.params.conjugation_element())
    }

    #[getter]
    fn galois_elements(&self) -> Vec<u64> {
        self.keys.galois().keys().copied().collect()
    }

    #[getter]
    fn rotations(&self) -> Vec<usize> {
        let (mut element, mask) = (1u64, 2 * self.params.n() as u64 - 1);
        let keys = self.keys.galois();
        (0..self.params.slots())
            .filter(|_| {
                let known = keys.contains_key(&element);
                element = (element * 5) & mask;
                known
            })
            .collect()
    }

    /// The binary form.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, self.keys.wire_len(&self.params), |bytes| {
            detached(py, || self.keys.write_bytes(&self.params, bytes))
        })
    }

    /// Reads the binary form.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, params: &PyParameters, data: &[u8]) -> PyResult<Self> {
        let keys = detached_read(py, || EvaluationKeys::from_bytes(&params.0, data))?;
        Ok(Self {
            params: params.0.clone(),
            keys: Arc::new(keys),
        })
    }

    fn __repr__(&self) -> String {
        let keys = &self.keys;
        format!(
            "<EvaluationKeys relinearization={} galois={}>",
            keys.relinearization().is_some(),
            keys.galois().len()
        )
    }
}
