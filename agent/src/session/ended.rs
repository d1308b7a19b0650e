//! How a session ends, and what of it outlives it.

use std::time::{Duration, Instant};

use muster_common::ids::RunId;
use muster_common::limits;
use muster_common::outbox::Kept;
use muster_common::session_token::GrantedSession;
use muster_proto::WireError;
use muster_proto::control::Ran;
use tracing::warn;

/// How a session ended well.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The run is over; whether this agent had a place in it, or only stood by.
    Bye {
        reason: String,
        had_place: bool,
    },
    Shutdown,
}

/// How a session ended badly. `Refused` and `CannotStart` are final.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("cannot reach it: {causes}")]
    Unreachable { causes: String },
    #[error("no place in this run: {reason}")]
    Full { reason: String },
    #[error("refused: {reason}")]
    Refused { reason: String },
    #[error("coordinator did not answer within {0:?}")]
    Silent(Duration),
    #[error("coordinator closed the {0} stream")]
    Closed(&'static str),
    #[error("stream broke: {}", .0.message())]
    Broken(#[from] tonic::Status),
    #[error("coordinator sent a malformed message")]
    Malformed(#[from] WireError),
    #[error("coordinator broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("lease lapsed: no beat was acknowledged within {:?}", limits::LEASE)]
    Lapsed,
    #[error("a worker ended unexpectedly")]
    WorkerLost,
    #[error("{0}")]
    CannotStart(String),
}

impl SessionError {
    /// Whether there was a session: this agent had been answered before the error.
    pub(crate) fn ended_a_session(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Broken(_) | Self::Lapsed | Self::WorkerLost)
    }
}

/// What a process reports about itself when it joins: its identity, and the outcome of its earlier sessions.
#[derive(Debug)]
pub(crate) struct Past {
    /// Random, and the same in all its sessions.
    pub(crate) instance: u64,
    /// The last session that held a slot and of which no query runs any more.
    pub(crate) ended: Option<GrantedSession>,
    /// The last session that ran rows.
    pub(crate) ran: Option<Ran>,
    /// A session since the last look at this had its workers connected and prepared.
    pub(crate) got_ready: bool,
}

impl Past {
    pub(crate) fn new(instance: u64) -> Self {
        Self { instance, ended: None, ran: None, got_ready: false }
    }
}

/// Results of an earlier session that nobody acknowledged, for the next one of the same run.
#[derive(Debug)]
pub(crate) struct KeptResults {
    pub(crate) run: RunId,
    pub(crate) results: Vec<Kept>,
    /// The sessions that measured them.
    pub(crate) sessions: Vec<GrantedSession>,
    pub(crate) since: Instant,
}

impl KeptResults {
    /// What earlier sessions of the same run left, and these sessions.
    pub(super) fn inherited(kept: &mut Option<Self>, run: &RunId) -> (Vec<Kept>, Vec<GrantedSession>) {
        match kept.take() {
            Some(kept) if kept.run == *run => (kept.results, kept.sessions),
            Some(kept) => {
                warn!("{} results of run {} are dropped: this is run {run}", kept.count(), kept.run);
                Default::default()
            }
            None => Default::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.results.iter().map(|kept| kept.measurements.len()).sum()
    }
}
