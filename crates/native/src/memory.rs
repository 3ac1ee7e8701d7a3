//! Memory that outlives what it was taken for.

use pyo3::prelude::*;

/// Frees the buffers that wait for their next use, the calling thread's and those shared by all, and returns their bytes.
#[pyfunction]
pub(crate) fn release_pool(py: Python<'_>) -> usize {
    py.detach(tacit_ring::buffer::release_pool)
}
