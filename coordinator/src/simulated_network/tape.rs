//! What happened in a run, to be compared with what happens the next time: every message that went over the network, when and where.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::database;

#[derive(Default)]
pub(super) struct Tape(Mutex<Record>);

#[derive(Default)]
struct Record {
    /// Of all that was noted, in order, by the end of a connection: what happens on two connections at once has no order.
    hashes: BTreeMap<String, DefaultHasher>,
    bytes: usize,
    lines: Vec<String>,
}

/// Two runs are alike when these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) hashes: Vec<(String, u64)>,
    pub(super) bytes: usize,
    pub(super) lines: Vec<String>,
}

impl Tape {
    /// Of a message, or of a part of one.
    pub(super) fn note(&self, end: &str, what: &str, data: &[u8]) {
        let mut record = self.lock();
        let hash = record.hashes.entry(end.to_owned()).or_default();
        (database::now(), what, data).hash(hash);
        record.bytes += data.len();
    }

    pub(super) fn say(&self, now: Duration, line: &str) {
        let mut record = self.lock();
        record.lines.push(format!("{:>9.3} {line}", now.as_secs_f64()));
    }

    pub(super) fn recorded(&self) -> Recorded {
        let record = self.lock();
        let hashes = record.hashes.iter().map(|(end, hash)| (end.clone(), hash.finish())).collect();
        Recorded { hashes, bytes: record.bytes, lines: record.lines.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
