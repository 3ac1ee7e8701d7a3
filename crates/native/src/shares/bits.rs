//! Packed bits, planes and carry trees.

use std::sync::Mutex;

use pyo3::prelude::*;
use tacit_share::CpuPath;
use tacit_share::bits::{self, CarryTree};
use tacit_share::prg::StreamExhaustedError;
use tacit_share::sum::Sum;

use super::arrays::{Array, Target, Words, fresh, same_shape, words_of};
use super::random::{Parts, PyZeroSharing};
use super::terms::{Term, hold, sum, taken};
use super::{detached, path};
use crate::error::Class;
use crate::integers::{Count, Integer};

#[pyfunction]
pub(crate) fn plane_words(n: Count) -> usize {
    bits::plane_words(n.0)
}

#[pyfunction]
#[pyo3(signature = (x, width, *, plus=None))]
pub(crate) fn to_planes<'py>(
    py: Python<'py>,
    x: Words<'py>,
    width: Integer,
    plus: Option<Words<'py>>,
) -> PyResult<Array<'py>> {
    let (path, width) = (path()?, width_of(width)?);
    if let Some(plus) = &plus {
        same_shape("summands", x.shape(), plus.shape())?;
    }
    let out = fresh(py, &[width, bits::plane_words(x.len())])?;
    let mut target = Target::of(&out)?;
    let (planes, x, plus) = (target.slice(), x.slice(), plus.as_ref().map(Words::slice));
    detached(py, || {
        bits::to_planes(path, planes, x, plus);
        Ok(())
    })?;
    drop(target);
    Ok(out)
}

#[pyfunction]
pub(crate) fn from_planes<'py>(
    py: Python<'py>,
    planes: Words<'py>,
    n: Count,
) -> PyResult<Array<'py>> {
    let path = path()?;
    let wanted = bits::plane_words(n.0);
    match planes.shape() {
        [width, words] if *width <= 64 && *words == wanted => {}
        other => {
            let message = format!(
                "planes of {} numbers must be of shape (width, {wanted}), width at most 64; got {other:?}",
                n.0
            );
            return Err(Class::Shape.error(message, ""));
        }
    }
    let out = fresh(py, &[n.0])?;
    let mut target = Target::of(&out)?;
    let (words, planes) = (target.slice(), planes.slice());
    detached(py, || {
        bits::from_planes(path, words, planes);
        Ok(())
    })?;
    drop(target);
    Ok(out)
}

#[pyfunction]
pub(crate) fn pack<'py>(py: Python<'py>, x: Words<'py>) -> PyResult<Array<'py>> {
    let path = path()?;
    let out = fresh(py, &[bits::plane_words(x.len())])?;
    let mut target = Target::of(&out)?;
    let (packed, x) = (target.slice(), x.slice());
    detached(py, || {
        bits::pack(path, packed, x);
        Ok(())
    })?;
    drop(target);
    Ok(out)
}

#[pyfunction]
#[pyo3(signature = (bits, n, *, add=Vec::new(), subtract=Vec::new()), text_signature = "(bits, n, *, add=(), subtract=())")]
pub(crate) fn unpack<'py>(
    py: Python<'py>,
    bits: Words<'py>,
    n: Count,
    add: Vec<Term<'py>>,
    subtract: Vec<Term<'py>>,
) -> PyResult<Array<'py>> {
    let packed = bits.slice();
    each(py, packed, &[n.0], &add, &subtract, |path, out, sum| {
        bits::unpack(path, out, packed, sum)
    })
}

#[pyfunction]
#[pyo3(signature = (bits, x, *, add=Vec::new(), subtract=Vec::new()), text_signature = "(bits, x, *, add=(), subtract=())")]
pub(crate) fn chosen<'py>(
    py: Python<'py>,
    bits: Words<'py>,
    x: Words<'py>,
    add: Vec<Term<'py>>,
    subtract: Vec<Term<'py>>,
) -> PyResult<Array<'py>> {
    let (packed, words) = (bits.slice(), x.slice());
    each(py, packed, x.shape(), &add, &subtract, |path, out, sum| {
        bits::choose(path, out, packed, words, sum)
    })
}

#[pyfunction]
#[pyo3(signature = (bits, x, *, add=Vec::new(), subtract=Vec::new()), text_signature = "(bits, x, *, add=(), subtract=())")]
pub(crate) fn turned<'py>(
    py: Python<'py>,
    bits: Words<'py>,
    x: Words<'py>,
    add: Vec<Term<'py>>,
    subtract: Vec<Term<'py>>,
) -> PyResult<Array<'py>> {
    let (packed, words) = (bits.slice(), x.slice());
    each(py, packed, x.shape(), &add, &subtract, |path, out, sum| {
        bits::turn(path, out, packed, words, sum)
    })
}

/// A new array of `shape`, a bit for each word, written by `work`.
fn each<'py>(
    py: Python<'py>,
    packed: &[u64],
    shape: &[usize],
    add: &[Term<'py>],
    subtract: &[Term<'py>],
    work: impl FnOnce(CpuPath, &mut [u64], &mut Sum<'_>) -> Result<(), StreamExhaustedError> + Send,
) -> PyResult<Array<'py>> {
    let (path, n) = (path()?, shape.iter().product());
    words_of("packed bits", packed.len(), bits::plane_words(n))?;
    let out = fresh(py, shape)?;
    let mut target = Target::of(&out)?;
    let (mut plus, mut minus) = (hold(add, n)?, hold(subtract, n)?);
    let (mut sum, words) = (sum(0, &mut plus, &mut minus), target.slice());
    detached(py, || work(path, words, &mut sum))?;
    drop(target);
    Ok(out)
}

fn width_of(Integer(width): Integer) -> PyResult<usize> {
    match usize::try_from(width) {
        Ok(bits @ 1..=64) => Ok(bits),
        _ => {
            let message = format!("the 'width' parameter must be between 1 and 64; got {width}");
            Err(Class::InvalidParameter.error(message, ""))
        }
    }
}

#[pyclass(frozen, name = "CarryTree", module = "tacit._native.shares")]
pub(crate) struct PyCarryTree {
    /// `None` once it is finished.
    tree: Mutex<Option<CarryTree>>,
}

#[pymethods]
impl PyCarryTree {
    #[new]
    fn new(py: Python<'_>, n: Count, width: Integer, a: Parts<'_>, b: Parts<'_>) -> PyResult<Self> {
        let (path, width) = (path()?, width_of(width)?);
        for part in [&a.0, &a.1, &b.0, &b.1] {
            let wanted = [width, bits::plane_words(n.0)];
            same_shape(
                "the planes of a carry tree and those of its numbers",
                &wanted,
                part.shape(),
            )?;
        }
        let (a, b) = (super::random::slices(&a), super::random::slices(&b));
        let tree = detached(py, || {
            let [a, b] = [a, b].map(|parts| parts.map(<[u64]>::to_vec));
            Ok(CarryTree::new(path, n.0, width, a, b))
        })?;
        let tree = Mutex::new(Some(tree));
        Ok(Self { tree })
    }

    #[staticmethod]
    fn products(width: Integer) -> PyResult<Vec<usize>> {
        Ok(CarryTree::products(width_of(width)?))
    }

    #[getter]
    fn is_done(&self) -> PyResult<bool> {
        let mut guard = taken(&self.tree)?;
        Ok(going(&mut guard)?.is_done())
    }

    fn message<'py>(
        &self,
        py: Python<'py>,
        zero: &Bound<'py, PyZeroSharing>,
    ) -> PyResult<Array<'py>> {
        let path = path()?;
        let mut guard = taken(&self.tree)?;
        let tree = waiting(&mut guard)?;
        let out = fresh(py, &[tree.message_words()])?;
        let mut target = Target::of(&out)?;
        let mut zero = taken(&zero.get().zero)?;
        let (zero, message) = (&mut *zero, target.slice());
        detached(py, || tree.message(path, zero, message))?;
        drop(target);
        Ok(out)
    }

    fn receive(&self, py: Python<'_>, sent: Words<'_>, received: Words<'_>) -> PyResult<()> {
        let path = path()?;
        let mut guard = taken(&self.tree)?;
        let tree = waiting(&mut guard)?;
        for message in [&sent, &received] {
            words_of(
                "a message of this round",
                message.len(),
                tree.message_words(),
            )?;
        }
        let (sent, received) = (sent.slice(), received.slice());
        detached(py, || {
            tree.receive(path, sent, received);
            Ok(())
        })
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<(Array<'py>, Array<'py>)> {
        let path = path()?;
        let mut guard = taken(&self.tree)?;
        if !going(&mut guard)?.is_done() {
            return Err(Class::Usage.error("a carry tree is finished before its last round", ""));
        }
        let Some(tree) = guard.take() else {
            return Err(finished());
        };
        let parts = detached(py, || Ok(tree.finish(path)))?;
        let [first, second] = parts.map(|part| {
            let out = fresh(py, &[part.len()])?;
            Target::of(&out)?.slice().copy_from_slice(&part);
            Ok::<_, PyErr>(out)
        });
        Ok((first?, second?))
    }

    fn __repr__(&self) -> &'static str {
        "<CarryTree>"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(Class::Usage.error(
            "a carry tree is neither copied nor pickled",
            "it belongs to its rounds",
        ))
    }
}

fn going(tree: &mut Option<CarryTree>) -> PyResult<&mut CarryTree> {
    tree.as_mut().ok_or_else(finished)
}

/// A tree with a round to come.
fn waiting(tree: &mut Option<CarryTree>) -> PyResult<&mut CarryTree> {
    let tree = going(tree)?;
    if tree.is_done() {
        return Err(Class::Usage.error("a carry tree has no further round", "use finish"));
    }
    Ok(tree)
}

fn finished() -> PyErr {
    Class::Usage.error("a carry tree is used after it was finished", "")
}
