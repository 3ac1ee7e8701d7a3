//! What is added to a result: arrays, and streams that stand for their next words.

use std::sync::{Mutex, MutexGuard, TryLockError};

use pyo3::prelude::*;
use tacit_share::prg::{Stream, ZeroSharing};
use tacit_share::sum::{Sum, Summand};

use super::arrays::{Words, words_of};
use super::random::{PyStream, PyZeroSharing};
use crate::error::Class;

pub(crate) enum Term<'py> {
    Words(Words<'py>),
    Stream(Bound<'py, PyStream>),
    Zero(Bound<'py, PyZeroSharing>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Term<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(stream) = object.cast::<PyStream>() {
            return Ok(Self::Stream(stream.to_owned()));
        }
        if let Ok(zero) = object.cast::<PyZeroSharing>() {
            return Ok(Self::Zero(zero.to_owned()));
        }
        object.extract().map(Self::Words)
    }
}

/// One [`Term`] that nobody else uses meanwhile.
pub(crate) enum Held<'a> {
    Words(&'a [u64]),
    Stream(MutexGuard<'a, Stream>),
    Zero(MutexGuard<'a, ZeroSharing>),
}

impl Term<'_> {
    pub(crate) fn hold(&self, words: usize) -> PyResult<Held<'_>> {
        Ok(match self {
            Self::Words(given) => {
                words_of("a summand", given.len(), words)?;
                Held::Words(given.slice())
            }
            Self::Stream(stream) => Held::Stream(taken(&stream.get().stream)?),
            Self::Zero(zero) => Held::Zero(taken(&zero.get().zero)?),
        })
    }
}

impl Held<'_> {
    pub(crate) fn summand(&mut self) -> Summand<'_> {
        match self {
            Self::Words(words) => Summand::Words(words),
            Self::Stream(stream) => Summand::Stream(stream),
            Self::Zero(zero) => Summand::Zero(zero),
        }
    }
}

pub(crate) fn hold<'a>(terms: &'a [Term<'_>], words: usize) -> PyResult<Vec<Held<'a>>> {
    terms.iter().map(|term| term.hold(words)).collect()
}

pub(crate) fn summands<'a>(held: &'a mut [Held<'_>]) -> Vec<Summand<'a>> {
    held.iter_mut().map(Held::summand).collect()
}

/// `constant + Σ plus - Σ minus`.
pub(crate) fn sum<'a>(
    constant: u64,
    plus: &'a mut [Held<'_>],
    minus: &'a mut [Held<'_>],
) -> Sum<'a> {
    Sum {
        constant,
        plus: summands(plus),
        minus: summands(minus),
    }
}

/// The only use of a stream at a time: a second one at once would make the order of its words a matter of luck.
pub(crate) fn taken<T>(stream: &Mutex<T>) -> PyResult<MutexGuard<'_, T>> {
    match stream.try_lock() {
        Ok(guard) => Ok(guard),
        // A panic meanwhile: the stream has moved on, and no word of it comes twice.
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Class::InvalidParameter.error(
            "a random stream is used twice at the same time",
            "name it once in a call, and use it from one thread",
        )),
    }
}
