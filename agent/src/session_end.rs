//! How a session ends.

use std::error::Error;
use std::time::Duration;

use muster_core::limits;
use muster_proto::WireError;

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

/// Returns the messages of an error and its sources, without repetitions.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = if text.is_empty() { inner_text } else { format!("{text}: {inner_text}") };
        }
        cause = inner.source();
    }
    text
}
