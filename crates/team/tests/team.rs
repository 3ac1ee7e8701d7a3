//! Work is done once, by as many threads as there are, and no borrow outlives its owner, also when something panics.
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{current, sleep, yield_now};
use std::time::Duration;
use tacit_team::Team;

#[test]
fn every_item_once_and_results_in_order() {
    for threads in [1, 2, 3, 8] {
        let team = Team::new(threads).unwrap();
        assert_eq!(team.threads(), threads);
        for items in [0usize, 1, 2, 100] {
            let squares = team.map((0..items).collect(), |i| i * i);
            assert_eq!(squares, (0..items).map(|i| i * i).collect::<Vec<_>>());
        }
    }
}

#[test]
fn helpers_take_part_after_a_pause_too() {
    let team = Team::new(3).unwrap();
    for pause_ms in [0, 0, 20, 0] {
        // Helpers that were asleep and helpers that looked out for work.
        sleep(Duration::from_millis(pause_ms));
        // Ends only when all three are inside at once.
        let barrier = Barrier::new(3);
        let names = Mutex::new(BTreeSet::new());
        team.run(2, &|| {
            barrier.wait();
            names
                .lock()
                .unwrap()
                .insert(format!("{:?}", current().id()));
        });
        assert_eq!(names.into_inner().unwrap().len(), 3);
    }
}

#[test]
fn no_more_helpers_than_asked_for() {
    let team = Team::new(4).unwrap();
    for _ in 0..200 {
        let calls = AtomicUsize::new(0);
        team.run(1, &|| {
            calls.fetch_add(1, Ordering::Relaxed);
            yield_now();
        });
        assert!((1..=2).contains(&calls.into_inner()));
    }
}

#[test]
fn scratch_is_made_once_for_each_thread_that_works() {
    let team = Team::new(2).unwrap();
    let (made, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let scratch = || made.fetch_add(1, Ordering::Relaxed);
    team.for_each_with((0..1000).collect(), scratch, |_, _: usize| {
        used.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(used.into_inner(), 1000);
    assert!((1..=2).contains(&made.into_inner()));
}

/// Runs two threads that are inside together; what the helper and the caller do then is given.
fn together(team: &Team, helper: impl Fn() + Sync, caller: impl Fn() + Sync) {
    let (barrier, here) = (Barrier::new(2), current().id());
    team.run(1, &|| {
        barrier.wait();
        if current().id() == here {
            caller();
        } else {
            helper();
        }
    });
}

#[test]
fn a_panic_of_a_helper_reaches_the_caller_and_the_team_lives_on() {
    let team = Team::new(2).unwrap();
    for _ in 0..3 {
        let fail = || together(&team, || panic!("of the helper"), || {});
        let panic = catch_unwind(AssertUnwindSafe(fail)).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "of the helper");
        let finished = AtomicBool::new(false);
        together(&team, || finished.store(true, Ordering::Relaxed), || {});
        assert!(finished.into_inner());
    }
}

#[test]
fn a_panic_of_the_caller_waits_for_the_helpers() {
    let team = Team::new(2).unwrap();
    for pause_ms in [0, 1, 30] {
        // Freed when `fail` unwinds: a helper that still ran would write to memory that is no longer its own.
        let finished = Arc::new(AtomicBool::new(false));
        let fail = || {
            let owned = vec![1u64; 1000];
            let slow = || {
                sleep(Duration::from_millis(pause_ms));
                assert_eq!(owned.iter().sum::<u64>(), 1000);
                finished.store(true, Ordering::SeqCst);
            };
            together(&team, slow, || panic!("of the caller"));
        };
        let panic = catch_unwind(AssertUnwindSafe(fail)).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "of the caller");
        assert!(finished.load(Ordering::SeqCst));
    }
}

#[test]
fn callers_at_the_same_time_all_finish() {
    let team = Team::new(3).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4usize {
            let team = &team;
            scope.spawn(move || {
                for round in 0..300 {
                    let sum: usize = team
                        .map((0..20).collect(), |i: usize| i * seed + round)
                        .iter()
                        .sum();
                    assert_eq!(sum, 190 * seed + 20 * round);
                }
            });
        }
    });
}

#[test]
fn panics_stay_with_their_caller() {
    let team = Team::new(2).unwrap();
    std::thread::scope(|scope| {
        for bad in [false, true, false, true] {
            let team = &team;
            scope.spawn(move || {
                for _ in 0..100 {
                    let work = || {
                        team.map(vec![0; 8], |_: i32| assert!(!bad, "one of mine"))
                            .len()
                    };
                    let result = catch_unwind(AssertUnwindSafe(work));
                    assert_eq!(result.is_err(), bad);
                }
            });
        }
    });
}

#[test]
fn work_inside_work_is_done_by_the_thread_itself() {
    let team = Team::new(2).unwrap();
    let sums = team.map(vec![1usize, 2, 3], |k| {
        team.map(vec![1, 2, 3], |i| i * k).iter().sum::<usize>()
    });
    assert_eq!(sums, [6, 12, 18]);
}
