//! Where secret randomness comes from.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::error::Class;

/// A source of generators: the operating system, or for tests a seed.
#[derive(Clone)]
pub(crate) enum Source {
    /// A fresh 256-bit seed from the operating system for every operation.
    System,
    /// Seeds from a generator: reproducible, so not secret. Shared by all objects derived from one key.
    Insecure(Arc<Mutex<ChaCha20Rng>>),
}

impl Source {
    pub(crate) fn insecure_from_seed(seed: [u8; 32]) -> Self {
        Self::Insecure(Arc::new(Mutex::new(ChaCha20Rng::from_seed(seed))))
    }

    pub(crate) fn is_insecure(&self) -> bool {
        matches!(self, Self::Insecure(_))
    }

    /// A generator for one operation. There is no fallback: without randomness the operation fails.
    pub(crate) fn generator(&self) -> PyResult<ChaCha20Rng> {
        let mut seed = Zeroizing::new([0; 32]);
        match self {
            Self::System => getrandom::fill(&mut *seed).map_err(|error| {
                let hint = "the operation was abandoned: fix the random source of this machine and try again";
                Class::Internal.error(format!("the operating system gave no randomness: {error}"), hint)
            })?,
            // A poisoned lock means a panic while filling bytes; any state of a test generator is as good.
            Self::Insecure(generator) => generator.lock().unwrap_or_else(|e| e.into_inner()).fill_bytes(&mut *seed),
        }
        Ok(ChaCha20Rng::from_seed(*seed))
    }
}
