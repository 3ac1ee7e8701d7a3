//! Products with too few rows or columns for tiles: memory is the limit, nothing is packed but a narrow `right`.

use tacit_team::Team;

use super::{Shape, Term, each};
use crate::compiled::compiled;
use crate::cpu::CpuPath;

/// Results with fewer rows come here.
pub(super) const MIN_ROWS: usize = 3;

/// Results with fewer columns come here.
pub(super) const MIN_COLUMNS: usize = 6;

/// Rows of `left` that one thread takes at a time.
const ROWS: usize = 64;

/// `out += Σ terms`.
pub(super) fn matmul_add(
    path: CpuPath,
    team: Option<&Team>,
    out: &mut [u64],
    shape: Shape,
    terms: &[Term<'_>],
) {
    let Shape { depth, columns, .. } = shape;
    for term in terms {
        if columns >= MIN_COLUMNS {
            let rows = out.chunks_mut(columns).zip(term.left.chunks(depth));
            for (out, left) in rows {
                combine(path, out, left, term.right);
                if let Some(plus) = term.plus {
                    combine(path, out, left, plus);
                }
            }
            continue;
        }
        // Column after column.
        let mut transposed = vec![0u64; depth * columns];
        for k in 0..depth {
            for j in 0..columns {
                let plus = term.plus.map_or(0, |plus| plus[k * columns + j]);
                transposed[j * depth + k] = term.right[k * columns + j].wrapping_add(plus);
            }
        }
        let lefts = term.left.chunks(ROWS * depth);
        let blocks = out.chunks_mut(ROWS * columns).zip(lefts).collect();
        each(
            team,
            blocks,
            || (),
            |(), (out, left)| {
                for (out, left) in out.chunks_mut(columns).zip(left.chunks(depth)) {
                    for (out, right) in out.iter_mut().zip(transposed.chunks(depth)) {
                        inner_product_add(path, out, left, right);
                    }
                }
            },
        );
    }
}

compiled! {
    /// `out += Σ left[k]·right[k]` over the rows of `right`, four at a time.
    fn combine(out: &mut [u64], left: &[u64], right: &[u64]) {
        let n = out.len();
        let (fours, rest) = left.as_chunks::<4>();
        let (groups, last) = right.split_at(4 * n * fours.len());
        for (a, rows) in fours.iter().zip(groups.chunks_exact(4 * n)) {
            let (first, second) = rows.split_at(2 * n);
            let ((b0, b1), (b2, b3)) = (first.split_at(n), second.split_at(n));
            for ((((out, b0), b1), b2), b3) in out.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                let first = a[0].wrapping_mul(*b0).wrapping_add(a[1].wrapping_mul(*b1));
                let second = a[2].wrapping_mul(*b2).wrapping_add(a[3].wrapping_mul(*b3));
                *out = out.wrapping_add(first).wrapping_add(second);
            }
        }
        for (a, row) in rest.iter().zip(last.chunks_exact(n)) {
            for (out, b) in out.iter_mut().zip(row) {
                *out = out.wrapping_add(a.wrapping_mul(*b));
            }
        }
    }
}

compiled! {
    /// `out += Σ left[k]·right[k]` over the words.
    fn inner_product_add(out: &mut u64, left: &[u64], right: &[u64]) {
        let products = left.iter().zip(right).map(|(a, b)| a.wrapping_mul(*b));
        *out = products.fold(*out, u64::wrapping_add);
    }
}
