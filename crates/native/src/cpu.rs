//! Choice of the instruction set.

use std::time::Instant;

use pyo3::prelude::*;
use tacit_ring::{CpuPath, Eval, Modulus, NttTable, Poly, ntt_primes};

use crate::error::Class;

const VARIABLE: &str = "TACIT_CPU";

/// The names of the paths that this CPU can run, slowest first.
#[pyfunction]
pub(crate) fn cpu_paths() -> Vec<&'static str> {
    CpuPath::all_available()
        .into_iter()
        .map(CpuPath::name)
        .collect()
}

/// The path that `cpu=name` stands for.
#[pyfunction]
#[pyo3(signature = (name=None))]
pub(crate) fn cpu_path(name: Option<&str>) -> PyResult<&'static str> {
    chosen(name).map(CpuPath::name)
}

/// `name`, else the environment variable, else the fastest; the first two must be known and available.
pub(crate) fn chosen(name: Option<&str>) -> PyResult<CpuPath> {
    let (source, name) = match (name, std::env::var_os(VARIABLE)) {
        (Some(name), _) => ("'cpu' parameter", name.to_owned()),
        (None, Some(value)) if !value.is_empty() => {
            (VARIABLE, value.to_string_lossy().into_owned())
        }
        (None, _) => return Ok(CpuPath::detect()),
    };
    let hint = format!("use one of: {}", cpu_paths().join(", "));
    match CpuPath::from_name(&name) {
        Some(path) if path.is_available() => Ok(path),
        Some(_) => Err(Class::InvalidParameter.error(
            format!("{source}: this CPU cannot run the '{name}' path"),
            &hint,
        )),
        None => Err(Class::InvalidParameter
            .error(format!("{source}: there is no path called '{name}'"), &hint)),
    }
}

/// One forward transform modulo a prime of `bits` bits: seconds, the best of `repeats` runs; the prime; its root of unity; and
/// a checksum of the result, the sum of (2i + 1)·out[i] modulo 2^64 for the row i·0x9e3779b97f4a7c15 modulo 2^64 and the prime.
#[pyfunction]
#[pyo3(signature = (log_n, repeats, cpu=None, *, bits=50))]
pub(crate) fn _bench_ntt(
    py: Python<'_>,
    log_n: u32,
    repeats: u32,
    cpu: Option<&str>,
    bits: u32,
) -> PyResult<(f64, u64, u64, u64)> {
    let path = chosen(cpu)?;
    crate::error::detached(py, || {
        let m = Modulus::new(ntt_primes(log_n, bits, 1, &[])?[0])?;
        let table = NttTable::new(log_n, &m)?;
        // A row as the core keeps them: it starts with a cache line.
        let mut poly = Poly::<Eval>::zeroed(table.n(), 1);
        let row = poly.row_mut(0);
        for (i, word) in (0u64..).zip(&mut *row) {
            *word = m.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        table.forward(path, row);
        let checksum = (0u64..).zip(&*row).fold(0u64, |sum, (i, &x)| {
            sum.wrapping_add((2 * i + 1).wrapping_mul(x))
        });
        let mut best = f64::INFINITY;
        for _ in 0..repeats.max(1) {
            let start = Instant::now();
            table.forward(path, row);
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok((best, m.q(), table.psi(), checksum))
    })
}
