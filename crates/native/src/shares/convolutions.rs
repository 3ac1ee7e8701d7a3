//! Convolutions modulo `2^64`.

use pyo3::prelude::*;
use tacit_share::conv::{self, Convolution, Term};

use super::arrays::{Array, Target, Words, fresh};
use super::{detached, path};
use crate::error::Class;
use crate::integers::Count;

/// How a kernel lies on an image, as Python names it.
pub(crate) struct Placement {
    pub(crate) strides: (Count, Count),
    pub(crate) pads: (Count, Count, Count, Count),
    pub(crate) dilations: (Count, Count),
    pub(crate) group: Count,
}

/// The placement that nothing was said about.
pub(crate) const ONES: (Count, Count) = (Count(1), Count(1));
pub(crate) const NO_PADS: (Count, Count, Count, Count) = (Count(0), Count(0), Count(0), Count(0));

impl Placement {
    /// The sizes of the convolution of arrays of these shapes, and the shape of its result.
    pub(crate) fn sizes(
        &self,
        input: &[usize],
        kernel: &[usize],
    ) -> PyResult<(Convolution, [usize; 4])> {
        let refuse = |why: &str| {
            let message = format!("shapes {input:?} and {kernel:?} have no convolution: {why}");
            Class::Shape.error(message, "")
        };
        let (&[samples, channels, height, width], &[filters, depth, rows, columns]) =
            (input, kernel)
        else {
            return Err(refuse("both need four axes"));
        };
        let (group, pads) = (self.group.0, self.pads);
        if group == 0
            || group.checked_mul(depth) != Some(channels)
            || !filters.is_multiple_of(group)
        {
            return Err(refuse("channels and filters do not fall into the groups"));
        }
        let sizes = Convolution {
            samples,
            channels,
            image: [height, width],
            filters,
            kernel: [rows, columns],
            strides: [self.strides.0.0, self.strides.1.0],
            pads: [pads.0.0, pads.1.0, pads.2.0, pads.3.0],
            dilations: [self.dilations.0.0, self.dilations.1.0],
            groups: group,
        };
        let (Some([rows, columns]), Some(_)) = (sizes.result(), sizes.words()) else {
            return Err(refuse(
                "the kernel must fit, with strides and dilations of at least 1",
            ));
        };
        Ok((sizes, [samples, filters, rows, columns]))
    }
}

#[pyfunction]
#[pyo3(
    signature = (x, kernel, *, strides=ONES, pads=NO_PADS, dilations=ONES, group=Count(1), threads=1),
    text_signature = "(x, kernel, *, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1, threads=1)"
)]
#[expect(clippy::too_many_arguments, reason = "the signature of Python")]
pub(crate) fn convolve<'py>(
    py: Python<'py>,
    x: Words<'py>,
    kernel: Words<'py>,
    strides: (Count, Count),
    pads: (Count, Count, Count, Count),
    dilations: (Count, Count),
    group: Count,
    threads: i64,
) -> PyResult<Array<'py>> {
    let placement = Placement {
        strides,
        pads,
        dilations,
        group,
    };
    let (path, team) = (path()?, crate::threads::team(threads)?);
    let (sizes, shape) = placement.sizes(x.shape(), kernel.shape())?;
    let out = fresh(py, &shape)?;
    let mut target = Target::of(&out)?;
    let words = target.slice();
    let term = Term {
        input: x.slice(),
        kernel: kernel.slice(),
    };
    detached(py, || {
        conv::convolve(path, team.as_deref(), words, &sizes, &[term]);
        Ok(())
    })?;
    drop(target);
    Ok(out)
}
