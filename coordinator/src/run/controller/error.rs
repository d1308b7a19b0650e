//! Why a run has no result, and what interrupts a phase.

use std::time::Duration;

use muster_core::ids::SlotId;
use muster_core::limits;
use muster_core::prepare::{PrepareFailed, PrepareFailure};

use crate::workload::WorkloadError;

/// The reason why a run has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{joined} of {wanted} agents joined within {waited:?}{hint}")]
    NotJoined { joined: usize, wanted: usize, waited: Duration, hint: String },
    #[error("{slots} joined but did not become ready within {:?}", limits::PREPARE_TIMEOUT)]
    NotReady { slots: String },
    #[error("{slot} {}{}", refusal(.failed.kind), .failed.message)]
    Prepare { slot: SlotId, failed: Box<PrepareFailed> },
    #[error(transparent)]
    Workload(WorkloadError),
    #[error("interrupted before the first query")]
    Interrupted,
}

fn refusal(kind: PrepareFailure) -> &'static str {
    match kind {
        PrepareFailure::Statement => "cannot run this query: ",
        PrepareFailure::Database => "has no usable database: ",
        PrepareFailure::Agent => "cannot prepare: ",
    }
}

/// What ends a phase early.
#[derive(Debug)]
pub(super) enum Stop {
    Interrupted,
    Unreadable(WorkloadError),
    /// The keeper has panicked.
    KeeperEnded,
    /// An agent cannot prepare. Before the start this ends the run, because the run would fail on this agent.
    Unprepared {
        slot: SlotId,
        failed: Box<PrepareFailed>,
    },
}

impl From<Stop> for RunError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Interrupted | Stop::KeeperEnded => Self::Interrupted,
            Stop::Unreadable(problem) => Self::Workload(problem),
            Stop::Unprepared { slot, failed } => Self::Prepare { slot, failed },
        }
    }
}
