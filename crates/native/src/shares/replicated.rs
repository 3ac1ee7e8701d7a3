//! The local steps of `replicated3`, with the masks that they take from streams.

use pyo3::prelude::*;
use tacit_share::bits::plane_words;
use tacit_share::replicated::{carries, choice, quotient};
use tacit_share::trunc::MAX_BITS;

use super::arrays::{Array, Target, Words, fresh, words_of};
use super::random::{PyStream, slices};
use super::terms::taken;
use super::{detached, path};
use crate::error::Class;
use crate::integers::{Count, Integer};

type Pair<'py> = (Array<'py>, Array<'py>);

fn cut_of(Integer(cut): Integer) -> PyResult<u32> {
    match u32::try_from(cut) {
        Ok(bits @ 1..=MAX_BITS) => Ok(bits),
        _ => {
            let message =
                format!("the 'cut' parameter must be between 1 and {MAX_BITS}; got {cut}");
            Err(Class::InvalidParameter.error(message, ""))
        }
    }
}

/// Groups of bits, as `carries::rows` wants them, and the rows.
fn groups_of(sizes: &[Count]) -> PyResult<(Vec<usize>, usize, usize)> {
    let sizes: Vec<usize> = sizes.iter().map(|size| size.0).collect();
    let fit = sizes
        .iter()
        .all(|size| (1..=carries::MAX_GROUP).contains(size));
    if sizes.is_empty() || sizes.len() > 63 || !fit || sizes.iter().sum::<usize>() > 63 {
        let message = format!("groups must have 1 to 4 bits each and 63 in all; got {sizes:?}");
        return Err(Class::InvalidParameter.error(message, ""));
    }
    let (dealt, values) = carries::rows(&sizes);
    Ok((sizes, dealt, values))
}

/// Both components of a result, for the caller's arrays: its own and the following one.
fn components<'a>(out: &'a mut (Target<'_>, Target<'_>), n: usize) -> PyResult<[&'a mut [u64]; 2]> {
    let (own, following) = (out.0.slice(), out.1.slice());
    words_of("the first of 'out'", own.len(), n)?;
    words_of("the second of 'out'", following.len(), n)?;
    Ok([own, following])
}

fn pairs_of(groups: Count) -> PyResult<usize> {
    match groups.0 {
        groups @ 2..=63 => Ok(groups),
        other => {
            let message = format!("the 'groups' parameter must be between 2 and 63; got {other}");
            Err(Class::InvalidParameter.error(message, ""))
        }
    }
}

#[pyfunction]
pub(super) fn field_words(n: Count, cut: Integer) -> PyResult<usize> {
    Ok(quotient::field_words(n.0, cut_of(cut)?))
}

#[pyfunction]
pub(super) fn quotient_helper<'py>(
    py: Python<'py>,
    part: Words<'py>,
    cut: Integer,
    own: &Bound<'py, PyStream>,
    following: &Bound<'py, PyStream>,
    mut out: (Target<'py>, Target<'py>),
) -> PyResult<Pair<'py>> {
    let (path, cut, n) = (path()?, cut_of(cut)?, part.len());
    let mine = components(&mut out, n)?;
    let results = (
        fresh(py, &[n])?,
        fresh(py, &[quotient::field_words(n, cut)])?,
    );
    let (mut rest, mut tops) = (Target::of(&results.0)?, Target::of(&results.1)?);
    let mut own = taken(&own.get().stream)?;
    let mut following = taken(&following.get().stream)?;
    let (own, following, part) = (&mut *own, &mut *following, part.slice());
    let (rest_words, tops_words) = (rest.slice(), tops.slice());
    detached(py, || {
        quotient::helper(
            path, cut, part, own, following, rest_words, tops_words, mine,
        )
    })?;
    drop((rest, tops));
    Ok(results)
}

#[pyfunction]
pub(super) fn quotient_first<'py>(
    py: Python<'py>,
    part: Words<'py>,
    other: Words<'py>,
    cut: Integer,
    own: &Bound<'py, PyStream>,
    mut out: (Target<'py>, Target<'py>),
) -> PyResult<Array<'py>> {
    let (path, cut, n) = (path()?, cut_of(cut)?, part.len());
    words_of("the part of position 1", other.len(), n)?;
    let [base, public] = components(&mut out, n)?;
    let result = fresh(py, &[quotient::field_words(n, cut)])?;
    let mut turned = Target::of(&result)?;
    let mut own = taken(&own.get().stream)?;
    let (own, part, other) = (&mut *own, part.slice(), other.slice());
    let turned_words = turned.slice();
    detached(py, || {
        quotient::first(path, cut, part, other, own, turned_words, base, public)
    })?;
    drop(turned);
    Ok(result)
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "four messages and parts")]
pub(super) fn quotient_second<'py>(
    py: Python<'py>,
    part: Words<'py>,
    other: Words<'py>,
    rest: Words<'py>,
    tops: Words<'py>,
    cut: Integer,
    following: &Bound<'py, PyStream>,
    mut out: (Target<'py>, Target<'py>),
) -> PyResult<Array<'py>> {
    let (path, cut, n) = (path()?, cut_of(cut)?, part.len());
    let fields = quotient::field_words(n, cut);
    words_of("the part of position 0", other.len(), n)?;
    words_of("the rest of position 2", rest.len(), n)?;
    words_of("the top bits of position 2", tops.len(), fields)?;
    let [public, masked] = components(&mut out, n)?;
    let result = fresh(py, &[fields])?;
    let mut turned = Target::of(&result)?;
    let mut following = taken(&following.get().stream)?;
    let (following, part, other) = (&mut *following, part.slice(), other.slice());
    let (rest, tops, turned_words) = (rest.slice(), tops.slice(), turned.slice());
    detached(py, || {
        quotient::second(
            path,
            cut,
            part,
            other,
            rest,
            tops,
            following,
            turned_words,
            public,
            masked,
        )
    })?;
    drop(turned);
    Ok(result)
}

#[pyfunction]
pub(super) fn quotient_finish<'py>(
    py: Python<'py>,
    public: Bound<'py, PyAny>,
    sent: Words<'py>,
    received: Words<'py>,
    cut: Integer,
) -> PyResult<()> {
    let (path, cut) = (path()?, cut_of(cut)?);
    let mut public: Target<'py> = public.extract()?;
    let public = public.slice();
    let fields = quotient::field_words(public.len(), cut);
    words_of("the fields that were sent", sent.len(), fields)?;
    words_of("the fields that were received", received.len(), fields)?;
    let (sent, received) = (sent.slice(), received.slice());
    detached(py, || {
        quotient::finish(path, cut, public, sent, received);
        Ok(())
    })
}

#[pyfunction]
pub(super) fn carry_deal<'py>(
    py: Python<'py>,
    x: (Words<'py>, Words<'py>),
    sizes: Vec<Count>,
    mask: &Bound<'py, PyStream>,
) -> PyResult<Pair<'py>> {
    let (path, n) = (path()?, x.0.len());
    words_of("the second component", x.1.len(), n)?;
    let (sizes, dealt, _) = groups_of(&sizes)?;
    let words = plane_words(n);
    let results = (fresh(py, &[dealt * words])?, fresh(py, &[words])?);
    let (mut out, mut top) = (Target::of(&results.0)?, Target::of(&results.1)?);
    let mut mask = taken(&mask.get().stream)?;
    let (mask, x, out_words, top_words) = (&mut *mask, slices(&x), out.slice(), top.slice());
    detached(py, || {
        carries::deal(path, &sizes, x, out_words, top_words);
        mask.xor_to(out_words)
    })?;
    drop((out, top));
    Ok(results)
}

#[pyfunction]
pub(super) fn carry_values<'py>(
    py: Python<'py>,
    b: Words<'py>,
    dealt: Words<'py>,
    sizes: Vec<Count>,
    constant: bool,
) -> PyResult<Pair<'py>> {
    let path = path()?;
    let (sizes, given, values) = groups_of(&sizes)?;
    let words = plane_words(b.len());
    words_of("what was dealt", dealt.len(), given * words)?;
    let results = (fresh(py, &[values * words])?, fresh(py, &[words])?);
    let (mut out, mut top) = (Target::of(&results.0)?, Target::of(&results.1)?);
    let (b, dealt, out_words, top_words) = (b.slice(), dealt.slice(), out.slice(), top.slice());
    detached(py, || {
        carries::values(path, &sizes, b, dealt, constant, out_words, top_words);
        Ok(())
    })?;
    drop((out, top));
    Ok(results)
}

#[pyfunction]
pub(super) fn carry_products<'py>(
    py: Python<'py>,
    values: (Words<'py>, Words<'py>),
    groups: Count,
    own: &Bound<'py, PyStream>,
    following: &Bound<'py, PyStream>,
) -> PyResult<Array<'py>> {
    let (path, groups) = (path()?, pairs_of(groups)?);
    let words = values.0.len() / (2 * groups - 1);
    for part in [&values.0, &values.1] {
        words_of(
            "a component of the values",
            part.len(),
            words * (2 * groups - 1),
        )?;
    }
    let out = fresh(py, &[words * (2 * (groups / 2) - 1)])?;
    let mut target = Target::of(&out)?;
    let mut own = taken(&own.get().stream)?;
    let mut following = taken(&following.get().stream)?;
    let (own, following) = (&mut *own, &mut *following);
    let ([first, second], out_words) = (slices(&values), target.slice());
    detached(py, || {
        carries::products(path, groups, first, second, words, out_words);
        own.xor_to(out_words)?;
        following.xor_to(out_words)
    })?;
    drop(target);
    Ok(out)
}

#[pyfunction]
pub(super) fn carry_next<'py>(
    py: Python<'py>,
    values: Words<'py>,
    products: Words<'py>,
    groups: Count,
) -> PyResult<Array<'py>> {
    let (path, groups) = (path()?, pairs_of(groups)?);
    let (pairs, words) = (groups / 2, values.len() / (2 * groups - 1));
    words_of(
        "a component of the values",
        values.len(),
        words * (2 * groups - 1),
    )?;
    words_of(
        "a component of the products",
        products.len(),
        words * (2 * pairs - 1),
    )?;
    let out = fresh(py, &[words * (2 * (groups - pairs) - 1)])?;
    let mut target = Target::of(&out)?;
    let (values, products, out_words) = (values.slice(), products.slice(), target.slice());
    detached(py, || {
        carries::next(path, groups, values, products, words, out_words);
        Ok(())
    })?;
    drop(target);
    Ok(out)
}

#[pyfunction]
#[pyo3(signature = (choice, n, x, mask))]
pub(super) fn choice_deal<'py>(
    py: Python<'py>,
    choice: Words<'py>,
    n: Count,
    x: Option<(Words<'py>, Words<'py>)>,
    mask: &Bound<'py, PyStream>,
) -> PyResult<Array<'py>> {
    let (path, n) = (path()?, n.0);
    words_of("packed bits", choice.len(), plane_words(n))?;
    for part in x.iter().flat_map(|x| [&x.0, &x.1]) {
        words_of("a component", part.len(), n)?;
    }
    let out = fresh(py, &[if x.is_some() { 2 * n } else { n }])?;
    let mut target = Target::of(&out)?;
    let mut mask = taken(&mask.get().stream)?;
    let (mask, choice, x) = (&mut *mask, choice.slice(), x.as_ref().map(slices));
    let out_words = target.slice();
    detached(py, || choice::deal(path, choice, x, mask, out_words))?;
    drop(target);
    Ok(out)
}

#[pyfunction]
pub(super) fn choice_part<'py>(
    py: Python<'py>,
    turn: Words<'py>,
    dealt: Words<'py>,
    common: Words<'py>,
    extra: Vec<Words<'py>>,
    mask: &Bound<'py, PyStream>,
    mut masks: Target<'py>,
) -> PyResult<Array<'py>> {
    let (path, n) = (path()?, common.len());
    words_of("packed bits", turn.len(), plane_words(n))?;
    words_of("what was dealt", dealt.len(), 2 * n)?;
    words_of("the array of masks", masks.slice().len(), n)?;
    for extra in &extra {
        words_of("a summand", extra.len(), n)?;
    }
    let result = fresh(py, &[n])?;
    let mut target = Target::of(&result)?;
    let mut mask = taken(&mask.get().stream)?;
    let (mask, turn, dealt) = (&mut *mask, turn.slice(), dealt.slice());
    let extra: Vec<&[u64]> = extra.iter().map(Words::slice).collect();
    let (common, out_words, mask_words) = (common.slice(), target.slice(), masks.slice());
    detached(py, || {
        choice::part(
            path, turn, dealt, common, &extra, mask, mask_words, out_words,
        )
    })?;
    drop(target);
    Ok(result)
}

#[pyfunction]
pub(super) fn choice_bit<'py>(
    py: Python<'py>,
    turn: Words<'py>,
    dealt: Words<'py>,
    constant: bool,
    mask: &Bound<'py, PyStream>,
    mut masks: Target<'py>,
) -> PyResult<Array<'py>> {
    let (path, n) = (path()?, dealt.len());
    words_of("packed bits", turn.len(), plane_words(n))?;
    words_of("the array of masks", masks.slice().len(), n)?;
    let result = fresh(py, &[n])?;
    let mut target = Target::of(&result)?;
    let mut mask = taken(&mask.get().stream)?;
    let (mask, turn, dealt) = (&mut *mask, turn.slice(), dealt.slice());
    let (out_words, mask_words) = (target.slice(), masks.slice());
    detached(py, || {
        choice::bit_part(path, turn, dealt, constant, mask, mask_words, out_words)
    })?;
    drop(target);
    Ok(result)
}
