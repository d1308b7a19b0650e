//! Tests of the membership alone: single decisions, and invariants over random sequences of events.

mod decisions;
mod invariants;

use std::time::{Duration, Instant};

use muster_core::ids::{Epoch, SlotId};
use muster_core::slots::Grant;

use super::{Applicant, Effect, Loss, MemberId, Membership, Policy, Refusal};
use crate::spec::OnAgentLoss;

const GRACE: Duration = Duration::from_secs(10);

fn policy(on_agent_loss: OnAgentLoss) -> Policy {
    Policy { slot_grace: GRACE, on_agent_loss, queries_end_within: Some(Duration::from_secs(30)) }
}

fn agent(process: u64, workers: u16) -> Applicant {
    Applicant { name: format!("db1/{process}"), workers, slot: None, instance: process, ended: None }
}

/// A membership with its clock.
struct Run {
    membership: Membership,
    now: Instant,
}

impl Run {
    fn waiting(slots: u16, on_agent_loss: OnAgentLoss) -> Self {
        let membership = Membership::new(slots, Epoch::new(1), Vec::new(), policy(on_agent_loss));
        Self { membership, now: Instant::now() }
    }

    /// A run whose agents, with two workers each, run a round: processes 1, 2, … are members 0, 1, ….
    fn running(slots: u16, on_agent_loss: OnAgentLoss) -> Self {
        let mut run = Self::waiting(slots, on_agent_loss);
        for process in 1..=slots {
            let (member, _) = run.join(agent(process.into(), 2)).unwrap();
            run.ready(member);
        }
        run.membership.start();
        run.membership.begin_round();
        run
    }

    fn join(&mut self, applicant: Applicant) -> Result<(MemberId, Vec<Effect>), Refusal> {
        let (member, effects) = self.membership.join(applicant, self.now);
        member.map(|member| (member, effects))
    }

    fn ready(&mut self, member: MemberId) -> Vec<Effect> {
        self.membership.ready(member, self.now)
    }

    fn lose(&mut self, member: MemberId) -> Vec<Effect> {
        self.membership.lost(member, Loss::because("killed"), self.now)
    }

    /// Lets time pass.
    fn after(&mut self, time: Duration) -> Vec<Effect> {
        self.now += time;
        self.membership.tick(self.now)
    }

    fn replied(&mut self, member: MemberId, slot: u16, outcome: Result<u32, String>) -> Vec<Effect> {
        self.membership.backends_ended(member, SlotId::new(slot), outcome, self.now)
    }
}

fn grant(slot: u16, epoch: u64) -> Grant {
    Grant { slot: SlotId::new(slot), epoch: Epoch::new(epoch) }
}
