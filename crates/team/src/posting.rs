//! Where the caller posts its work and helpers find it: the only place where a borrow crosses to threads that outlive it.

use std::any::Any;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::yield_now;

/// How often a thread looks at a stretch. A look takes 15 to 45 ns (`pause` on Zen 4 and on Emerald Rapids).
const LOOKS: usize = 2000;

/// How often a thread then offers its processor to others and looks again, before it sleeps: some 0.15 ms when nobody
/// takes it. What comes that soon need not wake a thread, which costs a rotation at N = 2^13 a tenth of its time.
const OFFERS: usize = 250;

/// Looks between two offers.
const LOOKS_PER_OFFER: usize = 16;

/// What a panic carries.
type Panic = Box<dyn Any + Send>;

#[derive(Default)]
pub(crate) struct Posting {
    /// Counts the posts: helpers watch it without a lock. Changed under the lock of `state`.
    posts: AtomicUsize,
    /// Helpers at work, for a caller that watches without a lock. Changed under the lock of `state`.
    working: AtomicUsize,
    state: Mutex<State>,
    /// Something was posted, or the end.
    posted: Condvar,
    /// The last helper has left.
    left: Condvar,
}

#[derive(Default)]
struct State {
    /// A caller has the team: from its post until it has taken the panic.
    taken: bool,
    work: Option<Work>,
    /// How many helpers may still join.
    places: usize,
    asleep: usize,
    caller_asleep: bool,
    panic: Option<Panic>,
    ended: bool,
}

/// The caller's closure, without its lifetime.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn() + Sync));

// SAFETY: what it points to is `Sync`, so calling it from another thread is sound while it lives; `share` sees to that.
unsafe impl Send for Work {}

impl Posting {
    /// Calls `work` here and on up to `helpers` helpers, waits for them, and gives what a helper panicked with. A panic
    /// of the caller's own call passes through, after the wait.
    pub(crate) fn share(&self, helpers: usize, work: &(dyn Fn() + Sync)) -> Option<Panic> {
        if helpers == 0 || !self.post(helpers, work) {
            work();
            return None;
        }
        let post = Post(self);
        work();
        post.withdraw()
    }

    /// False when the team works for another caller, or for one further up on this very stack.
    fn post(&self, helpers: usize, work: &(dyn Fn() + Sync)) -> bool {
        // SAFETY: only the lifetime changes. The reference is used by helpers that join, which they do under the lock and
        // while `state.work` is set; `withdraw` unsets it and then waits until every helper that joined has left, on
        // return and on unwinding alike, before `share` returns. So no use is later than the borrow of `work`.
        let erased =
            unsafe { std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) };
        let mut state = self.state();
        if state.taken {
            return false;
        }
        state.taken = true;
        state.work = Some(Work(erased));
        state.places = helpers;
        self.posts.fetch_add(1, Ordering::Release);
        let sleepers = state.asleep.min(helpers);
        drop(state);
        for _ in 0..sleepers {
            self.posted.notify_one();
        }
        true
    }

    /// The life of a helper.
    pub(crate) fn help(&self) {
        let mut seen = 0;
        loop {
            self.look(|| self.posts.load(Ordering::Acquire) != seen);
            let Some(work) = self.join(&mut seen) else {
                return;
            };
            let Some(work) = work else { continue };
            // Whatever the panic left half-written belongs to the caller, who passes it on.
            let result = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: this helper has joined and not left: see `post`.
                unsafe { (*work.0)() }
            }));
            self.leave(result.err());
        }
    }

    /// Sleeps until there is a post after `seen`. None at the end of the team; no work when it is finished already.
    fn join(&self, seen: &mut usize) -> Option<Option<Work>> {
        let mut state = self.state();
        while !state.ended && self.posts.load(Ordering::Relaxed) == *seen {
            state.asleep += 1;
            state = self
                .posted
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
        if state.ended {
            return None;
        }
        *seen = self.posts.load(Ordering::Relaxed);
        let work = state.work.filter(|_| state.places > 0);
        if work.is_some() {
            state.places -= 1;
            self.working.fetch_add(1, Ordering::Relaxed);
        }
        Some(work)
    }

    fn leave(&self, panic: Option<Panic>) {
        let mut state = self.state();
        if panic.is_some() {
            state.panic = panic;
        }
        // Release: the caller that reads 0 sees all that this helper wrote.
        self.working.fetch_sub(1, Ordering::Release);
        if state.caller_asleep {
            drop(state);
            self.left.notify_all();
        }
    }

    /// The other end of [`Self::post`].
    fn withdraw(&self) -> Option<Panic> {
        self.state().work = None;
        let done = || self.working.load(Ordering::Acquire) == 0;
        self.look(done);
        let mut state = self.state();
        while !done() {
            state.caller_asleep = true;
            state = self
                .left
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.caller_asleep = false;
        state.taken = false;
        state.panic.take()
    }

    /// Ends all helpers when they have no work.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.posted.notify_all();
    }

    /// Returns when `seen`, or after some 0.2 ms, all but the first tens of microseconds of which belong to whoever else
    /// wants the processor.
    fn look(&self, seen: impl Fn() -> bool) {
        let stretch = |looks| {
            (0..looks).any(|_| {
                spin_loop();
                seen()
            })
        };
        if seen() || stretch(LOOKS) {
            return;
        }
        for _ in 0..OFFERS {
            yield_now();
            if stretch(LOOKS_PER_OFFER) {
                return;
            }
        }
    }

    /// Nothing panics while it holds the lock; a poisoned state would still be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that helpers may join, until this is withdrawn or dropped.
struct Post<'a>(&'a Posting);

impl Post<'_> {
    /// Nobody can join any more; waits for those who have, and gives what one of them panicked with.
    fn withdraw(self) -> Option<Panic> {
        let posting = self.0;
        std::mem::forget(self);
        posting.withdraw()
    }
}

impl Drop for Post<'_> {
    /// On the way out of a panic of the caller, which is the one that is passed on.
    fn drop(&mut self) {
        self.0.withdraw();
    }
}
