//! Teams of threads, one for each number of threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use tacit_team::Team;

use crate::error::Class;

const MAX_THREADS: i64 = 256;

/// A team of that many threads, `None` for one: work then stays on the caller's thread. Teams are kept for the life of the process;
/// idle threads sleep.
pub(crate) fn team(threads: i64) -> PyResult<Option<Arc<Team>>> {
    // By process too: threads do not survive a fork, and a team of the parent has no helpers in the child.
    static TEAMS: Mutex<BTreeMap<(u32, i64), Arc<Team>>> = Mutex::new(BTreeMap::new());
    if !(1..=MAX_THREADS).contains(&threads) {
        let message =
            format!("the 'threads' parameter must be between 1 and {MAX_THREADS}; got {threads}");
        return Err(Class::InvalidParameter.error(message, ""));
    }
    if threads == 1 {
        return Ok(None);
    }
    // Poisoned means a panic while inserting: the map is whole either way.
    let mut teams = TEAMS.lock().unwrap_or_else(|e| e.into_inner());
    let key = (std::process::id(), threads);
    if let Some(team) = teams.get(&key) {
        return Ok(Some(Arc::clone(team)));
    }
    let team = Arc::new(Team::new(threads as usize).map_err(|error| {
        Class::InvalidParameter.error(
            format!("cannot start {threads} threads: {error}"),
            "use fewer threads",
        )
    })?);
    teams.insert(key, Arc::clone(&team));
    Ok(Some(team))
}
