//! The tile in 64-bit integers.

use super::pack::{self, Tile};

const ROWS: usize = 4;
const COLUMNS: usize = 8;
const PARTS: usize = 1;

pub(crate) struct Scalar;

impl Tile for Scalar {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const LEFT_PARTS: usize = PARTS;
    const RIGHT_PARTS: usize = PARTS;
    const DEPTH: usize = 256;

    unsafe fn pack_left(packed: &mut [u64], left: &[u64], stride: usize, rows: usize) {
        pack::left::<ROWS, PARTS>(packed, left, stride, rows, |word| word);
    }

    unsafe fn pack_right(
        packed: &mut [u64],
        right: &[u64],
        plus: Option<&[u64]>,
        stride: usize,
        width: usize,
    ) {
        pack::right::<COLUMNS, PARTS>(packed, right, plus, stride, width, |word| word);
    }

    unsafe fn gather_right(packed: &mut [u64], words: &[u64], at: &[usize], steps: &[usize]) {
        pack::gathered::<COLUMNS, PARTS>(packed, words, at, steps, |word| word);
    }

    unsafe fn multiply(out: &mut [u64], stride: usize, left: &[u64], right: &[u64]) {
        let mut sums = [[0u64; COLUMNS]; ROWS];
        let steps = left.as_chunks::<ROWS>().0.iter();
        for (left, right) in steps.zip(right.as_chunks::<COLUMNS>().0) {
            for (sums, &left) in sums.iter_mut().zip(left) {
                for (sum, &right) in sums.iter_mut().zip(right) {
                    *sum = sum.wrapping_add(left.wrapping_mul(right));
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_mut(stride)) {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = out.wrapping_add(*sum);
            }
        }
    }
}
