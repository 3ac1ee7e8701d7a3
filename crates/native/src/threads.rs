//! Thread pools, one for each number of threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::Class;

const MAX_THREADS: i64 = 256;

/// A pool of that many threads, `None` for one: work then stays on the caller's thread. Pools are kept for the life of the process;
/// idle threads sleep.
pub(crate) fn pool(threads: i64) -> PyResult<Option<Arc<ThreadPool>>> {
    // By process too: threads do not survive a fork, a pool of the parent would wait for ever.
    static POOLS: Mutex<BTreeMap<(u32, i64), Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());
    if !(1..=MAX_THREADS).contains(&threads) {
        let message =
            format!("the 'threads' parameter must be between 1 and {MAX_THREADS}; got {threads}");
        return Err(Class::InvalidParameter.error(message, ""));
    }
    if threads == 1 {
        return Ok(None);
    }
    // Poisoned means a panic while inserting: the map is whole either way.
    let mut pools = POOLS.lock().unwrap_or_else(|e| e.into_inner());
    let key = (std::process::id(), threads);
    if let Some(pool) = pools.get(&key) {
        return Ok(Some(Arc::clone(pool)));
    }
    let builder = ThreadPoolBuilder::new()
        .num_threads(threads as usize)
        .thread_name(|i| format!("tacit-{i}"));
    let pool = Arc::new(builder.build().map_err(|error| {
        Class::InvalidParameter.error(
            format!("cannot start {threads} threads: {error}"),
            "use fewer threads",
        )
    })?);
    pools.insert(key, Arc::clone(&pool));
    Ok(Some(pool))
}
