//! What an agent process carries from one session to the next.

use std::time::Instant;

use muster_core::ids::RunId;
use muster_core::outbox::Unacked;
use muster_core::session_token::GrantedSession;
use muster_proto::control::Ran;
use tracing::warn;

/// The identity of the process, and the outcome of its earlier sessions.
#[derive(Debug)]
pub(crate) struct History {
    /// A random id of this process, which is the same in all its sessions.
    pub(crate) instance: u64,
    /// The last session that held a slot and has no running queries.
    pub(crate) ended: Option<GrantedSession>,
    /// The progress of the last session that ran rows.
    pub(crate) ran: Option<Ran>,
    /// A session has connected and prepared all its workers since this flag was last cleared.
    pub(crate) got_ready: bool,
    pub(crate) unacked: Option<UnackedResults>,
}

impl History {
    pub(crate) fn new(instance: u64) -> Self {
        Self { instance, ended: None, ran: None, got_ready: false, unacked: None }
    }

    pub(crate) fn count_unacked(&self) -> usize {
        self.unacked.as_ref().map_or(0, UnackedResults::count)
    }

    /// Takes the results of earlier sessions of the same run, and these sessions. Results of another run are dropped.
    pub(crate) fn take_unacked(&mut self, run: &RunId) -> (Vec<Unacked>, Vec<GrantedSession>) {
        match self.unacked.take() {
            Some(unacked) if unacked.run == *run => (unacked.results, unacked.sessions),
            Some(other) => {
                warn!("{} results of run {} are dropped: this is run {run}", other.count(), other.run);
                Default::default()
            }
            None => Default::default(),
        }
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
    pub(crate) fn count(&self) -> usize {
        self.results.iter().map(|unacked| unacked.measurements.len()).sum()
    }
}
