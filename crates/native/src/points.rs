//! Module `tacit._native.points`: keys of functions of a public point that two parties evaluate to shares.

use pyo3::prelude::*;
use tacit_share::dcf::{self, Batch};

use crate::error::Class;
use crate::integers::{Count, Size};
use crate::shares::arrays::{Array, Target, Words, fresh, words_of};
use crate::shares::{detached, path};

/// The public names, in the order that the linter of the Python side wants.
const PUBLIC: [&str; 3] = ["evaluate", "generate", "key_words"];

/// Adds the module to `parent`, and to the modules that Python knows.
pub(crate) fn register(parent: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = parent.py();
    let module = PyModule::new(py, "points")?;
    module.add_function(wrap_pyfunction!(evaluate, &module)?)?;
    module.add_function(wrap_pyfunction!(generate, &module)?)?;
    module.add_function(wrap_pyfunction!(key_words, &module)?)?;
    module.setattr("__all__", PUBLIC.to_vec())?;
    parent.add_submodule(&module)?;
    // So that `import tacit._native.points` finds it.
    let known = py.import("sys")?.getattr("modules")?;
    known.set_item("tacit._native.points", module)
}

/// Words of the keys of `n` comparisons of points of `bits` bits.
#[pyfunction]
fn key_words(bits: Size, n: Count) -> PyResult<usize> {
    let Size(bits) = bits;
    checked(bits)?;
    let Count(n) = n;
    // More words than a slice can have are refused before they are counted.
    if n > isize::MAX as usize / (16 * (dcf::levels(bits) + 1)) {
        let message = format!("a count of comparisons must fit into memory; got {n}");
        return Err(Class::InvalidParameter.error(message, ""));
    }
    Ok(dcf::key_words(bits, n))
}

/// Keys of the functions (x < alpha) ^ flip of points of `bits` bits.
#[pyfunction]
fn generate<'py>(
    py: Python<'py>,
    prg_key: &[u8],
    bits: Size,
    roots: [Words<'py>; 2],
    alpha: Words<'py>,
    flips: Words<'py>,
) -> PyResult<Array<'py>> {
    let prg_key = key(prg_key)?;
    let keys = fresh(py, &[key_words(bits, Count(alpha.len()))?])?;
    for roots in &roots {
        words_of("the roots of a party", roots.len(), 2 * alpha.len())?;
    }
    words_of("'flips'", flips.len(), alpha.len().div_ceil(64))?;
    {
        let path = path()?;
        let mut target = Target::of(&keys)?;
        let (roots, out) = ([roots[0].slice(), roots[1].slice()], target.slice());
        let (alpha, flips) = (alpha.slice(), flips.slice());
        detached(py, move || {
            dcf::generate(
                path,
                &Batch {
                    bits: bits.0,
                    prg_key,
                },
                roots,
                alpha,
                flips,
                out,
            );
            Ok(())
        })?;
    }
    Ok(keys)
}

/// A party's shares of the functions at its points, one bit for each key.
#[pyfunction]
fn evaluate<'py>(
    py: Python<'py>,
    prg_key: &[u8],
    bits: Size,
    second: bool,
    roots: Words<'py>,
    keys: Words<'py>,
    points: Words<'py>,
) -> PyResult<Array<'py>> {
    let prg_key = key(prg_key)?;
    let n = points.len();
    words_of("'keys'", keys.len(), key_words(bits, Count(n))?)?;
    words_of("'roots'", roots.len(), 2 * n)?;
    let shares = fresh(py, &[n.div_ceil(64)])?;
    {
        let path = path()?;
        let mut target = Target::of(&shares)?;
        let out = target.slice();
        let (roots, keys, points) = (roots.slice(), keys.slice(), points.slice());
        detached(py, move || {
            dcf::evaluate(
                path,
                &Batch {
                    bits: bits.0,
                    prg_key,
                },
                second,
                roots,
                keys,
                points,
                out,
            );
            Ok(())
        })?;
    }
    Ok(shares)
}

fn checked(bits: u32) -> PyResult<()> {
    if bits > 64 {
        let message = format!("a point must have at most 64 bits; got {bits}");
        return Err(Class::InvalidParameter.error(message, ""));
    }
    Ok(())
}

fn key(prg_key: &[u8]) -> PyResult<[u8; 16]> {
    prg_key.try_into().map_err(|_| {
        let message = format!(
            "the 'prg_key' parameter must have 16 bytes; got {}",
            prg_key.len()
        );
        Class::InvalidParameter.error(message, "")
    })
}
