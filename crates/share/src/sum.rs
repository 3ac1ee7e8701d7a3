//! Sums in one pass over memory: what a protocol adds to a result is added while the result is in the first cache, and random
//! words are made where they are added.

use std::ops::Range;

use crate::compiled::compiled;
use crate::cpu::CpuPath;
use crate::prg::{Stream, StreamExhaustedError, ZeroSharing};

/// Words that are worked on at a time. Even, so that a stream loses no half block between two chunks.
pub(crate) const CHUNK: usize = 1024;

/// As many words as the result has.
#[derive(Debug)]
pub enum Summand<'a> {
    /// These.
    Words(&'a [u64]),
    /// The next words of a stream.
    Stream(&'a mut Stream),
    /// A fresh share of zero.
    Zero(&'a mut ZeroSharing),
}

impl Summand<'_> {
    /// Whether it has `words` words.
    ///
    /// # Panics
    /// When there are others than so many.
    pub(crate) fn check(&self, words: usize) -> Result<(), StreamExhaustedError> {
        match self {
            Self::Words(given) => {
                assert_eq!(
                    given.len(),
                    words,
                    "a summand has as many words as the result"
                );
                Ok(())
            }
            Self::Stream(stream) => stream.check(words).map(drop),
            Self::Zero(zero) => zero.check(words),
        }
    }

    /// The next chunk: of the words themselves, or made in `buffer`.
    pub(crate) fn chunk<'b>(
        &'b mut self,
        at: Range<usize>,
        buffer: &'b mut [u64; CHUNK],
    ) -> Result<&'b [u64], StreamExhaustedError> {
        let made = &mut buffer[..at.len()];
        match self {
            Self::Words(given) => return Ok(&given[at]),
            Self::Stream(stream) => stream.fill(made)?,
            Self::Zero(zero) => {
                made.fill(0);
                zero.add_to(made)?;
            }
        }
        Ok(made)
    }
}

/// `constant + Σ plus - Σ minus`, modulo `2^64`. Streams are read in the order of `plus`, then `minus`.
#[derive(Debug, Default)]
pub struct Sum<'a> {
    /// Added to every word.
    pub constant: u64,
    /// What is added.
    pub plus: Vec<Summand<'a>>,
    /// What is subtracted.
    pub minus: Vec<Summand<'a>>,
}

impl<'a> Sum<'a> {
    /// `Σ plus`.
    pub fn of(plus: Vec<Summand<'a>>) -> Self {
        Self {
            plus,
            ..Self::default()
        }
    }

    /// Whether every summand has `words` words: after that nothing fails.
    ///
    /// # Errors
    /// [`StreamExhaustedError`].
    ///
    /// # Panics
    /// When some words are others than so many.
    pub(crate) fn check(&self, words: usize) -> Result<(), StreamExhaustedError> {
        let mut all = self.plus.iter().chain(&self.minus);
        all.try_for_each(|summand| summand.check(words))
    }

    /// `out += self` for the chunk that is next, which begins at `start`.
    pub(crate) fn add_chunk(
        &mut self,
        path: CpuPath,
        start: usize,
        out: &mut [u64],
    ) -> Result<(), StreamExhaustedError> {
        let at = start..start + out.len();
        if self.constant != 0 {
            add_constant(path, out, self.constant);
        }
        for summand in &mut self.plus {
            match summand {
                Summand::Words(words) => add_assign(path, out, &words[at.clone()]),
                Summand::Stream(stream) => stream.add_to(out)?,
                Summand::Zero(zero) => zero.add_to(out)?,
            }
        }
        for summand in &mut self.minus {
            match summand {
                Summand::Words(words) => sub_assign(path, out, &words[at.clone()]),
                Summand::Stream(stream) => stream.subtract_from(out)?,
                // What is subtracted is a share of zero as well.
                Summand::Zero(zero) => zero.add_to(out)?,
            }
        }
        Ok(())
    }

    /// The sum itself for the chunk that is next.
    pub(crate) fn write_chunk(
        &mut self,
        path: CpuPath,
        start: usize,
        out: &mut [u64],
    ) -> Result<(), StreamExhaustedError> {
        out.fill(0);
        self.add_chunk(path, start, out)
    }
}

/// Chunk after chunk: what `base` writes to it, and `sum`.
pub(crate) fn pass(
    path: CpuPath,
    out: &mut [u64],
    sum: &mut Sum<'_>,
    mut base: impl FnMut(Range<usize>, &mut [u64]) -> Result<(), StreamExhaustedError>,
) -> Result<(), StreamExhaustedError> {
    sum.check(out.len())?;
    for (i, out) in out.chunks_mut(CHUNK).enumerate() {
        let start = i * CHUNK;
        base(start..start + out.len(), out)?;
        sum.add_chunk(path, start, out)?;
    }
    Ok(())
}

/// `out = sum`.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When a summand has not as many words as `out`.
pub fn add_up(
    path: CpuPath,
    out: &mut [u64],
    sum: &mut Sum<'_>,
) -> Result<(), StreamExhaustedError> {
    pass(path, out, sum, |_, out| {
        out.fill(0);
        Ok(())
    })
}

/// `out = ⊕ summands`, each of them flipped once more when `flip`. Shares of zero are those modulo 2.
///
/// # Errors
/// [`StreamExhaustedError`]; nothing was changed.
///
/// # Panics
/// When a summand has not as many words as `out`.
pub fn xor_up(
    path: CpuPath,
    out: &mut [u64],
    summands: &mut [Summand<'_>],
    flip: bool,
) -> Result<(), StreamExhaustedError> {
    for summand in &*summands {
        summand.check(out.len())?;
    }
    for (i, out) in out.chunks_mut(CHUNK).enumerate() {
        let at = i * CHUNK..i * CHUNK + out.len();
        out.fill(if flip { u64::MAX } else { 0 });
        for summand in &mut *summands {
            match summand {
                Summand::Words(words) => crate::bits::xor_assign(path, out, &words[at.clone()]),
                Summand::Stream(stream) => stream.xor_to(out)?,
                Summand::Zero(zero) => zero.xor_to(out)?,
            }
        }
    }
    Ok(())
}

compiled! {
    fn add_constant(out: &mut [u64], constant: u64) {
        for out in out {
            *out = out.wrapping_add(constant);
        }
    }
}

compiled! {
    fn add_assign(out: &mut [u64], words: &[u64]) {
        for (out, word) in out.iter_mut().zip(words) {
            *out = out.wrapping_add(*word);
        }
    }
}

compiled! {
    fn sub_assign(out: &mut [u64], words: &[u64]) {
        for (out, word) in out.iter_mut().zip(words) {
            *out = out.wrapping_sub(*word);
        }
    }
}
