//! Connections to the database that broke and were reopened. They are recorded at once, and shown as events in groups, so that many workers
//! that lose a server together cause one event.

use std::collections::BTreeSet;
use std::time::Instant;

use muster_core::ids::SlotId;
use muster_core::limits;
use muster_core::server_identity::Reconnects;

use super::messages::list;
use crate::run::servers::Broken;

/// Reconnects that are reported as one event.
#[derive(Debug, Default)]
pub(super) struct Outage {
    broken: Broken,
    slots: BTreeSet<SlotId>,
    last_at: Option<Instant>,
}

impl Outage {
    pub(super) fn add(&mut self, slot: SlotId, reconnects: &Reconnects, now: Instant) {
        if reconnects.count > 0 {
            self.last_at = Some(now);
            self.slots.insert(slot);
            self.broken.reconnects = self.broken.reconnects.saturating_add(reconnects.count);
            self.broken.outage_max_ns = self.broken.outage_max_ns.max(reconnects.outage_max_ns);
        }
    }

    /// Ends the outage if no connection has been reopened for a while. Returns its message.
    pub(super) fn close_if_quiet(&mut self, now: Instant) -> Option<String> {
        let is_quiet = self.last_at.is_some_and(|at| now >= at + limits::RECONNECTS_QUIET);
        is_quiet.then(|| self.close()).flatten()
    }

    pub(super) fn close(&mut self) -> Option<String> {
        let Self { broken, slots, .. } = std::mem::take(self);
        let slots: Vec<SlotId> = slots.into_iter().collect();
        broken.reconnected().map(|what| format!("{what} ({})", list(&slots)))
    }
}
