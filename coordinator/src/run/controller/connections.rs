//! The agents' connections to the database: the servers that they lead to, and the connections that broke and were reopened. Reconnects are
//! recorded at once. They are shown as events in groups, so that many workers that lose a server together cause one event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use muster_common::ids::SlotId;
use muster_common::limits;
use muster_common::server_identity::Reconnects;
use muster_proto::control::WorkerReport;

use super::messages::list;
use super::{RoundContext, RunController};
use crate::clock;
use crate::run::link::MemberId;
use crate::run::record::{Fact, Session};
use crate::run::servers::{Broken, Change, changes};

/// Reconnects that are reported as one event.
#[derive(Debug)]
pub(super) struct Outage {
    broken: Broken,
    slots: BTreeSet<SlotId>,
    last_at: Instant,
}

impl RunController<'_> {
    pub(super) fn note_reconnects(&mut self, id: MemberId, round: u32, reconnects: Reconnects) {
        let Some(grant) = self.membership.present_mut(id).and_then(|member| member.grant) else { return };
        let Reconnects { count, outage_max_ns, .. } = reconnects;
        // A report of the warm-up may arrive when the counted round has begun.
        let is_of_counted = |round_context: &Arc<RoundContext>| {
            round_context.round.is_counted && round_context.round.number == round
        };
        let is_counted = self.round_context.as_ref().is_none_or(is_of_counted);
        let epoch = grant.epoch.get();
        self.note_with_changes(Fact::Reconnected { epoch, reconnects: Box::new(reconnects), is_counted });
        if count == 0 {
            return;
        }
        let now = clock::now();
        let outage = self.outage.get_or_insert_with(|| Outage {
            broken: Broken::default(),
            slots: BTreeSet::new(),
            last_at: now,
        });
        outage.last_at = now;
        outage.slots.insert(grant.slot);
        outage.broken.reconnects = outage.broken.reconnects.saturating_add(count);
        outage.broken.outage_max_ns = outage.broken.outage_max_ns.max(outage_max_ns);
    }

    /// Notes a fact that may show another server or another state of a server. Each new change is an event.
    pub(super) fn note_with_changes(&mut self, fact: Fact) {
        self.note(fact);
        for what in self.new_changes() {
            self.report(what);
        }
    }

    /// Differences between the servers, including those of agents that will run rows. Each difference is returned once.
    pub(super) fn new_changes(&mut self) -> Vec<String> {
        let takes_part = |session: &Session| session.offset_ns.is_some() || session.lost.is_none();
        let all = changes(&self.record, takes_part).into_iter().map(|Change { what, .. }| what);
        all.filter(|what| self.reported_changes.insert(what.clone())).collect()
    }

    /// Reports the outage if no connection has been reopened for a while.
    pub(super) fn close_outage_if_quiet(&mut self) {
        let is_quiet = |outage: &Outage| clock::since(outage.last_at) >= limits::RECONNECTS_QUIET;
        if self.outage.as_ref().is_some_and(is_quiet) {
            self.close_outage();
        }
    }

    pub(super) fn close_outage(&mut self) {
        let Some(Outage { broken, slots, .. }) = self.outage.take() else { return };
        let slots: Vec<SlotId> = slots.into_iter().collect();
        if let Some(what) = broken.reconnected() {
            self.report(format!("{what} ({})", list(&slots)));
        }
    }

    /// Records that a session has reported everything that it ran.
    pub(super) fn note_report(&mut self, slot: SlotId, epoch: u64, reports: &[WorkerReport]) {
        let outages = || reports.iter().filter_map(|report| report.disconnected);
        let outage_max = outages().max().unwrap_or_default();
        let disconnected = outages().count() as u64;
        let disconnected_max_ns = u64::try_from(outage_max.as_nanos()).unwrap_or(u64::MAX);
        self.note(Fact::Reported { epoch, disconnected, disconnected_max_ns });
        let broken = Broken { disconnected, disconnected_max_ns, ..Broken::default() };
        if let Some(what) = broken.still_broken() {
            self.report(format!("{slot}: {what}"));
        }
    }
}
