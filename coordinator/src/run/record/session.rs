//! The sessions of a run.

use muster_core::health::HealthTotals;
use muster_core::ids::SlotId;
use muster_core::server_identity::{Reconnects, ServerIdentity};
use muster_core::slots::Grant;

use super::found::Found;

/// The loss reason of sessions that were active when the coordinator of a resumed run ended. They are reported as one event.
pub(crate) const COORDINATOR_LOST: &str = "the coordinator was lost";

/// One agent's session in a slot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    pub(crate) grant: Grant,
    pub(crate) machine: String,
    pub(crate) process_id: u32,
    pub(crate) version: String,
    pub(crate) workers: u16,
    /// The id of the session's process; 0 where it is not known.
    pub(crate) instance: u64,
    pub(crate) found: Option<Found>,
    /// Time from the start of the run to the start of the session. `None` if the session was given no rows.
    pub(crate) offset_ns: Option<u64>,
    pub(crate) lost: Option<Loss>,
    /// True if the session's process joined again after the loss.
    pub(crate) has_returned: bool,
    /// The latest health totals that were recorded.
    pub(crate) health: Option<HealthTotals>,
    /// Reconnects in the round that counts, by the server that answered.
    pub(crate) reconnects: Vec<Reconnects>,
    pub(crate) disconnected: Disconnected,
}

/// Workers whose connections were broken when the session ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disconnected {
    pub(crate) count: u64,
    pub(crate) outage_max_ns: u64,
}

/// The reason why a session ended before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) reason: String,
    pub(crate) is_drained: bool,
    /// True if the process was asked to stop.
    pub(crate) has_left: bool,
    /// Time since the start of the run; `None` if the session ended before that, or with its coordinator.
    pub(crate) at_ns: Option<u64>,
}

/// The move of a lost slot's hosts to these workers, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: SlotId,
    pub(crate) to: Vec<usize>,
}

impl Session {
    pub(super) fn new(grant: Grant, machine: String, process_id: u32, version: String, workers: u16) -> Self {
        Self {
            grant,
            machine,
            process_id,
            version,
            workers,
            instance: 0,
            found: None,
            offset_ns: None,
            lost: None,
            has_returned: false,
            health: None,
            reconnects: Vec::new(),
            disconnected: Disconnected::default(),
        }
    }

    /// The agent's machine and process id, such as `db1/4711`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.machine, self.process_id)
    }

    /// True when the session's agent process died, as far as is known. It was lost, but not because of the coordinator; it was not asked to
    /// stop, and it did not return.
    pub(super) fn died(&self) -> bool {
        let is_own_loss = |loss: &Loss| loss.reason != COORDINATOR_LOST && !loss.has_left;
        self.lost.as_ref().is_some_and(is_own_loss) && !self.has_returned
    }

    /// The servers that the session's connections to a database reached before any row counted.
    pub(crate) fn identities(&self, target: u16) -> &[ServerIdentity] {
        let Some(found) = &self.found else { return &[] };
        match (target, &found.versus) {
            (0, _) => &found.identities,
            (_, Some(versus)) => &versus.identities,
            (_, None) => &[],
        }
    }

    /// Adds a server that a connection reached before any row counted. Replaces an earlier state of the server.
    pub(super) fn add_identity(&mut self, target: u16, server: ServerIdentity) {
        let Some(found) = &mut self.found else { return };
        let identities = match (target, &mut found.versus) {
            (0, _) => &mut found.identities,
            (_, Some(versus)) => &mut versus.identities,
            (_, None) => return,
        };
        identities.retain(|known| !known.is_same_server(&server));
        identities.push(server);
    }
}
