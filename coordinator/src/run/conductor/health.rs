//! What agents and this process tell of how they fare becomes facts: on the way now and then, and at the end of each session.

use muster_common::health::Interval;
use muster_common::ids::Epoch;

use super::Conductor;
use crate::run::link::MemberId;
use crate::run::record::Fact;

impl Conductor<'_> {
    pub(super) fn note_health(&mut self, id: MemberId, interval: &Interval) {
        // A warm-up is not judged.
        if self.field.as_ref().is_some_and(|field| !field.round.is_counted) {
            return;
        }
        let grant = self.roster.present_mut(id).and_then(|member| member.grant);
        let Some(grant) = grant else { return };
        if let Some(sum) = self.health.add(grant.epoch, interval) {
            self.note(Fact::Health { epoch: grant.epoch.get(), sum: Box::new(sum) });
        }
    }

    /// A session is over.
    pub(super) fn close_health(&mut self, epoch: Epoch) {
        if let Some(sum) = self.health.close(epoch) {
            self.note(Fact::Health { epoch: epoch.get(), sum: Box::new(sum) });
        }
    }

    pub(super) fn note_own_health(&mut self) {
        if let Some(sum) = self.own_health.as_mut().and_then(|own| own.add_up()) {
            self.note(Fact::CoordinatorHealth { sum: Box::new(sum) });
        }
    }

    /// The run is over.
    pub(super) async fn close_all_health(&mut self) {
        for (epoch, sum) in self.health.close_all() {
            self.note(Fact::Health { epoch: epoch.get(), sum: Box::new(sum) });
        }
        if let Some(own) = self.own_health.take() {
            let sum = Box::new(own.finish().await);
            self.note(Fact::CoordinatorHealth { sum });
        }
    }
}
