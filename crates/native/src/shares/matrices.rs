//! Products of matrices modulo `2^64`, with leading axes.

use pyo3::prelude::*;
use tacit_share::gemm::{self, Shape, Term};

use super::arrays::{Array, Target, Words, fresh, same_shape};
use super::random::Parts;
use super::{detached, path};
use crate::error::Class;

/// Products of the last two axes; the axes before them broadcast.
pub(crate) struct Batches {
    shape: Vec<usize>,
    product: Shape,
    /// Offsets of both factors of each product, in order.
    offsets: Vec<(usize, usize)>,
}

impl Batches {
    /// Of factors of these shapes.
    pub(crate) fn of(left: &[usize], right: &[usize]) -> PyResult<Self> {
        let refuse = || {
            let message = format!("shapes {left:?} and {right:?} have no matrix product");
            Class::Shape.error(
                message,
                "both need two axes, and the axes before them must broadcast",
            )
        };
        let ([left_axes @ .., rows, depth], [right_axes @ .., other, columns]) = (left, right)
        else {
            return Err(refuse());
        };
        if depth != other {
            return Err(refuse());
        }
        let product = Shape {
            rows: *rows,
            depth: *depth,
            columns: *columns,
        };
        let count = left_axes.len().max(right_axes.len());
        let axis =
            |axes: &[usize], i: usize| (i + axes.len()).checked_sub(count).map_or(1, |i| axes[i]);
        let mut shape = Vec::with_capacity(count + 2);
        let mut offsets = vec![(0, 0)];
        // Strides of the factors along each axis, innermost first; 0 where one is repeated.
        let (mut left_size, mut right_size) = (rows * depth, depth * columns);
        for i in (0..count).rev() {
            let (a, b) = (axis(left_axes, i), axis(right_axes, i));
            if a != b && a != 1 && b != 1 {
                return Err(refuse());
            }
            let length = if a == 1 { b } else { a };
            shape.insert(0, length);
            let strides = (
                if a == 1 { 0 } else { left_size },
                if b == 1 { 0 } else { right_size },
            );
            offsets = (0..length)
                .flat_map(|step| {
                    offsets
                        .iter()
                        .map(move |at| (at.0 + step * strides.0, at.1 + step * strides.1))
                })
                .collect();
            left_size *= a;
            right_size *= b;
        }
        shape.extend([*rows, *columns]);
        Ok(Self {
            shape,
            product,
            offsets,
        })
    }

    /// The shape of the result.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Calls `work` with each product: its part of the result, its sizes and the offsets of its factors.
    pub(crate) fn each(
        &self,
        out: &mut [u64],
        mut work: impl FnMut(&mut [u64], Shape, usize, usize),
    ) {
        let size = self.product.rows * self.product.columns;
        if size == 0 {
            return;
        }
        for (out, (left, right)) in out.chunks_mut(size).zip(&self.offsets) {
            work(out, self.product, *left, *right);
        }
    }
}

/// Both parts of each factor have one shape.
pub(crate) fn pairs_of_parts(x: &Parts<'_>, y: &Parts<'_>) -> PyResult<()> {
    for (first, second) in [x, y] {
        same_shape("both parts of a factor", first.shape(), second.shape())?;
    }
    Ok(())
}

#[pyfunction]
#[pyo3(signature = (x, y, *, threads=1))]
pub(crate) fn matmul<'py>(
    py: Python<'py>,
    x: Words<'py>,
    y: Words<'py>,
    threads: i64,
) -> PyResult<Array<'py>> {
    let (path, team) = (path()?, crate::threads::team(threads)?);
    let batches = Batches::of(x.shape(), y.shape())?;
    let out = fresh(py, batches.shape())?;
    let mut target = Target::of(&out)?;
    let (words, x, y) = (target.slice(), x.slice(), y.slice());
    detached(py, || {
        batches.each(words, |out, shape, left, right| {
            let term = Term {
                left: &x[left..][..shape.rows * shape.depth],
                right: &y[right..][..shape.depth * shape.columns],
                plus: None,
            };
            gemm::matmul(path, team.as_deref(), out, shape, &[term]);
        });
        Ok(())
    })?;
    drop(target);
    Ok(out)
}
