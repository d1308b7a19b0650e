//! Identifiers of rows, hosts, slots, workers, epochs and runs. Newtypes, so that two of them cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Position of a CSV record among the data records, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(u32);

impl RowId {
    pub const fn new(position: u32) -> Self {
        Self(position)
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the position as an index into per-row arrays.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The affinity key: the value of the host column, never empty. All rows of one host run on one worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Box<str>);

impl Host {
    pub fn try_new(text: &str) -> Result<Self, EmptyHost> {
        if text.is_empty() { Err(EmptyHost) } else { Ok(Self(text.into())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reader of the file adds file and line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is empty: every row needs one, because it determines which worker runs the row")]
pub struct EmptyHost;

/// An agent's place in the run, from 0; printed as `slot-3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u16);

impl SlotId {
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    pub const fn get(self) -> u16 {
        self.0
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot-{}", self.0)
    }
}

/// One database connection of one agent; printed as `slot-3/0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    pub slot: SlotId,
    /// From 0; less than the agent's `--workers`.
    pub index: u16,
}

impl WorkerId {
    pub const fn new(slot: SlotId, index: u16) -> Self {
        Self { slot, index }
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.slot, self.index)
    }
}

/// The fencing token: an increasing number that the coordinator assigns to each session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a run: 1 to 24 characters of `a-z`, `0-9` and `-`, so that it fits into an `application_name` and a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    pub const LEN_MAX: usize = 24;

    pub fn try_new(text: &str) -> Result<Self, InvalidRunId> {
        let fits = !text.is_empty() && text.len() <= Self::LEN_MAX;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if fits && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRunId(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidRunId;

    fn try_from(text: String) -> Result<Self, InvalidRunId> {
        Self::try_new(&text)
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run id '{0}' is not 1 to 24 characters of a-z, 0-9 and '-'")]
pub struct InvalidRunId(String);

/// The id of a granted session, as used in messages, events and the database's `application_name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub run: RunId,
    pub slot: SlotId,
    pub epoch: Epoch,
}

impl SessionId {
    /// Returns `muster:<run>:<slot>:<epoch>`; callers may append `/<worker>`. At most 63 bytes, which is PostgreSQL's limit.
    pub fn application_name(&self) -> String {
        format!("muster:{}:{}:{}", self.run, self.slot, self.epoch)
    }

    /// Returns the epoch in an `application_name`; `None` if the name is not of this run and slot. Behind a pooler the name ends with a
    /// worker's number.
    pub fn epoch_of_application_name(name: &str, run: &RunId, slot: SlotId) -> Option<Epoch> {
        let epoch = name.strip_prefix(&format!("muster:{run}:{slot}:"))?;
        let epoch = epoch.split_once('/').map_or(epoch, |(epoch, _)| epoch);
        epoch.parse().ok().map(Epoch::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_displayed_as_typed() {
        let worker = WorkerId::new(SlotId::new(3), 1);
        assert_eq!(worker.to_string(), "slot-3/1");
        assert_eq!(SlotId::new(12).to_string(), "slot-12");
    }

    #[test]
    fn a_host_is_any_text_except_the_empty_one() {
        for text in ["host_000001", " ", "Zürich, \"1\"", "'; drop table x"] {
            assert_eq!(Host::try_new(text).map(|h| h.to_string()), Ok(text.into()));
        }
        assert_eq!(Host::try_new(""), Err(EmptyHost));
    }

    #[test]
    fn an_application_name_fits_the_limit_of_postgresql() {
        let session = SessionId {
            run: RunId::try_new(&"r".repeat(RunId::LEN_MAX)).unwrap(),
            slot: SlotId::new(u16::MAX),
            epoch: Epoch::new(u64::from(u32::MAX)),
        };
        let of_worker = format!("{}/{}", session.application_name(), crate::limits::WORKERS_PER_AGENT_MAX);
        assert!(of_worker.len() <= 63, "{of_worker}");
    }

    #[test]
    fn the_epoch_is_read_only_from_names_of_the_same_run_and_slot() {
        let (run, slot) = (RunId::try_new("r").unwrap(), SlotId::new(1));
        let name = SessionId { run: run.clone(), slot, epoch: Epoch::new(42) }.application_name();
        let epoch = |name: &str| SessionId::epoch_of_application_name(name, &run, slot);
        assert_eq!(epoch(&name), Some(Epoch::new(42)));
        assert_eq!(epoch(&format!("{name}/3")), Some(Epoch::new(42)));
        for other in [
            "muster:r:slot-11:42",
            "muster:s:slot-1:42",
            "muster:r:slot-1:",
            "psql",
            "muster:r:slot-1:x",
            "muster:r:slot-1:/3",
        ] {
            assert_eq!(epoch(other), None, "{other}");
        }
    }

    #[test]
    fn a_run_id_has_only_characters_that_are_safe_in_paths_and_databases() {
        for bad in ["", "A", "a b", "a/b", "a:b", &"x".repeat(25)] {
            assert!(RunId::try_new(bad).is_err(), "{bad}");
        }
        assert_eq!(RunId::try_new("20261123-7f3a").unwrap().as_str(), "20261123-7f3a");
    }
}
