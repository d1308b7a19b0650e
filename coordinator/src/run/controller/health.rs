//! Turns the health samples of agents and of this process into facts, at intervals during a session and at its end.

use muster_common::health::HealthSample;
use muster_common::ids::Epoch;

use super::RunController;
use crate::run::link::MemberId;
use crate::run::record::Fact;

impl RunController<'_> {
    pub(super) fn note_health(&mut self, id: MemberId, sample: &HealthSample) {
        // The health of a warm-up is not part of the verdict.
        if self.round_context.as_ref().is_some_and(|round_context| !round_context.round.is_counted) {
            return;
        }
        let grant = self.membership.present_mut(id).and_then(|member| member.grant);
        let Some(grant) = grant else { return };
        if let Some(totals) = self.health.add(grant.epoch, sample) {
            self.note(Fact::Health { epoch: grant.epoch.get(), sum: Box::new(totals) });
        }
    }

    /// Records the totals of a session that has ended.
    pub(super) fn close_health(&mut self, epoch: Epoch) {
        if let Some(totals) = self.health.close(epoch) {
            self.note(Fact::Health { epoch: epoch.get(), sum: Box::new(totals) });
        }
    }

    pub(super) fn note_own_health(&mut self) {
        if let Some(totals) = self.own_health.as_mut().and_then(|own| own.add_samples()) {
            self.note(Fact::CoordinatorHealth { sum: Box::new(totals) });
        }
    }

    /// Records the totals of all sessions and of this process at the end of the run.
    pub(super) async fn close_all_health(&mut self) {
        for (epoch, totals) in self.health.close_all() {
            self.note(Fact::Health { epoch: epoch.get(), sum: Box::new(totals) });
        }
        if let Some(own) = self.own_health.take() {
            let sum = Box::new(own.finish().await);
            self.note(Fact::CoordinatorHealth { sum });
        }
    }
}
