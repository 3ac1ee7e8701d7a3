//! Threads that share the steps of one operation.
//!
//! A homomorphic operation is a chain of steps of 10 µs to some milliseconds, each over a handful of independent rows. A
//! sleeping thread takes 10 to 50 µs to wake, as long as a whole step at N = 2^13. The helpers of a [`Team`] therefore look
//! out for the next step for some tens of microseconds, and for 0.15 ms more when nobody else wants the processor, before they
//! sleep: between the steps of one operation and between operations they stay awake, between requests they use no processor. What is known of the gain is in docs/design/key-switching.md.
//!
//! The thread that asks for work takes part in it. It waits for nobody who has not begun: a helper that wakes too late finds
//! nothing to do and delays nothing. A team works for one caller at a time; a second caller does its own work alone.

mod posting;

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use posting::Posting;

/// Helpers that take part in the caller's work. Dropping the team ends them.
pub struct Team {
    posting: Arc<Posting>,
    helpers: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of `threads` threads, one of which is the caller: `threads` − 1 helpers are started.
    ///
    /// # Errors
    /// Those of the operating system, when it has no room for another thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let mut team = Self {
            posting: Arc::new(Posting::default()),
            helpers: Vec::new(),
        };
        for i in 1..threads {
            let posting = Arc::clone(&team.posting);
            let builder = Builder::new().name(format!("tacit-{i}"));
            team.helpers.push(builder.spawn(move || posting.help())?);
        }
        Ok(team)
    }

    /// The helpers and the caller.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work` on the calling thread and on up to `helpers` others, at the same time. Returns when all of them have
    /// returned; how many took part is not known.
    ///
    /// # Panics
    /// When `work` panics on any thread, after all have returned.
    pub fn run(&self, helpers: usize, work: &(dyn Fn() + Sync)) {
        if let Some(panic) = self.posting.share(helpers.min(self.helpers.len()), work) {
            resume_unwind(panic);
        }
    }

    /// Calls `body` on every item, with scratch that each thread makes once and keeps, so that it stays in the cache of its
    /// core. Items are taken in their order, each by the thread that is free first.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn for_each_with<T: Send, S>(
        &self,
        items: Vec<T>,
        scratch: impl Fn() -> S + Sync,
        body: impl Fn(&mut S, T) + Sync,
    ) {
        let helpers = items.len().saturating_sub(1);
        let queue = Mutex::new(items.into_iter());
        // A panic in `body` happens outside the lock: the queue is whole even when poisoned.
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.run(helpers, &|| {
            let Some(first) = next() else { return };
            let mut scratch = scratch();
            body(&mut scratch, first);
            while let Some(item) = next() {
                body(&mut scratch, item);
            }
        });
    }

    /// `body` of every item, in the order of the items.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn map<T: Send, R: Send>(&self, items: Vec<T>, body: impl Fn(T) -> R + Sync) -> Vec<R> {
        let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
        let pairs = items.into_iter().zip(&mut results).collect();
        self.for_each_with(
            pairs,
            || (),
            |(), (item, result)| *result = Some(body(item)),
        );
        results.into_iter().flatten().collect()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.posting.end();
        for helper in self.helpers.drain(..) {
            // Helpers catch what work panics with: there is nothing to report.
            let _ = helper.join();
        }
    }
}
