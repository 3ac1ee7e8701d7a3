//! Where the rows of an operation are worked on: the caller's thread or a pool that the caller made.
use rayon::ThreadPool;
use rayon::prelude::*;
use std::sync::Arc;

/// Below this many words a parallel region costs more than it saves (waking a thread takes some 10 µs).
const MIN_PARALLEL_WORDS: usize = 1 << 16;

/// Runs one closure per item, inline without a pool.
#[derive(Clone, Default)]
pub(crate) struct Workers(Option<Arc<ThreadPool>>);

impl Workers {
    /// `None`, and a pool of one thread, run everything on the calling thread.
    pub(crate) fn new(pool: Option<Arc<ThreadPool>>) -> Self {
        Self(pool.filter(|pool| pool.current_num_threads() > 1))
    }

    /// Runs `operation` inside the pool, so that the regions in it start without changing threads.
    pub(crate) fn enter<R: Send>(&self, operation: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(operation),
            None => operation(),
        }
    }

    /// Calls `body` on every item, in any order; `words` is the size of the data of one item.
    pub(crate) fn for_each<T: Send>(&self, items: Vec<T>, words: usize, body: impl Fn(T) + Sync) {
        match &self.0 {
            Some(pool) if items.len() > 1 && items.len() * words >= MIN_PARALLEL_WORDS => {
                pool.install(|| items.into_par_iter().with_max_len(1).for_each(&body));
            }
            _ => items.into_iter().for_each(body),
        }
    }
}
