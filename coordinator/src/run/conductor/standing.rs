//! Where the run stands, for whoever watches it. All of it is seen from the state that the conductor has anyway.

use super::{Conductor, Phase};
use crate::clock;
use crate::run::metrics::{Stage, Standing};

impl Conductor<'_> {
    pub(super) fn tell_standing(&self) {
        self.plan.metrics.stand(|| {
            let is_running =
                self.roster.running().filter(|member| member.started.is_some() && member.report.is_none());
            let passes = &self.plan.passes;
            Standing {
                stage: Some(self.stage()),
                rows: if passes.is_endless() { 0 } else { passes.rows().into() },
                agents_wanted: self.plan.agents.into(),
                agents_joined: self.roster.slots().joined() as u64,
                agents_running: is_running.count() as u64,
                agents_lost: self.record.lost_while_running().count() as u64,
            }
        });
    }

    fn stage(&self) -> Stage {
        match (self.phase, self.started) {
            (Phase::Gathering, _) if !self.roster.slots().vacant().is_empty() => Stage::Gathering,
            (Phase::Gathering, _) | (Phase::Running, None) => Stage::Preparing,
            (Phase::Running, Some(at)) if clock::now() < at => Stage::Armed,
            (Phase::Running, Some(_)) => Stage::Running,
            (Phase::Draining, _) => Stage::Draining,
        }
    }
}
