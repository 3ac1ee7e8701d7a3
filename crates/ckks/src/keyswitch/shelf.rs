//! Rows that one task of a step writes and later ones read.
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;
use std::thread::{panicking, yield_now};

/// How often a task looks for a row before it lets other threads run. Rows are made by tasks that were begun earlier, so
/// there is rarely anything to wait for.
const LOOKS: usize = 2000;

/// Places for rows, filled once each.
///
/// Tasks are begun in their order. One that waits only for rows of earlier tasks always gets them: each is in the hands of a
/// thread that waits, if at all, for a task earlier still.
pub(super) struct Shelf<'a> {
    places: Vec<OnceLock<&'a [u64]>>,
    /// A task has panicked: rows may be missing for good.
    broken: AtomicBool,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| OnceLock::new()).collect(),
            broken: AtomicBool::new(false),
        }
    }

    /// Fills a place with a finished row. Each place belongs to one task, which fills it once.
    pub(super) fn put(&self, place: usize, row: &'a mut [u64]) {
        // A second row for a place would be dropped; no task gives one.
        let _ = self.places[place].set(row);
    }

    /// The row in a place, when it is there. None after a panic of another task.
    pub(super) fn wait(&self, place: usize) -> Option<&'a [u64]> {
        let mut looks = 0;
        loop {
            if let Some(row) = self.places[place].get() {
                return Some(row);
            }
            if self.broken.load(Ordering::Relaxed) {
                return None;
            }
            looks += 1;
            if looks < LOOKS {
                spin_loop();
            } else {
                yield_now();
            }
        }
    }

    /// The rows in all places of a range.
    pub(super) fn wait_all(&self, places: core::ops::Range<usize>) -> Option<Vec<&'a [u64]>> {
        places.map(|place| self.wait(place)).collect()
    }

    /// To be held by each task that fills a place: its panic ends the waiting of the others.
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch(&self.broken)
    }
}

/// See [`Shelf::watch`].
pub(super) struct Watch<'a>(&'a AtomicBool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
