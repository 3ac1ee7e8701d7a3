//! Streams of random words and shares of zero.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tacit_share::bits::replicated_and;
use tacit_share::conv;
use tacit_share::gemm;
use tacit_share::prg::{Stream, ZeroSharing};
use tacit_share::product;
use tacit_share::sum::Summand;
use zeroize::Zeroizing;

use super::arrays::{Array, Target, Words, fresh, result, same_shape};
use super::convolutions::{NO_PADS, ONES, Placement};
use super::matrices::{Batches, pairs_of_parts};
use super::terms::{Term, hold, sum, taken};
use super::{detached, path};
use crate::error::Class;
use crate::integers::{Count, Word};

/// Two parts of replicated shares.
pub(crate) type Parts<'py> = (Words<'py>, Words<'py>);

#[pyclass(frozen, name = "Stream", module = "tacit._native.shares")]
pub(crate) struct PyStream {
    pub(crate) stream: Mutex<Stream>,
}

#[pymethods]
impl PyStream {
    #[new]
    fn new(seed: &Bound<'_, PyBytes>, number: Word) -> PyResult<Self> {
        let stream = Mutex::new(Stream::new(path()?, &*seed_of(seed)?, number.0));
        Ok(Self { stream })
    }

    fn fill(&self, py: Python<'_>, mut out: Target<'_>) -> PyResult<()> {
        let mut stream = taken(&self.stream)?;
        let (stream, out) = (&mut *stream, out.slice());
        detached(py, || stream.fill(out))
    }

    fn add_to(&self, py: Python<'_>, mut into: Target<'_>) -> PyResult<()> {
        let mut stream = taken(&self.stream)?;
        let (stream, into) = (&mut *stream, into.slice());
        detached(py, || stream.add_to(into))
    }

    fn subtract_from(&self, py: Python<'_>, mut into: Target<'_>) -> PyResult<()> {
        let mut stream = taken(&self.stream)?;
        let (stream, into) = (&mut *stream, into.slice());
        detached(py, || stream.subtract_from(into))
    }

    fn xor_to(&self, py: Python<'_>, mut into: Target<'_>) -> PyResult<()> {
        let mut stream = taken(&self.stream)?;
        let (stream, into) = (&mut *stream, into.slice());
        detached(py, || stream.xor_to(into))
    }

    fn words<'py>(&self, py: Python<'py>, n: Count) -> PyResult<Array<'py>> {
        let out = fresh(py, &[n.0])?;
        self.fill(py, Target::of(&out)?)?;
        Ok(out)
    }

    fn __repr__(&self) -> &'static str {
        "<Stream>"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(moves_forward())
    }
}

#[pyclass(frozen, name = "ZeroSharing", module = "tacit._native.shares")]
pub(crate) struct PyZeroSharing {
    pub(crate) zero: Mutex<ZeroSharing>,
}

#[pymethods]
impl PyZeroSharing {
    #[new]
    fn new(own: &Bound<'_, PyBytes>, next: &Bound<'_, PyBytes>, number: Word) -> PyResult<Self> {
        let (own, next) = (seed_of(own)?, seed_of(next)?);
        let zero = Mutex::new(ZeroSharing::new(path()?, &own, &next, number.0));
        Ok(Self { zero })
    }

    fn add_to(&self, py: Python<'_>, mut into: Target<'_>) -> PyResult<()> {
        let mut zero = taken(&self.zero)?;
        let (zero, into) = (&mut *zero, into.slice());
        detached(py, || zero.add_to(into))
    }

    fn xor_to(&self, py: Python<'_>, mut into: Target<'_>) -> PyResult<()> {
        let mut zero = taken(&self.zero)?;
        let (zero, into) = (&mut *zero, into.slice());
        detached(py, || zero.xor_to(into))
    }

    fn random<'py>(&self, py: Python<'py>, n: Count) -> PyResult<(Array<'py>, Array<'py>)> {
        let (own, next) = (fresh(py, &[n.0])?, fresh(py, &[n.0])?);
        let mut zero = taken(&self.zero)?;
        let mut targets = (Target::of(&own)?, Target::of(&next)?);
        let (zero, parts) = (&mut *zero, [targets.0.slice(), targets.1.slice()]);
        detached(py, || zero.random(parts))?;
        drop(targets);
        Ok((own, next))
    }

    #[pyo3(signature = (x, y, *, add=Vec::new(), subtract=Vec::new(), constant=Word(0), out=None), text_signature = "($self, x, y, *, add=(), subtract=(), constant=0, out=None)")]
    #[expect(clippy::too_many_arguments, reason = "the signature of Python")]
    fn product<'py>(
        &self,
        py: Python<'py>,
        x: Parts<'py>,
        y: Parts<'py>,
        add: Vec<Term<'py>>,
        subtract: Vec<Term<'py>>,
        constant: Word,
        out: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Array<'py>> {
        for part in [&x.1, &y.0, &y.1] {
            same_shape("parts of factors", x.0.shape(), part.shape())?;
        }
        let (path, n) = (path()?, x.0.len());
        let out = result(py, out, x.0.shape())?;
        let mut target = Target::of(&out)?;
        let mut zero = taken(&self.zero)?;
        let (mut plus, mut minus) = (hold(&add, n)?, hold(&subtract, n)?);
        let mut sum = sum(constant.0, &mut plus, &mut minus);
        sum.plus.push(Summand::Zero(&mut zero));
        let (words, x, y) = (target.slice(), slices(&x), slices(&y));
        detached(py, move || {
            product::replicated_product(path, words, x, y, &mut sum)
        })?;
        drop(target);
        Ok(out)
    }

    #[pyo3(signature = (x, y, *, threads=1))]
    fn matmul<'py>(
        &self,
        py: Python<'py>,
        x: Parts<'py>,
        y: Parts<'py>,
        threads: i64,
    ) -> PyResult<Array<'py>> {
        pairs_of_parts(&x, &y)?;
        let (path, team) = (path()?, crate::threads::team(threads)?);
        let batches = Batches::of(x.0.shape(), y.0.shape())?;
        let out = fresh(py, batches.shape())?;
        let mut target = Target::of(&out)?;
        let mut zero = taken(&self.zero)?;
        let (zero, words, x, y) = (&mut *zero, target.slice(), slices(&x), slices(&y));
        detached(py, || {
            batches.each(words, |out, shape, left, right| {
                let x = x.map(|x| &x[left..][..shape.rows * shape.depth]);
                let y = y.map(|y| &y[right..][..shape.depth * shape.columns]);
                gemm::replicated_product(path, team.as_deref(), out, shape, x, y);
            });
            zero.add_to(words)
        })?;
        drop(target);
        Ok(out)
    }

    #[pyo3(
        signature = (x, kernel, *, strides=ONES, pads=NO_PADS, dilations=ONES, group=Count(1), threads=1),
        text_signature = "($self, x, kernel, *, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1, threads=1)"
    )]
    #[expect(clippy::too_many_arguments, reason = "the signature of Python")]
    fn convolve<'py>(
        &self,
        py: Python<'py>,
        x: Parts<'py>,
        kernel: Parts<'py>,
        strides: (Count, Count),
        pads: (Count, Count, Count, Count),
        dilations: (Count, Count),
        group: Count,
        threads: i64,
    ) -> PyResult<Array<'py>> {
        pairs_of_parts(&x, &kernel)?;
        let placement = Placement {
            strides,
            pads,
            dilations,
            group,
        };
        let (path, team) = (path()?, crate::threads::team(threads)?);
        let (sizes, shape) = placement.sizes(x.0.shape(), kernel.0.shape())?;
        let out = fresh(py, &shape)?;
        let mut target = Target::of(&out)?;
        let mut zero = taken(&self.zero)?;
        let (zero, words, x, kernel) = (&mut *zero, target.slice(), slices(&x), slices(&kernel));
        detached(py, || {
            conv::replicated_convolve(path, team.as_deref(), words, &sizes, x, kernel);
            zero.add_to(words)
        })?;
        drop(target);
        Ok(out)
    }

    fn both<'py>(&self, py: Python<'py>, x: Parts<'py>, y: Parts<'py>) -> PyResult<Array<'py>> {
        for part in [&x.1, &y.0, &y.1] {
            same_shape("parts of bits", x.0.shape(), part.shape())?;
        }
        let path = path()?;
        let out = fresh(py, x.0.shape())?;
        let mut target = Target::of(&out)?;
        let mut zero = taken(&self.zero)?;
        let (zero, words, x, y) = (&mut *zero, target.slice(), slices(&x), slices(&y));
        detached(py, || replicated_and(path, zero, words, x, y))?;
        drop(target);
        Ok(out)
    }

    fn __repr__(&self) -> &'static str {
        "<ZeroSharing>"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(moves_forward())
    }
}

/// Why there is no copy of a stream.
fn moves_forward() -> PyErr {
    Class::Usage.error(
        "a random stream is neither copied nor pickled",
        "its words would come twice",
    )
}

pub(crate) fn slices<'a>(parts: &'a Parts<'_>) -> [&'a [u64]; 2] {
    [parts.0.slice(), parts.1.slice()]
}

fn seed_of(seed: &Bound<'_, PyBytes>) -> PyResult<Zeroizing<[u8; 32]>> {
    let seed = seed.as_bytes();
    match seed.try_into() {
        Ok(seed) => Ok(Zeroizing::new(seed)),
        Err(_) => {
            let message = format!("a seed must have 32 bytes; got {}", seed.len());
            Err(Class::InvalidParameter.error(message, ""))
        }
    }
}
