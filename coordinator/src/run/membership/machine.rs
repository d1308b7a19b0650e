//! The state machine: joins, readiness, losses, replies and time.

use std::time::Instant;

use muster_core::ids::{Epoch, RowId, SlotId};
use muster_core::limits;
use muster_core::slots::Grant;

use super::clearance::Clearance;
use super::effect::{Effect, EndReason};
use super::fences::{Fences, Then};
use super::member::{Applicant, Loss, Member, MemberId, Refusal};
use super::members::Members;
use super::placed::PlacedWorkers;
use super::policy::{Phase, Policy};
use super::suspects::Suspects;
use crate::spec::OnAgentLoss;

#[derive(Debug)]
pub(crate) struct Membership {
    policy: Policy,
    phase: Phase,
    members: Members,
    placed: PlacedWorkers,
    fences: Fences,
    suspects: Suspects,
    /// In a resumed run, before its rows begin.
    clearance: Option<Clearance>,
    /// The time at which the missing agents were last shown during the run.
    missing_shown_at: Option<Instant>,
}

impl Membership {
    /// `first_epoch` must be above every epoch that was ever assigned in this run. `workers_of_slot` is empty unless an earlier coordinator
    /// has placed the hosts.
    pub(crate) fn new(agents: u16, first_epoch: Epoch, workers_of_slot: Vec<u16>, policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::WaitingForAgents,
            members: Members::new(agents, first_epoch),
            placed: PlacedWorkers::new(workers_of_slot),
            fences: Fences::default(),
            suspects: Suspects::default(),
            clearance: None,
            missing_shown_at: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// Returns true if every slot is held by a prepared agent or given up, and no slot waits for the end of older backends.
    pub(crate) fn is_settled(&self) -> bool {
        let slots = self.members.slots();
        slots.vacant().is_empty() && slots.preparing().is_empty() && self.fences.is_empty()
    }

    // -- phases --------------------------------------------------------------------------------------------------------

    /// Starts the run with the agents that hold the slots, and returns their numbers of workers. From now on an agent can only take a slot
    /// for which it has the same number.
    pub(crate) fn start(&mut self) -> Vec<u16> {
        self.phase = Phase::Running;
        self.clearance = None;
        let workers: Vec<u16> = self.members.live().map(|(member, _)| member.applicant.workers).collect();
        self.placed = PlacedWorkers::new(workers.clone());
        workers
    }

    /// Begins a round: every prepared agent runs the rows of its slot. Returns the sessions that run, by slot. An agent whose slot still
    /// waits for the end of older backends begins when they are ended.
    pub(crate) fn begin_round(&mut self) -> Vec<(MemberId, Grant)> {
        self.suspects.clear();
        let prepared = self.members.live().filter(|(member, _)| member.is_ready);
        let begun: Vec<_> = prepared
            .filter(|(_, grant)| !self.fences.is_raised(grant.slot))
            .map(|(member, grant)| (member.id, grant))
            .collect();
        for (id, _) in &begun {
            if let Some(member) = self.members.present_mut(*id) {
                member.has_begun = true;
            }
        }
        begun
    }

    pub(crate) fn drain(&mut self) {
        self.phase = Phase::Draining;
    }

    /// From now on agents may disconnect, which is not a loss.
    pub(crate) fn dismiss(&mut self) {
        self.phase = Phase::Dismissed;
    }

    /// In a resumed run: lets one agent end the backends of all earlier sessions.
    pub(crate) fn clear(&mut self, now: Instant) -> Vec<Effect> {
        let live = self.members.live();
        self.clearance = Some(Clearance::begin(live.clone().map(|(_, grant)| grant.slot), now));
        let Some(member) = live.clone().next().map(|(member, _)| member.id) else { return Vec::new() };
        live.map(|(_, Grant { slot, epoch })| Effect::EndBackends { member, slot, below: epoch }).collect()
    }

    /// The time at which the rows of a resumed run may begin, as far as is known. `None` if an agent was lost.
    pub(crate) fn clear_until(&self) -> Option<Instant> {
        self.clearance.as_ref().filter(|_| self.members.slots().all_ready()).map(Clearance::until)
    }

    // -- events --------------------------------------------------------------------------------------------------------

    /// Handles a request to join. The effects are executed even if the agent is refused.
    pub(crate) fn join(
        &mut self,
        applicant: Applicant,
        now: Instant,
    ) -> (Result<MemberId, Refusal>, Vec<Effect>) {
        let mut effects = Vec::new();
        if self.phase >= Phase::Draining {
            return (Err(Refusal::over()), effects);
        }
        self.end_former(&applicant, now, &mut effects);
        (self.admit(applicant, now, &mut effects), effects)
    }

    pub(crate) fn ready(&mut self, id: MemberId, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(member) = self.members.ready(id) else { return effects };
        let (grant, has_begun) = (member.grant, member.has_begun);
        let is_running = self.phase == Phase::Running;
        match grant {
            Some(grant) => {
                effects.push(Effect::Ready { member: id, grant });
                if is_running && !has_begun {
                    self.fence(grant.slot, Then::Begin { member: id, epoch: grant.epoch }, now, &mut effects);
                }
            }
            None => {
                effects.extend(is_running.then_some(Effect::StandsBy { member: id }));
                for slot in self.members.slots().vacant() {
                    self.fill(slot, now, &mut effects);
                }
            }
        }
        effects
    }

    /// Ends a session. A session that has ended already has no effects, so that every loss is handled once.
    pub(crate) fn lost(&mut self, id: MemberId, loss: Loss, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.phase {
            Phase::Dismissed => self.members.disconnected(id, now),
            _ => self.end_session(id, loss, now, &mut effects),
        }
        effects
    }

    /// Handles an agent's reply to the request to end the backends of a slot's earlier sessions.
    pub(crate) fn backends_ended(
        &mut self,
        id: MemberId,
        slot: SlotId,
        outcome: Result<u32, String>,
        now: Instant,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let is_awaited = match self.phase {
            Phase::WaitingForAgents => true,
            Phase::Running => self.fences.awaits(slot, id),
            Phase::Draining | Phase::Dismissed => false,
        };
        if !is_awaited {
            return effects;
        }
        // If the backends were not ended, the server ends their queries when their timeout expires.
        let wait = self.policy.queries_end_within;
        let ends_at = outcome.is_err().then(|| now + wait.unwrap_or_default());
        match outcome {
            Ok(0) => {}
            Ok(ended) => effects.push(Effect::BackendsEnded { slot, ended }),
            Err(problem) => effects.push(Effect::BackendsUnknown { slot, problem, wait }),
        }
        match (&mut self.clearance, ends_at) {
            (Some(clearance), _) => clearance.replied(slot, ends_at, now),
            (None, Some(ends_at)) => self.fences.wait(slot, ends_at),
            (None, None) => self.lift_fence(slot, now, &mut effects),
        }
        effects
    }

    /// These rows wait, because too many agent processes seem to have died while running them.
    pub(crate) fn suspected(&mut self, rows: Vec<RowId>, now: Instant) {
        self.suspects.add(rows, now);
    }

    /// Only these rows are still suspects, because a process has returned.
    pub(crate) fn still_suspected(&mut self, rows: &[RowId]) {
        self.suspects.retain(rows);
    }

    /// The agent's countdown ended at this time.
    pub(crate) fn started(&mut self, id: MemberId, at: Option<Instant>) {
        if let Some(member) = self.members.present_mut(id) {
            member.started = at;
        }
    }

    /// The agent has reported everything that it ran. Returns its session.
    pub(crate) fn reported(&mut self, id: MemberId) -> Option<Grant> {
        let member = self.members.present_mut(id)?;
        member.has_reported = true;
        member.grant
    }

    /// Handles the time that has passed since the last call, while rows run.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.give_up_stuck(now, &mut effects);
        let rows = self.suspects.take_due(now);
        if !rows.is_empty() {
            effects.push(Effect::Quarantine { rows });
        }
        self.check_fences(now, &mut effects);
        self.handle_vacant_slots(now, &mut effects);
        effects
    }

    // -- joining -------------------------------------------------------------------------------------------------------

    /// Handles the return of a process. A process that joins is alive and has no other session. Its earlier session has ended, possibly
    /// before this coordinator noticed, and the process did not die with it.
    fn end_former(&mut self, applicant: &Applicant, now: Instant, effects: &mut Vec<Effect>) {
        let Applicant { instance, ended, .. } = *applicant;
        let is_same_process = |of: u64| of == instance && instance != 0;
        let former = self
            .members
            .live()
            .filter(|(member, grant)| Some(*grant) == ended || is_same_process(member.applicant.instance));
        for id in former.map(|(member, _)| member.id).collect::<Vec<_>>() {
            self.end_session(id, Loss::because("its agent joined again"), now, effects);
        }
        if let Some(ended) = ended {
            self.fences.has_ended(ended);
        }
        if instance != 0 {
            effects.push(Effect::Returned { instance });
        }
    }

    fn admit(
        &mut self,
        applicant: Applicant,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> Result<MemberId, Refusal> {
        let slot = self.placed.slot_for(&applicant, self.members.slots())?;
        if slot.is_none() && self.members.standbys().count() >= limits::STANDBYS_MAX {
            let reason = "all slots are taken, and there are enough standby agents".to_owned();
            return Err(Refusal { reason, retry: true });
        }
        let (member, grant) = self.members.join(applicant, slot, now)?;
        effects.push(match grant {
            Some(grant) => Effect::Granted { member, grant, was_standby: false },
            None => Effect::Waits { member },
        });
        Ok(member)
    }

    /// Assigns a vacant slot to a prepared standby.
    fn fill(&mut self, slot: SlotId, now: Instant, effects: &mut Vec<Effect>) {
        if self.phase >= Phase::Draining {
            return;
        }
        let fits = |member: &&Member| member.is_ready && self.placed.fits(slot, &member.applicant);
        let fitting = self.members.standbys().find(fits).map(|member| member.id);
        if let Some(member) = fitting
            && let Some(grant) = self.members.promote(member, slot, now)
        {
            effects.push(Effect::Granted { member, grant, was_standby: true });
        }
    }

    // -- losses --------------------------------------------------------------------------------------------------------

    fn end_session(&mut self, id: MemberId, loss: Loss, now: Instant, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.lose(id, now) else { return };
        effects.push(Effect::Ended { member: id, grant: member.grant, is_forgotten: !member.has_begun });
        let Some(grant) = member.grant else { return };
        if self.phase == Phase::Running && !loss.is_drained {
            self.fences.lapse(grant, loss.lapses_at.unwrap_or(now + limits::FENCE));
        }
        let (name, was_ready) = (member.applicant.name, member.is_ready);
        effects.push(Effect::Lost { grant, name, was_ready, loss });
        self.fill(grant.slot, now, effects);
    }

    /// Ends the sessions of replacements that do not become ready in time.
    fn give_up_stuck(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for slot in self.members.slots().stuck(now, limits::PREPARE_TIMEOUT) {
            if let Some(id) = self.members.holder(slot).map(|member| member.id) {
                let reason = format!("not ready within {:?}", limits::PREPARE_TIMEOUT);
                self.end_session(id, Loss::because(reason), now, effects);
            }
        }
    }

    fn handle_vacant_slots(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let overdue = self.members.slots().overdue(now, self.policy.slot_grace);
        if overdue.is_empty() {
            return;
        }
        let all_overdue = overdue.len() == self.members.slots().vacant().len();
        if all_overdue && self.members.live().next().is_none() {
            effects.push(Effect::End(EndReason::NoAgentLeft));
            return;
        }
        match self.policy.on_agent_loss {
            OnAgentLoss::Fail => effects.push(Effect::End(EndReason::SlotLost)),
            OnAgentLoss::Wait => {
                if self.missing_shown_at.is_none_or(|at| now >= at + limits::JOIN_NOTICE_EVERY) {
                    self.missing_shown_at = Some(now);
                    effects.push(Effect::ShowMissing);
                }
            }
            // Hosts move only to agents that run, and an agent that still prepares is not among them yet.
            OnAgentLoss::Reassign if self.members.running().next().is_none() => {}
            OnAgentLoss::Reassign => {
                for slot in overdue {
                    self.members.retire(slot);
                    self.fence(slot, Then::Move, now, effects);
                }
            }
        }
    }

    // -- fences --------------------------------------------------------------------------------------------------------

    /// Lets the slot's rows wait until older backends are ended. The slot's new holder ends them, or, if it was given up, a running agent.
    fn fence(&mut self, slot: SlotId, then: Then, now: Instant, effects: &mut Vec<Effect>) {
        let agent = match then {
            Then::Begin { member, .. } => Some(member),
            Then::Move => self.members.running().next().map(|(member, _)| member.id),
        };
        effects.extend(self.fences.raise(slot, then, agent, now));
    }

    /// Asks again where the asked agent was lost, and lifts the fences whose time is over.
    fn check_fences(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for (slot, fence) in self.fences.all() {
            let is_present = |id| self.members.present(id).is_some();
            let must_ask = fence.must_ask(now, is_present);
            match fence.then {
                // The new holder was lost, too, and its loss has started a new recovery.
                Then::Begin { member, .. } if !is_present(member) => drop(self.fences.lift(slot)),
                then if must_ask => self.fence(slot, then, now, effects),
                _ if fence.is_over(now) => self.lift_fence(slot, now, effects),
                _ => {}
            }
        }
    }

    /// Continues the slot's rows, because no query of the lost session runs any more.
    fn lift_fence(&mut self, slot: SlotId, now: Instant, effects: &mut Vec<Effect>) {
        match self.fences.lift(slot) {
            Some(Then::Begin { member: id, .. }) => {
                if let Some(member) = self.members.present_mut(id)
                    && let Some(grant) = member.grant
                {
                    member.has_begun = true;
                    effects.push(Effect::Begin { member: id, grant });
                }
            }
            Some(Then::Move) => {
                let to: Vec<SlotId> = self.members.running().map(|(_, grant)| grant.slot).collect();
                match to.is_empty() {
                    // The last running agent was lost meanwhile. When another one runs, it is asked again.
                    true => self.fence(slot, Then::Move, now, effects),
                    false => effects.push(Effect::Move { slot, to }),
                }
            }
            None => {}
        }
    }
}
