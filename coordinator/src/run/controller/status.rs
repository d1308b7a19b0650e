//! Publishes the status of the run as metrics, from state that the controller has anyway.

use super::{Phase, RunController};
use crate::clock;
use crate::run::metrics::{Stage, Status};

impl RunController<'_> {
    pub(super) fn publish_status(&self) {
        self.plan.metrics.set_status(|| {
            let is_running = self
                .membership
                .running()
                .filter(|member| member.started.is_some() && member.report.is_none());
            let passes = &self.plan.passes;
            Status {
                stage: Some(self.stage()),
                rows: if passes.is_endless() { 0 } else { passes.rows().into() },
                agents_wanted: self.plan.agents.into(),
                agents_joined: self.membership.slots().joined() as u64,
                agents_running: is_running.count() as u64,
                agents_lost: self.record.lost_while_running().count() as u64,
            }
        });
    }

    fn stage(&self) -> Stage {
        match (self.phase, self.started) {
            (Phase::WaitingForAgents, _) if !self.membership.slots().vacant().is_empty() => {
                Stage::WaitingForAgents
            }
            (Phase::WaitingForAgents, _) | (Phase::Running, None) => Stage::Preparing,
            (Phase::Running, Some(at)) if clock::now() < at => Stage::Armed,
            (Phase::Running, Some(_)) => Stage::Running,
            (Phase::Draining, _) => Stage::Draining,
        }
    }
}
