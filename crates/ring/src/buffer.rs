//! Pooled, 64-byte aligned storage for words.
//!
//! Homomorphic operations need the same few sizes over and over. A fresh allocation of some megabytes is mapped, zeroed
//! and faulted in page by page by the operating system, which costs as much as the arithmetic; so dropped buffers go
//! back to one process-wide pool, bounded by [`POOL_LIMIT_BYTES`], from which any thread takes the next one.
//!
//! The pool does not wipe: **whoever holds a secret in a buffer must call [`crate::Poly::zeroize`] before dropping it.**

use std::collections::BTreeMap;
use std::sync::Mutex;

/// The pool never holds more than this; buffers beyond it are freed when dropped.
pub const POOL_LIMIT_BYTES: usize = 1 << 30;

/// Words in 64 bytes.
const LINE: usize = 8;

static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: BTreeMap::new(),
    bytes: 0,
});

struct Pool {
    /// Free storage by its length in words, counted before alignment.
    free: BTreeMap<usize, Vec<Vec<u64>>>,
    bytes: usize,
}

/// `len` words, the first one at a multiple of 64 bytes.
pub(crate) struct Buffer {
    storage: Vec<u64>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// All words 0.
    pub(crate) fn zeroed(len: usize) -> Self {
        match take(len) {
            Some(mut storage) => {
                storage.fill(0);
                Self::align(storage, len)
            }
            None => Self::align(vec![0; len + LINE], len),
        }
    }

    /// Initialised memory with unspecified contents.
    pub(crate) fn pooled(len: usize) -> Self {
        Self::align(take(len).unwrap_or_else(|| vec![0; len + LINE]), len)
    }

    fn align(storage: Vec<u64>, len: usize) -> Self {
        // A u64 pointer is off by at most 7 words. `align_offset` may give up (usize::MAX) only in const evaluation.
        let start = storage.as_ptr().align_offset(64).min(LINE);
        Self {
            storage,
            start,
            len,
        }
    }

    #[inline]
    pub(crate) fn words(&self) -> &[u64] {
        &self.storage[self.start..self.start + self.len]
    }

    #[inline]
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let storage = std::mem::take(&mut self.storage);
        let bytes = size_of_val(storage.as_slice());
        // A poisoned lock only means that another thread panicked between two statements below: the pool is still valid.
        let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if pool.bytes + bytes <= POOL_LIMIT_BYTES {
            pool.bytes += bytes;
            pool.free.entry(storage.len()).or_default().push(storage);
        }
    }
}

fn take(len: usize) -> Option<Vec<u64>> {
    let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let storage = pool.free.get_mut(&(len + LINE))?.pop()?;
    pool.bytes -= size_of_val(storage.as_slice());
    Some(storage)
}

/// Frees every buffer that the pool holds and returns their size in bytes.
pub fn release_pool() -> usize {
    let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bytes = std::mem::take(&mut pool.bytes);
    let free = std::mem::take(&mut pool.free);
    drop(pool);
    drop(free);
    bytes
}
