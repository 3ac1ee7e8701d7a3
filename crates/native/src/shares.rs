//! Module `tacit._native.shares`: what a party of a protocol on shares modulo `2^64` computes by itself.

pub(crate) mod arrays;
mod bits;
mod convolutions;
mod elements;
mod matrices;
mod random;
mod replicated;
mod terms;

use pyo3::prelude::*;
use tacit_share::CpuPath;
use tacit_share::prg::StreamExhaustedError;

use crate::error::{Class, detached_as};

/// The public names, in the order that the linter of the Python side wants.
const PUBLIC: [&str; 29] = [
    "CarryTree",
    "Stream",
    "ZeroSharing",
    "add_up",
    "carry_deal",
    "carry_next",
    "carry_products",
    "carry_values",
    "choice_bit",
    "choice_deal",
    "choice_part",
    "chosen",
    "convolve",
    "field_words",
    "from_planes",
    "mask_parts",
    "matmul",
    "pack",
    "plane_words",
    "product",
    "quotient",
    "quotient_finish",
    "quotient_first",
    "quotient_helper",
    "quotient_second",
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
    module.add_function(wrap_pyfunction!(convolutions::convolve, &module)?)?;
    module.add_function(wrap_pyfunction!(matrices::matmul, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::carry_deal, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::carry_next, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::carry_products, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::carry_values, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::choice_bit, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::choice_deal, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::choice_part, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::field_words, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::quotient_finish, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::quotient_first, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::quotient_helper, &module)?)?;
    module.add_function(wrap_pyfunction!(replicated::quotient_second, &module)?)?;
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
