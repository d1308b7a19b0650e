//! Records a run, so that two runs of a seed can be compared: every message on the network, with its time and place.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::database;

#[derive(Default)]
pub(super) struct Tape(Mutex<State>);

#[derive(Default)]
struct State {
    /// One hash for each end of a connection, over its messages in order. Events on two connections at the same time have no order, so
    /// there is no common hash.
    hashes: BTreeMap<String, DefaultHasher>,
    bytes: usize,
    lines: Vec<String>,
}

/// The recording of a run. Two runs are equal when their recordings are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) hashes: Vec<(String, u64)>,
    pub(super) bytes: usize,
    pub(super) lines: Vec<String>,
}

impl Tape {
    /// Records a message, or a part of one, at this end of a connection.
    pub(super) fn record(&self, end: &str, what: &str, data: &[u8]) {
        let mut state = self.lock();
        let hash = state.hashes.entry(end.to_owned()).or_default();
        (database::now(), what, data).hash(hash);
        state.bytes += data.len();
    }

    pub(super) fn log(&self, now: Duration, line: &str) {
        let mut state = self.lock();
        state.lines.push(format!("{:>9.3} {line}", now.as_secs_f64()));
    }

    pub(super) fn recorded(&self) -> Recorded {
        let state = self.lock();
        let hashes = state.hashes.iter().map(|(end, hash)| (end.clone(), hash.finish())).collect();
        Recorded { hashes, bytes: state.bytes, lines: state.lines.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
