//! `Evaluator`: the operations on ciphertexts.

use pyo3::prelude::*;
use pyo3::types::{PyComplex, PyComplexMethods};
use tacit_ckks::{Ciphertext, CkksError, Evaluator, Parameters};

use crate::cipher::{PyCiphertext, PyPlaintext};
use crate::error::{Class, detached, of_call};
use crate::evaluation_keys::PyEvaluationKeys;
use crate::integers::{Integer, Level};
use crate::linear::PyLinearMap;
use crate::parameters::PyParameters;
use crate::threads;
use crate::values::matrix;

/// Computes on ciphertexts with evaluation keys.
#[pyclass(frozen, name = "Evaluator", module = "tacit._native")]
pub(crate) struct PyEvaluator {
    evaluator: Evaluator,
    threads: i64,
}

impl PyEvaluator {
    fn params(&self) -> &Parameters {
        self.evaluator.params()
    }

    fn run(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Evaluator) -> Result<Ciphertext, CkksError> + Send,
    ) -> PyResult<PyCiphertext> {
        let ciphertext = detached(py, || work(&self.evaluator))?;
        Ok(PyCiphertext::new(self.params(), ciphertext))
    }

    fn run_many(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Evaluator) -> Result<Vec<Ciphertext>, CkksError> + Send,
    ) -> PyResult<Vec<PyCiphertext>> {
        let ciphertexts = detached(py, || work(&self.evaluator))?;
        Ok(ciphertexts
            .into_iter()
            .map(|ciphertext| PyCiphertext::new(self.params(), ciphertext))
            .collect())
    }
}

#[pymethods]
impl PyEvaluator {
    #[new]
    #[pyo3(signature = (params, keys=None, *, threads=1))]
    fn new(params: &PyParameters, keys: Option<&PyEvaluationKeys>, threads: i64) -> PyResult<Self> {
        let (team, keys) = (threads::team(threads)?, keys.map(|keys| keys.keys.clone()));
        Ok(Self {
            evaluator: Evaluator::new(&params.0, keys, team).map_err(of_call)?,
            threads,
        })
    }

    #[getter(params)]
    fn py_params(&self) -> PyParameters {
        PyParameters(self.params().clone())
    }

    #[getter]
    fn threads(&self) -> i64 {
        self.threads
    }

    /// a + b
    fn add(&self, py: Python<'_>, a: &PyCiphertext, b: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.add(&a.ciphertext, &b.ciphertext))
    }

    /// a - b
    fn sub(&self, py: Python<'_>, a: &PyCiphertext, b: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.sub(&a.ciphertext, &b.ciphertext))
    }

    /// -a
    fn neg(&self, py: Python<'_>, a: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.neg(&a.ciphertext))
    }

    /// a + pt
    fn add_plain(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        pt: &PyPlaintext,
    ) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| {
            evaluator.add_plain(&a.ciphertext, &pt.plaintext)
        })
    }

    /// a - pt
    fn sub_plain(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        pt: &PyPlaintext,
    ) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| {
            evaluator.sub_plain(&a.ciphertext, &pt.plaintext)
        })
    }

    /// a · pt, slot by slot
    fn mul_plain(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        pt: &PyPlaintext,
    ) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| {
            evaluator.mul_plain(&a.ciphertext, &pt.plaintext)
        })
    }

    /// a + c in every slot
    fn add_const(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        c: &Bound<'_, PyAny>,
    ) -> PyResult<PyCiphertext> {
        let (re, im) = match c.cast::<PyComplex>() {
            Ok(c) => (c.real(), c.imag()),
            Err(_) => (c.extract()?, 0.0),
        };
        self.run(py, |evaluator| {
            evaluator.add_complex_const(&a.ciphertext, re, im)
        })
    }

    /// a · c in every slot, with c encoded at `scale`
    #[pyo3(signature = (a, c, *, scale))]
    fn mul_const(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        c: f64,
        scale: f64,
    ) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.mul_const(&a.ciphertext, c, scale))
    }

    /// a · b, slot by slot, of degree 2
    fn mul(&self, py: Python<'_>, a: &PyCiphertext, b: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.mul(&a.ciphertext, &b.ciphertext))
    }

    /// a², of degree 2
    fn square(&self, py: Python<'_>, a: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.square(&a.ciphertext))
    }

    /// Degree 2 → degree 1
    fn relinearize(&self, py: Python<'_>, a: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.relinearize(&a.ciphertext))
    }

    /// mul, relinearize and rescale in one
    fn mul_relin_rescale(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        b: &PyCiphertext,
    ) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| {
            evaluator.mul_relin_rescale(&a.ciphertext, &b.ciphertext)
        })
    }

    /// square, relinearize and rescale in one
    fn square_relin_rescale(&self, py: Python<'_>, a: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| {
            evaluator.square_relin_rescale(&a.ciphertext)
        })
    }

    /// Divides polynomial and scale by the last prime
    fn rescale(&self, py: Python<'_>, a: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.rescale(&a.ciphertext))
    }

    /// Forgets the primes above `level`
    fn drop_level(&self, py: Python<'_>, a: &PyCiphertext, level: Level) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.drop_level(&a.ciphertext, level.0))
    }

    /// Slot i ← slot i + k
    fn rotate(&self, py: Python<'_>, a: &PyCiphertext, k: Integer) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.rotate(&a.ciphertext, k.0))
    }

    /// Several rotations of one ciphertext for less than one by one
    fn rotate_hoisted(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        ks: Vec<Integer>,
    ) -> PyResult<Vec<PyCiphertext>> {
        let ks: Vec<i64> = ks.into_iter().map(|k| k.0).collect();
        self.run_many(py, |evaluator| evaluator.rotate_hoisted(&a.ciphertext, &ks))
    }

    /// Complex conjugate of every slot
    fn conjugate(&self, py: Python<'_>, a: &PyCiphertext) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| evaluator.conjugate(&a.ciphertext))
    }

    /// For each step in turn: a ← a + rotate(a, step)
    fn rotate_sum(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        steps: Vec<Integer>,
    ) -> PyResult<PyCiphertext> {
        let steps: Vec<i64> = steps.into_iter().map(|step| step.0).collect();
        self.run(py, |evaluator| evaluator.rotate_sum(&a.ciphertext, &steps))
    }

    /// The linear map applied to the slots
    #[pyo3(signature = (a, map, *, rescale=true))]
    fn linear(
        &self,
        py: Python<'_>,
        a: &PyCiphertext,
        map: &PyLinearMap,
        rescale: bool,
    ) -> PyResult<PyCiphertext> {
        self.run(py, |evaluator| {
            evaluator.linear(&a.ciphertext, &map.map, rescale)
        })
    }

    /// Σ_j weights[i, j]·cts[j] for each row i
    #[pyo3(signature = (cts, weights, *, scale))]
    fn linear_combinations(
        &self,
        py: Python<'_>,
        cts: Vec<PyRef<'_, PyCiphertext>>,
        weights: &Bound<'_, PyAny>,
        scale: f64,
    ) -> PyResult<Vec<PyCiphertext>> {
        let (weights, _, columns) = matrix("weights", weights)?;
        if columns != cts.len() {
            let message = format!(
                "weights must have one column for each of the {} ciphertexts; got {columns}",
                cts.len()
            );
            return Err(Class::Shape.error(message, ""));
        }
        let cts: Vec<&Ciphertext> = cts.iter().map(|ct| &*ct.ciphertext).collect();
        self.run_many(py, |evaluator| {
            evaluator.linear_combinations(&cts, &weights, scale)
        })
    }

    fn __repr__(&self) -> String {
        format!(
            "<Evaluator n={} threads={}>",
            self.params().n(),
            self.threads
        )
    }
}
