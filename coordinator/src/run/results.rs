//! Results of rows: those that count, and those that do not.

use muster_core::ids::Epoch;
use muster_core::sample::Sample;

use crate::workload::HostIndex;

/// One counted result, with the properties of its row.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Position in the placement's list of workers.
    pub(crate) worker: usize,
    pub(crate) host: HostIndex,
    /// The session that ran it.
    pub(crate) epoch: Epoch,
    /// Greater than 1 if the row may have run before.
    pub(crate) attempt: u32,
    /// The start of the measurement is relative to the start of the run.
    pub(crate) measurement: Sample,
}

/// Results that were not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dropped {
    /// Results of rows that already had one.
    pub(crate) duplicates: u64,
    /// Results of sessions that had lost their slots, or that are unknown.
    pub(crate) stale: u64,
}
