//! Rows cross threads; a panic ends the waiting.
use super::Shelf;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{scope, sleep};
use std::time::Duration;

#[test]
fn rows_are_waited_for() {
    let mut rows = [[1u64; 4], [2; 4]];
    let [first, second] = &mut rows;
    let shelf = Shelf::new(2);
    scope(|scope| {
        let waiting = scope.spawn(|| shelf.wait_all(0..2).unwrap().concat());
        shelf.put(0, first);
        sleep(Duration::from_millis(5));
        shelf.put(1, second);
        assert_eq!(waiting.join().unwrap(), [1, 1, 1, 1, 2, 2, 2, 2]);
    });
}

#[test]
fn a_panic_ends_the_waiting() {
    let shelf = Shelf::new(1);
    scope(|scope| {
        let waiting = scope.spawn(|| shelf.wait(0));
        let task = || {
            let _watch = shelf.watch();
            panic!("before the row was made");
        };
        assert!(catch_unwind(AssertUnwindSafe(task)).is_err());
        assert_eq!(waiting.join().unwrap(), None);
    });
}
