//! Where the rows of an operation are worked on: the caller's thread alone, or with those of a pool that it made.
use rayon::ThreadPool;
use std::sync::{Arc, Mutex, PoisonError};

/// Below this many words (some 50 µs of work) a parallel region costs more than it saves: waking a thread takes 10 to
/// 50 µs, and rows move from one core's cache to the other's. Not settled: a program of 27 rotations at N = 2^13 on two
/// threads took 5.7 to 7.7 ms in five runs, 6.6 to 7.4 ms in four with 2^19; single rotations there gain 1.2 times.
const MIN_PARALLEL_WORDS: usize = 1 << 17;

/// Runs one closure per item, inline without a pool.
#[derive(Clone, Default)]
pub(crate) struct Workers(Option<Arc<ThreadPool>>);

impl Workers {
    /// `None`, and a pool of one thread, run everything on the calling thread.
    pub(crate) fn new(pool: Option<Arc<ThreadPool>>) -> Self {
        Self(pool.filter(|pool| pool.current_num_threads() > 1))
    }

    /// Calls `body` on every item; `words` is the size of the data of one item.
    ///
    /// Items are taken in their order by whichever thread is free. The calling thread takes part, with one thread of
    /// the pool less: when a sleeping thread is slow to wake, the work goes on without it.
    pub(crate) fn for_each<T: Send>(&self, items: Vec<T>, words: usize, body: impl Fn(T) + Sync) {
        self.for_each_with(items, words, || (), |(), item| body(item));
    }

    /// [`Self::for_each`] with scratch that each thread makes once and keeps, so that it stays in the thread's own cache.
    pub(crate) fn for_each_with<T: Send, S>(
        &self,
        items: Vec<T>,
        words: usize,
        scratch: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, T) + Sync,
    ) {
        match &self.0 {
            Some(pool) if items.len() > 1 && items.len() * words >= MIN_PARALLEL_WORDS => {
                let helpers = (pool.current_num_threads() - 1).min(items.len() - 1);
                let queue = Mutex::new(items.into_iter());
                // A panic in `body` happens outside the lock: the queue is whole even when poisoned.
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let work = || {
                    let mut scratch = scratch();
                    while let Some(item) = next() {
                        body(&mut scratch, item);
                    }
                };
                pool.in_place_scope(|scope| {
                    for _ in 0..helpers {
                        scope.spawn(|_| work());
                    }
                    work();
                });
            }
            _ => {
                let mut scratch = scratch();
                items.into_iter().for_each(|item| body(&mut scratch, item));
            }
        }
    }
}
