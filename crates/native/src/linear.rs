//! `LinearMap`: a matrix by its generalised diagonals.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::PyMapping;
use tacit_ckks::LinearMap;

use crate::error::detached;
use crate::integers::{Integer, Level, Size};
use crate::parameters::PyParameters;
use crate::values::Values;

/// Encoded diagonals of a linear map on the slots.
#[pyclass(frozen, name = "LinearMap", module = "tacit._native")]
pub(crate) struct PyLinearMap {
    pub(crate) map: LinearMap,
}

#[pymethods]
impl PyLinearMap {
    #[new]
    #[pyo3(signature = (params, diagonals, *, level, scale, baby))]
    fn new(
        py: Python<'_>,
        params: &PyParameters,
        diagonals: &Bound<'_, PyMapping>,
        level: Level,
        scale: f64,
        baby: Size,
    ) -> PyResult<Self> {
        let mut values = BTreeMap::new();
        for item in diagonals.call_method0("items")?.try_iter()? {
            let (Integer(k), diagonal) = item?.extract::<(Integer, Bound<'_, PyAny>)>()?;
            values.insert(k, Values::extract("a diagonal", &diagonal)?.into_complex());
        }
        let map = detached(py, || {
            LinearMap::new(&params.0, &values, level.0, scale, baby.0 as usize)
        })?;
        Ok(Self { map })
    }

    #[getter]
    fn level(&self) -> usize {
        self.map.level()
    }

    #[getter]
    fn scale(&self) -> f64 {
        self.map.scale()
    }

    #[getter]
    fn rotations(&self) -> Vec<i64> {
        self.map.rotations()
    }

    #[getter]
    fn memory_bytes(&self) -> usize {
        self.map.memory_bytes()
    }

    fn __repr__(&self) -> String {
        format!(
            "<LinearMap level={} scale=2^{:.3}>",
            self.map.level(),
            self.map.scale().log2()
        )
    }
}
