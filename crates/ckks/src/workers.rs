//! Where the rows of an operation are worked on: the caller's thread alone, or together with a team.
use std::sync::Arc;
use tacit_team::Team;

/// Below this many words (some 20 µs of work) a step stays on the caller's thread: handing it over takes a microsecond or
/// two, and rows move from one core's cache to the other's.
const MIN_PARALLEL_WORDS: usize = 1 << 16;

/// Runs one closure per item, inline without a team.
#[derive(Clone, Default)]
pub(crate) struct Workers(Option<Arc<Team>>);

impl Workers {
    /// `None`, and a team of one thread, run everything on the calling thread.
    pub(crate) fn new(team: Option<Arc<Team>>) -> Self {
        Self(team.filter(|team| team.threads() > 1))
    }

    /// How many threads there are, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, |team| team.threads())
    }

    /// Calls `body` on every item; `words` is the size of the data of one item. Items are taken in their order by
    /// whichever thread is free.
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
            Some(team) if items.len() > 1 && items.len() * words >= MIN_PARALLEL_WORDS => {
                team.for_each_with(items, scratch, body);
            }
            _ => {
                let mut scratch = scratch();
                items.into_iter().for_each(|item| body(&mut scratch, item));
            }
        }
    }
}
