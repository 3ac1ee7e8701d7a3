//! Pooled, 64-byte aligned storage for words.
//!
//! Homomorphic operations need the same few sizes over and over. A fresh allocation of some megabytes is mapped, zeroed
//! and faulted in page by page by the operating system, which costs as much as the arithmetic; so dropped buffers go
//! back to a pool. Each thread keeps up to 8 MiB of its own; what does not fit goes to one process-wide pool, bounded by
//! [`POOL_LIMIT_BYTES`], from which any thread takes the next one. A buffer serves requests that are up to a fifth
//! smaller, so that polynomials of one level reuse what those of the level above left.
//!
//! The pool does not wipe: **whoever holds a secret in a buffer must call [`crate::Poly::zeroize`] before dropping it.**

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The pool that all threads share never holds more than this; buffers beyond it are freed when dropped.
pub const POOL_LIMIT_BYTES: usize = 256 << 20;

/// Words in 64 bytes.
const LINE: usize = 8;

/// The part of the pool that a thread keeps to itself is at most this large. What one thread makes and another drops
/// passes through the shared pool only beyond it.
const LOCAL_LIMIT_BYTES: usize = 8 << 20;

/// A buffer may be longer than what is asked for by one in this many of its words.
const SLACK: usize = 4;

static POOL: Mutex<Pool> = Mutex::new(Pool::EMPTY);

thread_local! {
    /// In front of [`POOL`]: a thread gets back what it dropped last, which is still in the caches of its core.
    static LOCAL: RefCell<Pool> = const { RefCell::new(Pool::EMPTY) };
}

struct Pool {
    /// Free storage by its length in words, counted before alignment. Last in, first out.
    free: BTreeMap<usize, Vec<Vec<u64>>>,
    bytes: usize,
}

impl Pool {
    const EMPTY: Self = Self {
        free: BTreeMap::new(),
        bytes: 0,
    };

    /// The shortest storage that serves, of those the one dropped last.
    fn take(&mut self, len: usize) -> Option<Vec<u64>> {
        let storage = self
            .free
            .range_mut(len..=len + len / SLACK)
            .find_map(|(_, alike)| alike.pop())?;
        self.bytes -= size_of_val(storage.as_slice());
        Some(storage)
    }

    /// Keeps the storage unless that passes the limit.
    fn put(&mut self, storage: Vec<u64>, limit_bytes: usize) -> Result<(), Vec<u64>> {
        let bytes = size_of_val(storage.as_slice());
        if self.bytes + bytes > limit_bytes {
            return Err(storage);
        }
        self.bytes += bytes;
        self.free.entry(storage.len()).or_default().push(storage);
        Ok(())
    }
}

/// The shared pool. A poisoned lock only means that another thread panicked in an allocation: the pool is still valid.
fn shared() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
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
            Some(storage) => {
                let mut buffer = Self::align(storage, len);
                buffer.words_mut().fill(0);
                buffer
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
        let mut rest = Some(storage);
        // At the end of a thread its part is gone already; then the storage goes to the shared pool.
        let _ = LOCAL.try_with(|local| {
            rest = rest
                .take()
                .and_then(|storage| local.borrow_mut().put(storage, LOCAL_LIMIT_BYTES).err());
        });
        if let Some(storage) = rest {
            // Frees what does not fit, after the lock is released.
            let _beyond = shared().put(storage, POOL_LIMIT_BYTES);
        }
    }
}

fn take(len: usize) -> Option<Vec<u64>> {
    let local = LOCAL
        .try_with(|local| local.borrow_mut().take(len + LINE))
        .unwrap_or(None);
    local.or_else(|| shared().take(len + LINE))
}

/// Frees every buffer in the shared pool and in the calling thread's part, and returns their size in bytes. Those of other
/// threads are freed when the threads end.
pub fn release_pool() -> usize {
    let local = LOCAL
        .try_with(|local| local.replace(Pool::EMPTY))
        .unwrap_or(Pool::EMPTY);
    let global = std::mem::replace(&mut *shared(), Pool::EMPTY);
    local.bytes + global.bytes
}
