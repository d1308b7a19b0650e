//! What the result of a run is computed from.

use std::time::Duration;

use muster_core::ids::{RowId, WorkerId};
use muster_core::ledger::Ledger;
use muster_core::placement::Assignment;

use crate::run::latencies::Latencies;
use crate::run::record::Record;
use crate::run::servers;
use crate::run::subject::Subject;
use crate::run::tally::Tally;

/// The outcome of the rows.
pub(crate) struct Counted {
    pub(crate) ledger: Ledger,
    pub(crate) quarantined: Vec<RowId>,
    pub(crate) tally: Tally,
}

pub(super) struct Inputs<'a> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) record: &'a Record,
    pub(super) assignment: &'a Assignment,
    pub(super) ledger: &'a Ledger,
    pub(super) tally: &'a Tally,
    pub(super) latencies: &'a Latencies,
    pub(super) workers: Vec<WorkerId>,
    /// Each host's worker at the end of the run, by the host's index.
    pub(super) owners: Vec<u32>,
}

impl Inputs<'_> {
    pub(super) fn wall(&self) -> Duration {
        Duration::from_nanos(self.tally.ran_for_ns)
    }

    /// Returns true if every agent and connection was there from the start to the end. Time without one is not overhead, even if the agent
    /// closed the connection itself after a timeout.
    pub(super) fn was_uninterrupted(&self) -> bool {
        self.record.resumed == 0
            && self.record.lost_while_running().next().is_none()
            && servers::was_connected(self.record)
    }
}
