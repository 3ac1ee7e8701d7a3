//! Rows that are wanted soon, brought into the second-level cache while a transform computes.
//!
//! A transform works in the first two caches and leaves the way to the third idle; what follows it, an inner product with a key
//! or the last write, waits for that way most of its time. Not so the pass that makes the input of a transform from rows in the
//! second cache: lines that are fetched take the places in which it waits for its own.

use std::arch::x86_64::*;

/// Words in a cache line.
const LINE: usize = 8;

/// Which lines have been asked for.
pub(super) struct Fetch<'a> {
    rows: &'a [&'a [u64]],
    /// Words of each row before the next row has its turn; all rows have a multiple of it.
    piece: usize,
    /// Lines for each eight vectors that a pass goes through.
    rate: usize,
    /// The row whose turn it is.
    row: usize,
    /// Its words that are left in this turn.
    next: *const u64,
    end: *const u64,
    /// Where the piece starts in each row.
    start: usize,
}

impl<'a> Fetch<'a> {
    /// Of `rows` of equal length, `piece` words of each in turn, over `vectors` vectors of passes.
    pub(super) fn new(rows: &'a [&'a [u64]], piece: usize, vectors: usize) -> Self {
        let words = rows.iter().map(|row| row.len()).min().unwrap_or(0);
        let lines = rows.len() * words / LINE;
        let mut fetch = Self {
            rows,
            piece,
            rate: if vectors == 0 {
                0
            } else {
                (8 * lines).div_ceil(vectors)
            },
            row: 0,
            next: std::ptr::null(),
            end: std::ptr::null(),
            start: 0,
        };
        fetch.turn();
        fetch
    }

    /// To be called with each `K` vectors.
    #[inline(always)]
    pub(super) fn step<const K: usize>(&mut self) {
        for _ in 0..self.rate * K / 8 {
            // SAFETY: a prefetch may name any address, and every CPU of this path has it.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.next.cast()) };
            self.next = self.next.wrapping_add(LINE);
            if self.next >= self.end {
                self.row += 1;
                self.turn();
            }
        }
    }

    /// Goes to the piece of the next row, and after the last row to the next piece.
    fn turn(&mut self) {
        if self.row == self.rows.len() {
            self.row = 0;
            self.start += self.piece;
        }
        match self.rows.get(self.row) {
            Some(row) if self.start + self.piece <= row.len() => {
                self.next = row.as_ptr().wrapping_add(self.start);
                self.end = self.next.wrapping_add(self.piece);
            }
            _ => self.rate = 0,
        }
    }
}
