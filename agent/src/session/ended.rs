//! The outcomes of a session, and the state that outlives it.

use std::time::{Duration, Instant};

use muster_common::ids::RunId;
use muster_common::limits;
use muster_common::outbox::Unacked;
use muster_common::session_token::GrantedSession;
use muster_proto::WireError;
use muster_proto::control::Ran;
use tracing::warn;

/// A session that ended without an error.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The run is over. `had_slot` is false for an agent that was only on standby.
    Bye {
        reason: String,
        had_slot: bool,
    },
    Shutdown,
}

/// An error that ended a session. After `Refused` and `CannotStart`, the agent does not join again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("cannot reach the coordinator: {causes}")]
    Unreachable { causes: String },
    #[error("cannot join this run: {reason}")]
    Full { reason: String },
    #[error("refused: {reason}")]
    Refused { reason: String },
    #[error("coordinator did not answer within {0:?}")]
    Silent(Duration),
    #[error("coordinator closed the {0} stream")]
    Closed(&'static str),
    #[error("stream failed: {}", .0.message())]
    Broken(#[from] tonic::Status),
    #[error("coordinator sent a malformed message")]
    Malformed(#[from] WireError),
    #[error("coordinator violated the protocol: {0}")]
    Protocol(&'static str),
    #[error("lease expired: no heartbeat was acknowledged within {:?}", limits::LEASE)]
    Lapsed,
    #[error("a worker ended unexpectedly")]
    WorkerLost,
    #[error("{0}")]
    CannotStart(String),
}

impl SessionError {
    /// Returns true if the coordinator had accepted this agent before the error.
    pub(crate) fn ended_a_session(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Broken(_) | Self::Lapsed | Self::WorkerLost)
    }
}

/// What an agent process reports about itself when it joins: its identity, and the outcome of its earlier sessions.
#[derive(Debug)]
pub(crate) struct Past {
    /// A random id of this process, which is the same in all its sessions.
    pub(crate) instance: u64,
    /// The last session that held a slot and has no running queries.
    pub(crate) ended: Option<GrantedSession>,
    /// The last session that ran rows.
    pub(crate) ran: Option<Ran>,
    /// A session has connected and prepared all its workers since this flag was last cleared.
    pub(crate) got_ready: bool,
}

impl Past {
    pub(crate) fn new(instance: u64) -> Self {
        Self { instance, ended: None, ran: None, got_ready: false }
    }
}

/// Results of earlier sessions that were not acknowledged. The next session of the same run sends them.
#[derive(Debug)]
pub(crate) struct UnackedResults {
    pub(crate) run: RunId,
    pub(crate) results: Vec<Unacked>,
    /// The sessions that measured them.
    pub(crate) sessions: Vec<GrantedSession>,
    /// When the last session ended.
    pub(crate) since: Instant,
}

impl UnackedResults {
    /// Takes the results of earlier sessions of the same run, and these sessions. Results of another run are dropped.
    pub(super) fn inherited(unacked: &mut Option<Self>, run: &RunId) -> (Vec<Unacked>, Vec<GrantedSession>) {
        match unacked.take() {
            Some(unacked) if unacked.run == *run => (unacked.results, unacked.sessions),
            Some(other) => {
                warn!("{} results of run {} are dropped: this is run {run}", other.count(), other.run);
                Default::default()
            }
            None => Default::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.results.iter().map(|unacked| unacked.measurements.len()).sum()
    }
}
