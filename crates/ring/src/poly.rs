//! Polynomials in residue form.

use std::fmt;
use std::marker::PhantomData;

use zeroize::Zeroize;

use crate::buffer::Buffer;

mod sealed {
    pub trait Sealed {}
}

/// The meaning of the words of a [`Poly`].
pub trait Domain: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Name for messages.
    const NAME: &'static str;
}

/// Coefficients in natural order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coeff;

/// Evaluations in bit-reversed order: word `i` is `a(ψ^(2·brv(i)+1))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eval;

impl sealed::Sealed for Coeff {}
impl sealed::Sealed for Eval {}
impl Domain for Coeff {
    const NAME: &'static str = "coeff";
}
impl Domain for Eval {
    const NAME: &'static str = "eval";
}

/// `rows` residue polynomials of `n` words each. Which modulus belongs to which row is the caller's knowledge.
///
/// Each row starts at a multiple of 64 bytes. The distance of rows is padded by 9 cache lines so that equal positions of
/// different rows do not compete for one cache set (a multiple of 4096 bytes would).
///
/// Buffers come from the pool of [`crate::buffer`] and return there on drop **without being wiped**: owners of
/// secrets call [`Poly::zeroize`].
pub struct Poly<D: Domain> {
    buffer: Buffer,
    n: usize,
    rows: usize,
    stride: usize,
    domain: PhantomData<D>,
}

/// Words between the starts of two rows.
fn stride_of(n: usize) -> usize {
    // Below one page there is nothing to gain.
    if n < 512 {
        n.next_multiple_of(8)
    } else {
        n + 72
    }
}

impl<D: Domain> Poly<D> {
    /// All words 0.
    pub fn zeroed(n: usize, rows: usize) -> Self {
        let stride = stride_of(n);
        Self {
            buffer: Buffer::zeroed(stride * rows),
            n,
            rows,
            stride,
            domain: PhantomData,
        }
    }

    /// Initialised memory with unspecified contents: for outputs that are written in full.
    pub fn uninit_pooled(n: usize, rows: usize) -> Self {
        let stride = stride_of(n);
        Self {
            buffer: Buffer::pooled(stride * rows),
            n,
            rows,
            stride,
            domain: PhantomData,
        }
    }

    /// Words in a row.
    #[inline]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Row `i`, `n` words. Panics when `i >= rows`.
    #[inline]
    pub fn row(&self, i: usize) -> &[u64] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.buffer.words()[i * self.stride..][..self.n]
    }

    /// Row `i`, `n` words. Panics when `i >= rows`.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [u64] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &mut self.buffer.words_mut()[i * self.stride..][..self.n]
    }

    /// Every row, first to last.
    pub fn rows_ref(&self) -> Vec<&[u64]> {
        (0..self.rows).map(|i| self.row(i)).collect()
    }

    /// Every row, first to last, for writing (also from several threads).
    pub fn rows_mut(&mut self) -> Vec<&mut [u64]> {
        let (n, stride, rows) = (self.n, self.stride, self.rows);
        if stride == 0 {
            return Vec::new();
        }
        self.buffer
            .words_mut()
            .chunks_exact_mut(stride)
            .take(rows)
            .map(|row| &mut row[..n])
            .collect()
    }

    /// Forgets all rows from `rows` on. The memory is kept. Panics when there are fewer.
    pub fn truncate_rows(&mut self, rows: usize) {
        assert!(
            rows <= self.rows,
            "cannot keep {rows} of {} rows",
            self.rows
        );
        self.rows = rows;
    }

    /// The first `rows` rows as a new polynomial.
    pub fn clone_rows(&self, rows: usize) -> Self {
        let mut copy = Self::uninit_pooled(self.n, rows);
        for i in 0..rows {
            copy.row_mut(i).copy_from_slice(self.row(i));
        }
        copy
    }

    /// Copies all rows of `other` into the first rows of this polynomial. Panics when it has fewer or other rows.
    pub fn copy_from(&mut self, other: &Self) {
        for i in 0..other.rows {
            self.row_mut(i).copy_from_slice(other.row(i));
        }
    }

    /// Relabels the domain without touching a word. Right after every row went through an NTT, or when the words are
    /// random anyway.
    pub fn into_domain<E: Domain>(self) -> Poly<E> {
        Poly {
            buffer: self.buffer,
            n: self.n,
            rows: self.rows,
            stride: self.stride,
            domain: PhantomData,
        }
    }

    /// Overwrites all memory, including forgotten rows, in a way that the compiler keeps.
    pub fn zeroize(&mut self) {
        self.buffer.words_mut().zeroize();
    }
}

impl<D: Domain> Clone for Poly<D> {
    fn clone(&self) -> Self {
        self.clone_rows(self.rows)
    }
}

impl<D: Domain> PartialEq for Poly<D> {
    /// Compares shape and words; padding and forgotten rows do not count. Not constant-time.
    fn eq(&self, other: &Self) -> bool {
        self.n == other.n
            && self.rows == other.rows
            && (0..self.rows).all(|i| self.row(i) == other.row(i))
    }
}

impl<D: Domain> Eq for Poly<D> {}

impl<D: Domain> fmt::Debug for Poly<D> {
    /// Shape only: the words may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poly")
            .field("domain", &D::NAME)
            .field("n", &self.n)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}
