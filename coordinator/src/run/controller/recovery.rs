//! Recovery from the loss of an agent during a run. A replacement takes the vacant slot, or the slot's hosts move to the other agents, or
//! the run ends. Before another agent runs the slot's rows, the backends that the lost session left in the database are ended.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::ids::{Epoch, RowId, SlotId, WorkerId};
use muster_common::limits;
use muster_common::placement::Candidates;
use muster_common::result::Ending;
use muster_common::slots::Grant;
use muster_proto::control::{BackendsEnded, FromCoordinator, Welcome};
use tokio::time::sleep_until;

use super::messages::{list, rows};
use super::{Handled, RoundContext, RunController, RunError};
use crate::clock;
use crate::run::link::{Loss, MemberId, Share};
use crate::run::plan::OnAgentLoss;
use crate::run::record::Fact;

/// Slots whose rows wait until older backends are ended in the database.
#[derive(Debug, Default)]
pub(super) struct Fences(BTreeMap<SlotId, Fence>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fence {
    asked: Asked,
    /// The rows continue at this time at the latest.
    until: Instant,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The lost agent may still run queries until then.
    NotYet(Instant),
    Member(MemberId),
    /// No agent runs that could be asked. The next one that runs is asked.
    NoAgent,
    /// The agent that was asked could not end the backends, so the rows wait until they end.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The slot's new holder begins.
    Begin(MemberId),
    /// The slot was given up: its hosts move.
    Move,
}

impl Fences {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl RunController<'_> {
    /// Handles the end of a session that held a slot. Its rows wait for the next holder.
    pub(super) fn note_loss(
        &mut self,
        grant: Grant,
        name: &str,
        was_ready: bool,
        loss: &Loss,
        round_context: &RoundContext,
    ) {
        let workers = round_context.workers_of(grant.slot);
        let (slot, reason) = (grant.slot, &loss.reason);
        if loss.is_drained {
            let count = round_context.rows.handed_back(workers, grant.epoch);
            self.report(format!("{slot} left ({name}): {reason}; {} handed back", rows(count)));
        } else {
            let mut what = format!("{slot} lost ({name}): {reason}");
            let lost = round_context.rows.lost(workers, grant.epoch);
            if !lost.is_empty() {
                what.push_str(&format!("; {} may have run and will run again", rows(lost.len())));
            }
            match was_ready {
                true => self.report(what),
                false => self.report_unready_loss(slot, reason, what),
            }
            if loss.has_left {
                round_context.rows.discount([grant.epoch]);
            }
            self.watch_suspects(round_context);
        }
        if !loss.is_drained {
            let lapses_at = loss.lapses_at.unwrap_or_else(|| clock::now() + limits::FENCE);
            self.lapses.insert(slot, (grant, lapses_at));
        }
        self.note(loss.fact(grant.epoch));
        self.fill(grant.slot, round_context);
    }

    /// Starts waiting for processes to return if too many seem to have died while running a row.
    pub(super) fn watch_suspects(&mut self, round_context: &RoundContext) {
        let suspects = round_context.rows.suspects();
        if !suspects.is_empty() {
            self.suspects.push((clock::now() + limits::RETURN_GRACE, suspects));
        }
    }

    /// Quarantines the rows whose processes did not return.
    fn judge_suspects(&mut self, now: Instant, round_context: &RoundContext) {
        let due: Vec<RowId> =
            self.suspects.extract_if(.., |(until, _)| now >= *until).flat_map(|(_, rows)| rows).collect();
        let quarantined = round_context.rows.quarantine(due);
        if quarantined.is_empty() {
            return;
        }
        for row in &quarantined {
            self.report(format!(
                "row {row} is not run again: {} agents died while running it",
                limits::LOSSES_MAX
            ));
        }
        if round_context.round.is_counted {
            self.note(Fact::Quarantined { rows: quarantined.iter().map(|row| row.get()).collect() });
        }
    }

    /// Assigns a vacant slot to a standby.
    pub(super) fn fill(&mut self, slot: SlotId, round_context: &RoundContext) {
        self.fill_with(slot, round_context.workers_of(slot).len());
    }

    pub(super) fn fill_with(&mut self, slot: SlotId, workers: usize) {
        let plan = Arc::clone(&self.plan);
        let Some(member) = self.membership.promote(slot, workers, clock::now()) else { return };
        let Some(grant) = member.grant else { return };
        let config = plan.config_for(member.hello.has_database, member.is_private);
        member.control.send(FromCoordinator::Welcome(Welcome { session: plan.session(grant), config }));
        let what = format!("{slot} taken over by standby agent {}", member.name());
        let joined = Fact::joined(grant, &member.hello);
        self.note(joined);
        self.report(what);
    }

    /// Handles a new holder of a lost slot that is prepared. Older backends are ended before it begins.
    pub(super) fn take_over(&mut self, id: MemberId) {
        let Some(member) = self.membership.present_mut(id) else { return };
        let Some(Grant { slot, epoch }) = member.grant.filter(|_| !member.has_begun) else { return };
        let now = clock::now();
        let asked = match self.lapses.get(&slot) {
            Some((_, at)) if now < *at => Asked::NotYet(*at),
            _ => {
                member.control.send(FromCoordinator::EndBackends { slot, below: epoch });
                Asked::Member(id)
            }
        };
        self.fences.0.insert(slot, Fence { asked, until: patience(now), then: Then::Begin(id) });
    }

    /// Handles an agent's reply to the request to end the backends of a lost session.
    pub(super) fn backends_ended(
        &mut self,
        id: MemberId,
        reply: BackendsEnded,
        round_context: &RoundContext,
    ) {
        let BackendsEnded { slot, outcome } = reply;
        let Some(fence) = self.fences.0.get_mut(&slot).filter(|fence| fence.asked == Asked::Member(id))
        else {
            return;
        };
        match outcome {
            Ok(ended) => {
                if ended > 0 {
                    let plural = if ended == 1 { "" } else { "s" };
                    self.report(format!(
                        "{slot}: {ended} backend{plural} of the lost session ended in the database"
                    ));
                }
                self.lift_fence(slot, round_context);
            }
            Err(problem) => {
                // If the backends were not ended, the server ends their queries when their timeout expires.
                let wait = self.plan.timeout.map(|limit| limit + limits::CANCEL_GRACE);
                (fence.asked, fence.until) = (Asked::Failed, clock::now() + wait.unwrap_or_default());
                let what = match wait {
                    Some(wait) => format!("waiting {wait:?}, until --timeout has ended them"),
                    None => "continuing, because no --timeout is set that would end them".to_owned(),
                };
                self.report(format!(
                    "{slot}: it is not known whether queries of the lost session still run ({problem}); {what}"
                ));
            }
        }
    }

    /// Continues the slot's rows, because no query of the lost session runs any more.
    fn lift_fence(&mut self, slot: SlotId, round_context: &RoundContext) {
        match self.fences.0.remove(&slot).map(|fence| fence.then) {
            Some(Then::Begin(id)) => self.begin(id, round_context),
            Some(Then::Move) => self.move_hosts(slot, round_context),
            None => {}
        }
    }

    /// Gives a share to an agent that joins during a run, because it may have results of an earlier session, which count at once. It
    /// receives rows only when it begins.
    pub(super) fn share_early(&mut self, id: MemberId, round_context: &RoundContext) {
        let Some(member) = self.membership.present_mut(id) else { return };
        let has_none = member.share.borrow().is_none();
        if let Some(Grant { slot, epoch }) = member.grant.filter(|_| has_none) {
            let share = round_context.share(epoch, round_context.workers_of(slot), member.former());
            member.share.send_replace(Some(share));
        }
    }

    /// Gives the new holder of a slot its rows and starts it.
    fn begin(&mut self, id: MemberId, round_context: &RoundContext) {
        let since_start = self.started.map(clock::since).unwrap_or_default();
        let offset = round_context.ran_before + since_start;
        let offset_ns = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
        let Some(member) = self.membership.present_mut(id) else { return };
        let Some(Grant { slot, epoch }) = member.grant else { return };
        member.has_begun = true;
        round_context.rows.begin(round_context.workers_of(slot), epoch, offset_ns);
        // Before the start of the round, the agent starts together with all others.
        if self.started.is_some() {
            let now = clock::since(self.clock_zero);
            member.control.send(FromCoordinator::Arm(round_context.round.arm(Duration::ZERO, now, offset)));
        }
        let what = format!("{slot} continues with {}; no host moved", member.name());
        if self.is_reported(round_context) {
            self.note(Fact::Began { slot: slot.get(), epoch: epoch.get(), offset_ns });
        }
        self.report(what);
    }

    /// In a resumed run: lets one agent end the backends of all earlier sessions, after their leases have expired. If a backend were ended
    /// earlier, its query would count as failed at an agent that does not know yet that its session has ended. Returns false if an agent
    /// was lost meanwhile.
    pub(super) async fn clear(&mut self, leases_lapse_at: Instant) -> Result<bool, RunError> {
        while self.membership.slots().all_ready() && clock::now() < leases_lapse_at {
            self.handle_one_call(leases_lapse_at).await?;
        }
        if !self.membership.slots().all_ready() {
            return Ok(false);
        }
        let grants: Vec<Grant> = self.membership.live().filter_map(|member| member.grant).collect();
        if let Some(member) = self.membership.live().next() {
            for Grant { slot, epoch } in &grants {
                member.control.send(FromCoordinator::EndBackends { slot: *slot, below: *epoch });
            }
        }
        self.cleared.clear();
        self.uncleared.clear();
        let patience = limits::END_BACKENDS_TIMEOUT + limits::FENCE;
        let (mut begins_at, mut give_up_at) = (clock::now(), clock::now() + patience);
        while self.membership.slots().all_ready() {
            let all_clear = grants.iter().all(|grant| self.cleared.contains(&grant.slot));
            let until = if all_clear { begins_at } else { give_up_at };
            if clock::now() >= until {
                return Ok(true);
            }
            let (known, unknown) = (self.cleared.len(), self.uncleared.len());
            self.handle_one_call(until).await?;
            if self.cleared.len() > known {
                give_up_at = clock::now() + patience;
            }
            if self.uncleared.len() > unknown {
                // The server ends these queries when their timeout expires.
                let wait = self.plan.timeout.map_or(Duration::ZERO, |limit| limit + limits::CANCEL_GRACE);
                begins_at = clock::now() + wait;
            }
        }
        Ok(false)
    }

    /// Waits for one call and handles it. Returns at `until` at the latest.
    async fn handle_one_call(&mut self, until: Instant) -> Result<(), RunError> {
        let interrupt = self.interrupt.clone();
        tokio::select! {
            biased;
            () = interrupt.cancelled() => Err(RunError::Interrupted),
            () = sleep_until(until.into()) => Ok(()),
            Some(call) = self.calls.recv() => match self.handle_call(call) {
                Handled::PrepareFailed(error) => Err(error),
                Handled::Unreadable(problem) => Err(RunError::Workload(problem)),
                Handled::Nothing => Ok(()),
            },
        }
    }

    /// Handles an agent's reply, before the start, to the request to end the backends of a slot's earlier sessions.
    pub(super) fn note_cleared(&mut self, reply: &BackendsEnded) {
        self.cleared.insert(reply.slot);
        match &reply.outcome {
            Ok(0) => {}
            Ok(ended) => self.report(format!(
                "{}: {ended} backends of earlier sessions ended in the database",
                reply.slot
            )),
            Err(problem) => {
                self.uncleared.insert(reply.slot);
                self.report(format!(
                    "{}: it is not known whether queries of earlier sessions still run: {problem}",
                    reply.slot
                ));
            }
        }
    }

    /// Handles every vacant slot. Returns `Some` if the run cannot continue.
    pub(super) fn handle_vacant_slots(&mut self, round_context: &RoundContext) -> Option<Ending> {
        let now = clock::now();
        self.give_up_stuck(now);
        self.judge_suspects(now, round_context);
        self.check_fences(now, round_context);
        let overdue = self.membership.slots().overdue(now, self.plan.slot_grace);
        if overdue.is_empty() {
            return None;
        }
        let all_overdue = overdue.len() == self.membership.slots().vacant().len();
        if all_overdue && self.membership.live().next().is_none() {
            self.report("no agent is left, and none joined within the grace period".to_owned());
            return Some(Ending::AgentsLost);
        }
        match self.plan.on_agent_loss {
            OnAgentLoss::Fail => return Some(Ending::AgentsLost),
            OnAgentLoss::Wait => self.show_missing_agents(now),
            // Hosts move only to agents that run, and an agent that still prepares is not among them yet.
            OnAgentLoss::Reassign if self.membership.running().next().is_none() => {}
            OnAgentLoss::Reassign => {
                for slot in overdue {
                    self.give_up(slot, now);
                }
            }
        }
        None
    }

    /// Ends the sessions of replacements that do not become ready in time.
    fn give_up_stuck(&mut self, now: Instant) {
        for slot in self.membership.slots().stuck(now, limits::PREPARE_TIMEOUT) {
            if let Some(id) = self.membership.holder(slot).map(|member| member.id) {
                let reason = format!("not ready within {:?}", limits::PREPARE_TIMEOUT);
                self.handle_loss(id, &Loss::because(reason));
            }
        }
    }

    /// Gives a slot up. Its hosts move when its backends have been ended.
    fn give_up(&mut self, slot: SlotId, now: Instant) {
        self.membership.slots_mut().retire(slot);
        self.ask_to_end_backends(slot, now);
    }

    /// Asks a running agent to end the backends of a slot that was given up.
    fn ask_to_end_backends(&mut self, slot: SlotId, now: Instant) {
        let asked = match (self.lapses.get(&slot), self.membership.running().next()) {
            (Some((_, at)), _) if now < *at => Asked::NotYet(*at),
            (_, Some(member)) => {
                let below = Epoch::new(u64::MAX);
                member.control.send(FromCoordinator::EndBackends { slot, below });
                Asked::Member(member.id)
            }
            (_, None) => Asked::NoAgent,
        };
        self.fences.0.insert(slot, Fence { asked, until: patience(now), then: Then::Move });
    }

    /// Asks again where the asked agent was lost, and lifts the fences whose time is over.
    fn check_fences(&mut self, now: Instant, round_context: &RoundContext) {
        for (slot, fence) in self.fences.0.clone() {
            let must_ask = match fence.asked {
                Asked::Member(id) => self.membership.present_mut(id).is_none(),
                Asked::NoAgent => true,
                Asked::NotYet(at) => now >= at,
                Asked::Failed => false,
            };
            match fence.then {
                // The new holder was lost, too, and its loss has started a new recovery.
                Then::Begin(id) if self.membership.present_mut(id).is_none() => {
                    self.fences.0.remove(&slot);
                }
                Then::Begin(id) if must_ask => self.take_over(id),
                Then::Move if must_ask => self.ask_to_end_backends(slot, now),
                _ if now >= fence.until => self.lift_fence(slot, round_context),
                _ => {}
            }
        }
    }

    /// Distributes the hosts of a lost slot over the running workers. No other host moves.
    fn move_hosts(&mut self, slot: SlotId, round_context: &RoundContext) {
        let running = self.membership.running().filter_map(|member| member.grant);
        let targets: Vec<usize> = running.flat_map(|grant| round_context.workers_of(grant.slot)).collect();
        if targets.is_empty() {
            // The last running agent was lost meanwhile. When another one runs, it is asked again.
            self.ask_to_end_backends(slot, clock::now());
            return;
        }
        let moved = round_context.move_hosts(slot, &targets);
        self.note(Fact::Moved { from: slot.get(), to: targets });
        self.report(format!(
            "{slot} given up: its hosts and their {} move to {}",
            rows(moved),
            list(
                &self
                    .membership
                    .running()
                    .filter_map(|member| member.grant)
                    .map(|grant| grant.slot)
                    .collect::<Vec<_>>()
            )
        ));
    }

    fn show_missing_agents(&mut self, now: Instant) {
        let is_due = self.missing_shown_at.is_none_or(|at| now >= at + limits::JOIN_NOTICE_EVERY);
        if is_due {
            self.missing_shown_at = Some(now);
            let notice = self.missing_agents();
            self.display.println(&notice);
        }
    }
}

/// The time until which to wait for an agent that was asked to end backends, including its lease and that of the lost session.
fn patience(now: Instant) -> Instant {
    now + limits::FENCE + limits::END_BACKENDS_TIMEOUT + limits::FENCE
}

impl RoundContext {
    /// Moves a slot's hosts to the workers at these positions. Returns the number of rows that move with them.
    pub(super) fn move_hosts(&self, slot: SlotId, to: &[usize]) -> usize {
        let ids: Vec<WorkerId> = to.iter().map(|position| self.workers[*position]).collect();
        let candidates = Candidates::new(&ids);
        let workload = &self.workload;
        let mut owners = HashMap::new();
        let owner = |record: RowId| {
            let host = workload.host_of(record).expect("records are of the workload");
            let best = || to[candidates.owner(workload.hosts().name(host)) as usize];
            *owners.entry(host).or_insert_with(best)
        };
        self.rows.reassign(self.workers_of(slot), owner)
    }

    /// The positions of a slot's workers in the placement's list.
    pub(super) fn workers_of(&self, slot: SlotId) -> Range<usize> {
        self.workers_of_slot.get(slot.index()).cloned().unwrap_or(0..0)
    }

    pub(super) fn share(&self, epoch: Epoch, workers: Range<usize>, former: Arc<[Grant]>) -> Share {
        Share {
            epoch,
            former,
            workers,
            workload: Arc::clone(&self.workload),
            rows: Arc::clone(&self.rows),
            keeper: self.keeper.clone(),
            is_open_loop: self.is_open_loop,
            in_flight_max: (limits::IN_FLIGHT_ROWS_MAX / self.workers.len().max(1))
                .max(limits::IN_FLIGHT_ROWS_OF_WORKER),
        }
    }
}
