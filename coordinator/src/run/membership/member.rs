//! The members of a run and how they come and go: plain values.

use std::time::Instant;

use muster_core::ids::SlotId;
use muster_core::slots::{Grant, JoinError};

/// Identifies one participation of an agent in this run, from Hello to its end. The agent may hold no slot, or get one later. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u32);

/// What an agent that asks to join says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Applicant {
    /// The agent's machine and process id, such as `db1/4711`.
    pub(crate) name: String,
    pub(crate) workers: u16,
    /// The requested slot. `None`: any vacant slot.
    pub(crate) slot: Option<SlotId>,
    /// The id of its process, which is the same in all its sessions; 0 if unknown.
    pub(crate) instance: u64,
    /// The previous session of its process, which has ended.
    pub(crate) ended: Option<Grant>,
}

/// One participation of an agent in the run.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) applicant: Applicant,
    /// Its slot. `None` while it is a standby.
    pub(crate) grant: Option<Grant>,
    /// Its connections are open and its statements are prepared.
    pub(crate) is_ready: bool,
    /// It runs its slot's rows, or has run them.
    pub(crate) has_begun: bool,
    /// The time at which its countdown ended, on the coordinator's clock.
    pub(crate) started: Option<Instant>,
    /// It has reported everything that it ran.
    pub(crate) has_reported: bool,
    pub(super) is_lost: bool,
}

/// The reason why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) reason: String,
    /// The session has reported everything that it ran. The rows that it still has were not run.
    pub(crate) is_drained: bool,
    /// The process was asked to stop and reported that.
    pub(crate) has_left: bool,
    /// The time by which the agent stops on its own, because its lease has expired. `None` if the time of its last heartbeat is unknown.
    pub(crate) lapses_at: Option<Instant>,
}

impl Loss {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_drained: false, has_left: false, lapses_at: None }
    }
}

/// Why an agent cannot join, and whether it should try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) retry: bool,
}

impl Refusal {
    pub(crate) fn over() -> Self {
        Self { reason: "the run is over".to_owned(), retry: true }
    }
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        Self { retry: !matches!(error, JoinError::NoSuchSlot { .. }), reason: error.to_string() }
    }
}
