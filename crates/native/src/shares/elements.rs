//! Sums, products and truncations of words, one by one.

use pyo3::prelude::*;
use tacit_share::sum::Sum;
use tacit_share::{product as words_product, sum as sums, trunc};

use super::arrays::{Array, Target, Words, fresh, result, same_shape};
use super::terms::{Held, Term, hold, sum, summands};
use super::{detached, path};
use crate::error::Class;
use crate::integers::{Count, Integer, Word};

/// The shape of the result of a sum: that of the first array, else `(n,)`.
fn shape_of<'a>(
    terms: impl Iterator<Item = &'a Term<'a>>,
    n: Option<usize>,
) -> PyResult<Vec<usize>> {
    let mut arrays = terms.filter_map(|term| match term {
        Term::Words(words) => Some(words.shape()),
        _ => None,
    });
    let shape = match (arrays.next(), n) {
        (Some(first), _) => first.to_vec(),
        (None, Some(n)) => return Ok(vec![n]),
        (None, None) => {
            return Err(Class::InvalidParameter.error(
                "a sum of streams alone has no length",
                "give 'n', the words of the result",
            ));
        }
    };
    arrays.try_for_each(|other| same_shape("the arrays of a sum", &shape, other))?;
    Ok(shape)
}

#[pyfunction]
#[pyo3(signature = (add, subtract=Vec::new(), *, constant=Word(0), n=None, out=None), text_signature = "(add, subtract=(), *, constant=0, n=None, out=None)")]
pub(crate) fn add_up<'py>(
    py: Python<'py>,
    add: Vec<Term<'py>>,
    subtract: Vec<Term<'py>>,
    constant: Word,
    n: Option<Count>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Array<'py>> {
    let path = path()?;
    let shape = shape_of(add.iter().chain(&subtract), n.map(|n| n.0))?;
    let words = shape.iter().product();
    let out = result(py, out, &shape)?;
    let mut target = Target::of(&out)?;
    let (mut plus, mut minus) = (hold(&add, words)?, hold(&subtract, words)?);
    let (mut sum, words) = (sum(constant.0, &mut plus, &mut minus), target.slice());
    detached(py, || sums::add_up(path, words, &mut sum))?;
    drop(target);
    Ok(out)
}

#[pyfunction]
#[pyo3(signature = (terms, *, flip=false, n=None, out=None))]
pub(crate) fn xor_up<'py>(
    py: Python<'py>,
    terms: Vec<Term<'py>>,
    flip: bool,
    n: Option<Count>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Array<'py>> {
    let path = path()?;
    let shape = shape_of(terms.iter(), n.map(|n| n.0))?;
    let words = shape.iter().product();
    let out = result(py, out, &shape)?;
    let mut target = Target::of(&out)?;
    let mut held = hold(&terms, words)?;
    let (mut summands, words) = (summands(&mut held), target.slice());
    detached(py, || sums::xor_up(path, words, &mut summands, flip))?;
    drop(target);
    Ok(out)
}

#[pyfunction]
#[pyo3(signature = (x, y, *, add=Vec::new(), subtract=Vec::new(), constant=Word(0), out=None), text_signature = "(x, y, *, add=(), subtract=(), constant=0, out=None)")]
pub(crate) fn product<'py>(
    py: Python<'py>,
    x: Words<'py>,
    y: Words<'py>,
    add: Vec<Term<'py>>,
    subtract: Vec<Term<'py>>,
    constant: Word,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Array<'py>> {
    same_shape("factors", x.shape(), y.shape())?;
    let path = path()?;
    let out = result(py, out, x.shape())?;
    let mut target = Target::of(&out)?;
    let (mut plus, mut minus) = (hold(&add, x.len())?, hold(&subtract, x.len())?);
    let mut sum = sum(constant.0, &mut plus, &mut minus);
    let (words, x, y) = (target.slice(), x.slice(), y.slice());
    detached(py, || words_product::product(path, words, x, y, &mut sum))?;
    drop(target);
    Ok(out)
}

#[pyfunction]
#[pyo3(signature = (mask, cut, *, n, subtract_high=Vec::new(), subtract_top=Vec::new()), text_signature = "(mask, cut, *, n, subtract_high=(), subtract_top=())")]
pub(crate) fn mask_parts<'py>(
    py: Python<'py>,
    mask: Vec<Term<'py>>,
    cut: Integer,
    n: Count,
    subtract_high: Vec<Term<'py>>,
    subtract_top: Vec<Term<'py>>,
) -> PyResult<(Array<'py>, Array<'py>)> {
    let (path, cut, n) = (path()?, bits_cut(cut)?, n.0);
    let (high, top) = (fresh(py, &[n])?, fresh(py, &[n])?);
    let mut targets = (Target::of(&high)?, Target::of(&top)?);
    let mut held = [
        hold(&mask, n)?,
        hold(&subtract_high, n)?,
        hold(&subtract_top, n)?,
    ];
    let [mask, minus_high, minus_top] = held.each_mut().map(|held| summands(held));
    let mut mask = Sum::of(mask);
    let [mut high_sum, mut top_sum] = [minus_high, minus_top].map(|minus| Sum {
        minus,
        ..Sum::default()
    });
    let parts = [targets.0.slice(), targets.1.slice()];
    detached(py, || {
        trunc::mask_parts_and(path, parts, &mut mask, cut, [&mut high_sum, &mut top_sum])
    })?;
    drop(targets);
    Ok((high, top))
}

#[pyfunction]
#[pyo3(signature = (opened, high, top, cut, *, first, add=Vec::new(), subtract=Vec::new(), out=None), text_signature = "(opened, high, top, cut, *, first, add=(), subtract=(), out=None)")]
#[expect(clippy::too_many_arguments, reason = "the signature of Python")]
pub(crate) fn quotient<'py>(
    py: Python<'py>,
    opened: Vec<Term<'py>>,
    high: Term<'py>,
    top: Term<'py>,
    cut: Integer,
    first: bool,
    add: Vec<Term<'py>>,
    subtract: Vec<Term<'py>>,
    out: Option<Bound<'py, PyAny>>,
) -> PyResult<Array<'py>> {
    let (path, cut) = (path()?, bits_cut(cut)?);
    let shape = shape_of(opened.iter(), None)?;
    let words = shape.iter().product();
    let out = result(py, out, &shape)?;
    let mut target = Target::of(&out)?;
    let mut opened = hold(&opened, words)?;
    let mut parts: [Held<'_>; 2] = [high.hold(words)?, top.hold(words)?];
    let (mut plus, mut minus) = (hold(&add, words)?, hold(&subtract, words)?);
    let mut opened = Sum::of(summands(&mut opened));
    let [mut high, mut top] = parts.each_mut().map(Held::summand);
    let (mut sum, words) = (sum(0, &mut plus, &mut minus), target.slice());
    detached(py, || {
        trunc::quotient_and(
            path,
            words,
            &mut opened,
            &mut high,
            &mut top,
            cut,
            first,
            &mut sum,
        )
    })?;
    drop(target);
    Ok(out)
}

/// Bits that a truncation may cut off.
fn bits_cut(Integer(cut): Integer) -> PyResult<u32> {
    match u32::try_from(cut) {
        Ok(bits @ 1..=trunc::MAX_BITS) => Ok(bits),
        _ => {
            let message = format!(
                "the 'cut' parameter must be between 1 and {}; got {cut}",
                trunc::MAX_BITS
            );
            Err(Class::InvalidParameter.error(message, ""))
        }
    }
}
