//! The messages between agents and the coordinator: those of the protocol that affect the accounting of rows.

use muster_common::ids::RowId;
use muster_common::outbox::{Credit, Results};
use muster_common::slots::Grant;

/// An agent's process: the number of the agent and the generation of its process.
pub(crate) type Process = (usize, u32);

#[derive(Debug, Clone)]
pub(crate) enum FromAgent {
    Hello(Process),
    Beat(u64),
    Ready(Grant),
    Credit(Grant, Credit),
    Results(Grant, Results),
    /// Every row that was run is acknowledged. The other rows that were sent here were not run.
    Leave(Grant),
    /// The session is drained and every result is acknowledged.
    Report(Grant),
}

#[derive(Debug, Clone)]
pub(crate) enum FromCoordinator {
    /// The agent has no slot yet. Its heartbeats are answered, and it gets the next slot that becomes vacant.
    Standby,
    Welcome(Grant),
    BeatAck(u64),
    Start,
    Assign {
        worker: u16,
        rows: Vec<RowId>,
    },
    Ack(u64),
    Drain,
    Cancel,
    Bye,
}

/// What travels on a connection, in either direction.
#[derive(Debug, Clone)]
pub(crate) enum Envelope {
    FromAgent(FromAgent),
    FromCoordinator(FromCoordinator),
    /// The other end closed the connection, or the connection broke.
    Closed,
}

/// The two streams of a session. Messages of one stream keep their order; messages of different streams do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Control,
    Work,
}

impl Envelope {
    pub(crate) fn stream(&self) -> Stream {
        match self {
            Self::FromAgent(FromAgent::Credit(..) | FromAgent::Results(..)) => Stream::Work,
            Self::FromCoordinator(FromCoordinator::Assign { .. } | FromCoordinator::Ack(_)) => Stream::Work,
            Self::FromAgent(_) | Self::FromCoordinator(_) | Self::Closed => Stream::Control,
        }
    }
}
