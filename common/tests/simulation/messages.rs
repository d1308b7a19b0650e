//! What agents and the coordinator say to each other: the protocol's messages, as far as they bear on counting.

use muster_common::ids::RowId;
use muster_common::outbox::{Credit, Results};
use muster_common::slots::Grant;

/// An agent's process: the agent, and which of its processes this is.
pub(crate) type Process = (usize, u32);

#[derive(Debug, Clone)]
pub(crate) enum FromAgent {
    Hello(Process),
    Beat(u64),
    Ready(Grant),
    Credit(Grant, Credit),
    Results(Grant, Results),
    /// Everything that was run is acknowledged; what else was sent here was not run.
    Leave(Grant),
    /// Drained, and everything acknowledged.
    Report(Grant),
}

#[derive(Debug, Clone)]
pub(crate) enum FromCoordinator {
    /// No place yet, but beats are answered: whoever stands by is asked first.
    StandBy,
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
    /// The other end is gone, or the way to it.
    Closed,
}

/// The two streams of a session. Within one, order holds; between them, nothing does.
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
