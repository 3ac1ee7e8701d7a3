//! Module `tacit._native.shares`: what a party of a protocol on shares modulo `2^64` computes by itself.

pub(crate) mod arrays;
mod bits;
mod elements;
mod matrices;
mod random;
mod terms;

use pyo3::prelude::*;
use tacit_share::CpuPath;
use tacit_share::prg::StreamExhaustedError;

use crate::error::{Class, detached_as};

/// The public names, in the order that the linter of the Python side wants.
const PUBLIC: [&str; 16] = [
    "CarryTree",
    "Stream",
    "ZeroSharing",
    "add_up",
    "chosen",
    "from_planes",
    "mask_parts",
    "matmul",
    "pack",
    "plane_words",
    "product",
    "quotient",
    "to_planes",
    "turned",
    "unpack",
    "xor_up",
];

/// Adds the module to `parent`, and to the modules that Python knows.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = parent.py();
    let module = PyModule::new(py, "shares")?;
    module.add_class::<bits::PyCarryTree>()?;
    module.add_class::<random::PyStream>()?;
    module.add_class::<random::PyZeroSharing>()?;
    module.add_function(wrap_pyfunction!(elements::add_up, &module)?)?;
    module.add_function(wrap_pyfunction!(elements::mask_parts, &module)?)?;
    module.add_function(wrap_pyfunction!(elements::product, &module)?)?;
    module.add_function(wrap_pyfunction!(elements::quotient, &module)?)?;
    module.add_function(wrap_pyfunction!(elements::xor_up, &module)?)?;
    module.add_function(wrap_pyfunction!(bits::chosen, &module)?)?;
    module.add_function(wrap_pyfunction!(bits::from_planes, &module)?)?;
    module.add_function(wrap_pyfunction!(bits::pack, &module)?)?;
    module.add_function(wrap_pyfunction!(bits::plane_words, &module)?)?;
    module.add_function(wrap_pyfunction!(bits::to_planes, &module)?)?;
    module.add_function(wrap_pyfunction!(bits::turned, &module)?)?;
    module.add_function(wrap_pyfunction!(bits::unpack, &module)?)?;
    module.add_function(wrap_pyfunction!(matrices::matmul, &module)?)?;
    module.setattr("__all__", PUBLIC.to_vec())?;
    parent.add_submodule(&module)?;
    // So that `import tacit._native.shares` finds it.
    let known = py.import("sys")?.getattr("modules")?;
    known.set_item("tacit._native.shares", module)
}

/// The instruction set, as for everything else.
pub(crate) fn path() -> PyResult<CpuPath> {
    let ring = crate::cpu::chosen(None)?;
    CpuPath::from_name(ring.name())
        .filter(|path| path.is_available())
        .ok_or_else(|| {
            let message = format!(
                "this CPU has not all instructions of the '{}' path for shares",
                ring.name()
            );
            Class::InvalidParameter.error(message, "set TACIT_CPU to a slower path")
        })
}

/// Runs `work` without the interpreter lock.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, StreamExhaustedError> + Send,
) -> PyResult<T> {
    detached_as(py, work, |error| {
        Class::Internal.error(error.to_string(), "begin a new session")
    })
}
