//! The Python face of the Rust core: module `tacit._native`, described for Python in `src/tacit/_native.pyi`.
//!
//! Objects are immutable and may be shared between threads. Whatever takes long runs without the interpreter lock.

mod cipher;
mod cpu;
mod error;
mod evaluation_keys;
mod evaluator;
mod integers;
mod keys;
mod linear;
mod memory;
mod parameters;
mod points;
mod randomness;
mod shares;
mod threads;
mod values;

use pyo3::prelude::*;

/// What the largest moduli of `security_table` stand on.
const SECURITY_SOURCE: &str = "ia.cr/2024/463 (Security Guidelines for Implementing Homomorphic Encryption), table 5.2: \
     128-bit classical security, uniform ternary secret, discrete Gaussian error of standard deviation 3.19";

/// The public names, in the order that the linter of the Python side wants.
const PUBLIC: [&str; 15] = [
    "SECURITY_SOURCE",
    "Ciphertext",
    "EvaluationKeys",
    "Evaluator",
    "LinearMap",
    "Parameters",
    "Plaintext",
    "PublicKey",
    "SecretKey",
    "cpu_path",
    "cpu_paths",
    "points",
    "release_pool",
    "security_table",
    "shares",
];

/// The Rust core of Tacit.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("SECURITY_SOURCE", SECURITY_SOURCE)?;
    module.add_class::<cipher::PyCiphertext>()?;
    module.add_class::<cipher::PyPlaintext>()?;
    module.add_class::<evaluator::PyEvaluator>()?;
    module.add_class::<evaluation_keys::PyEvaluationKeys>()?;
    module.add_class::<keys::PyPublicKey>()?;
    module.add_class::<keys::PySecretKey>()?;
    module.add_class::<linear::PyLinearMap>()?;
    module.add_class::<parameters::PyParameters>()?;
    module.add_function(wrap_pyfunction!(cpu::_bench_ntt, module)?)?;
    module.add_function(wrap_pyfunction!(cpu::cpu_path, module)?)?;
    module.add_function(wrap_pyfunction!(cpu::cpu_paths, module)?)?;
    module.add_function(wrap_pyfunction!(memory::release_pool, module)?)?;
    module.add_function(wrap_pyfunction!(parameters::security_table, module)?)?;
    points::register(module)?;
    shares::register(module)?;
    module.setattr("__all__", PUBLIC.to_vec())?;
    Ok(())
}
