//! `Parameters`: checked literals, encoding and decoding.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use numpy::{Complex64, IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tacit_ckks::{
    ERROR_STD, Parameters, ParametersLiteral, SECURITY_TABLE, decode, decode_real, encode,
    encode_real, max_log_qp,
};

use crate::cipher::PyPlaintext;
use crate::cpu;
use crate::error::{detached, of_call};
use crate::integers::{Integer, Level, Size};
use crate::values::Values;

/// `{log_n: largest log2(QP)}` of 128-bit classical security.
#[pyfunction]
pub(crate) fn security_table() -> BTreeMap<u32, u32> {
    SECURITY_TABLE.into_iter().collect()
}

fn literal(log_n: Size, log_q: &[Size], log_p: &[Size], log_scale: Size) -> ParametersLiteral {
    let sizes = |list: &[Size]| list.iter().map(|size| size.0).collect();
    ParametersLiteral {
        log_n: log_n.0,
        log_q: sizes(log_q),
        log_p: sizes(log_p),
        log_scale: log_scale.0,
    }
}

/// Checked, immutable parameters of the scheme.
#[pyclass(frozen, name = "Parameters", module = "tacit._native")]
pub(crate) struct PyParameters(pub(crate) Parameters);

#[pymethods]
impl PyParameters {
    /// Parameters of 128-bit security from sizes in bits.
    #[staticmethod]
    #[pyo3(signature = (log_n, log_q, log_p, *, log_scale, cpu=None))]
    fn from_literal(
        py: Python<'_>,
        log_n: Size,
        log_q: Vec<Size>,
        log_p: Vec<Size>,
        log_scale: Size,
        cpu: Option<&str>,
    ) -> PyResult<Self> {
        let path = cpu::chosen(cpu)?;
        let literal = literal(log_n, &log_q, &log_p, log_scale);
        detached(py, || Parameters::from_literal(&literal, path)).map(Self)
    }

    /// Parameters without the security check, for tests only.
    #[staticmethod]
    #[pyo3(signature = (log_n, log_q, log_p, *, log_scale, cpu=None))]
    fn insecure_from_literal(
        py: Python<'_>,
        log_n: Size,
        log_q: Vec<Size>,
        log_p: Vec<Size>,
        log_scale: Size,
        cpu: Option<&str>,
    ) -> PyResult<Self> {
        let path = cpu::chosen(cpu)?;
        let literal = literal(log_n, &log_q, &log_p, log_scale);
        detached(py, || Parameters::insecure_from_literal(&literal, path)).map(Self)
    }

    #[getter]
    fn log_n(&self) -> u32 {
        self.0.log_n()
    }

    #[getter]
    fn n(&self) -> usize {
        self.0.n()
    }

    #[getter]
    fn slots(&self) -> usize {
        self.0.slots()
    }

    #[getter]
    fn max_level(&self) -> usize {
        self.0.max_level()
    }

    #[getter]
    fn q(&self) -> Vec<u64> {
        self.0.q().iter().map(|m| m.q()).collect()
    }

    #[getter]
    fn p(&self) -> Vec<u64> {
        self.0.p().iter().map(|m| m.q()).collect()
    }

    #[getter]
    fn alpha(&self) -> usize {
        self.0.alpha()
    }

    #[getter]
    fn log_qp(&self) -> f64 {
        self.0.log_qp()
    }

    #[getter]
    fn max_log_qp(&self) -> Option<u32> {
        max_log_qp(self.0.log_n())
    }

    #[getter]
    fn log_scale(&self) -> u32 {
        self.0.log_scale()
    }

    #[getter]
    fn scale(&self) -> f64 {
        self.0.scale()
    }

    #[getter]
    fn hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.hash())
    }

    #[getter]
    fn cpu(&self) -> &'static str {
        self.0.path().name()
    }

    #[getter]
    fn is_insecure(&self) -> bool {
        self.0.is_insecure()
    }

    #[getter]
    fn error_std(&self) -> f64 {
        ERROR_STD
    }

    /// Digits of key switching at a level.
    fn dnum(&self, level: Level) -> PyResult<usize> {
        self.check_level("dnum", level.0)
            .map(|()| self.0.dnum(level.0))
    }

    /// log2 of q_0·…·q_level.
    fn log_q(&self, level: Level) -> PyResult<f64> {
        self.check_level("log_q", level.0)
            .map(|()| self.0.log_q(level.0))
    }

    /// The exponent g of the map X → X^g that rotates by `rotation`.
    fn galois_element(&self, rotation: Integer) -> u64 {
        self.0.galois_element(rotation.0)
    }

    /// Encodes up to `slots` real or complex numbers.
    #[pyo3(signature = (values, *, level=None, scale=None))]
    fn encode(
        &self,
        py: Python<'_>,
        values: &Bound<'_, PyAny>,
        level: Option<Level>,
        scale: Option<f64>,
    ) -> PyResult<PyPlaintext> {
        let (params, values) = (&self.0, Values::extract("values", values)?);
        let (level, scale) = (
            level.map_or(params.max_level(), |level| level.0),
            scale.unwrap_or(params.scale()),
        );
        let plaintext = detached(py, || match &values {
            Values::Real(values) => encode_real(params, values, level, scale),
            Values::Complex(values) => encode(params, values, level, scale),
        })?;
        Ok(PyPlaintext::new(params, plaintext))
    }

    /// All slots as complex numbers.
    fn decode<'py>(
        &self,
        py: Python<'py>,
        pt: &PyPlaintext,
    ) -> PyResult<Bound<'py, PyArray1<Complex64>>> {
        let slots = detached(py, || {
            let slots = decode(&self.0, &pt.plaintext)?;
            Ok(slots
                .into_iter()
                .map(|(re, im)| Complex64::new(re, im))
                .collect::<Vec<_>>())
        })?;
        Ok(slots.into_pyarray(py))
    }

    /// The real parts of all slots.
    fn decode_real<'py>(
        &self,
        py: Python<'py>,
        pt: &PyPlaintext,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        Ok(detached(py, || decode_real(&self.0, &pt.plaintext))?.into_pyarray(py))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| self.0.hash() == other.get().0.hash())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!(
            "<{}Parameters n={} levels={} log_qp={:.1} log_scale={}>",
            if self.0.is_insecure() {
                "insecure "
            } else {
                ""
            },
            self.0.n(),
            self.0.max_level() + 1,
            self.0.log_qp(),
            self.0.log_scale(),
        )
    }
}

impl PyParameters {
    fn check_level(&self, op: &'static str, level: usize) -> PyResult<()> {
        let max_level = self.0.max_level();
        if level <= max_level {
            return Ok(());
        }
        Err(of_call(tacit_ckks::CkksError::LevelTooHigh {
            op,
            level,
            max_level,
        }))
    }
}
