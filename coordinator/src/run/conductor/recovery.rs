//! What follows from a loss in mid-run. A replacement takes the vacant slot, or the slot's hosts move to the others, or the run ends;
//! before anybody else runs its rows, whatever the lost session left in the database is ended.

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

use super::sentences::{list, rows};
use super::{Conductor, Field, RunError, Turn};
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
    /// The rows go on at the latest then.
    until: Instant,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The lost agent may still run queries until then.
    NotYet(Instant),
    Member(MemberId),
    /// Nobody runs who could be asked; the next who does is.
    Nobody,
    /// Who was asked cannot tell: only time helps.
    InVain,
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

impl Conductor<'_> {
    /// A session that held a slot is over. Its rows wait for whoever comes next.
    pub(super) fn note_loss(
        &mut self,
        grant: Grant,
        name: &str,
        was_ready: bool,
        loss: &Loss,
        field: &Field,
    ) {
        let workers = field.workers_of(grant.slot);
        let (slot, reason) = (grant.slot, &loss.reason);
        if loss.is_drained {
            let count = field.rows.handed_back(workers, grant.epoch);
            self.tell(format!("{slot} left ({name}): {reason}; {} handed back", rows(count)));
        } else {
            let mut what = format!("{slot} lost ({name}): {reason}");
            let lost = field.rows.lost(workers, grant.epoch);
            if !lost.is_empty() {
                what.push_str(&format!("; {} may have run and will run again", rows(lost.len())));
            }
            match was_ready {
                true => self.tell(what),
                false => self.tell_unready_loss(slot, reason, what),
            }
            if loss.has_left {
                field.rows.discount([grant.epoch]);
            }
            self.watch_suspects(field);
        }
        if !loss.is_drained {
            let lapses_at = loss.lapses_at.unwrap_or_else(|| clock::now() + limits::FENCE);
            self.lapses.insert(slot, (grant, lapses_at));
        }
        self.note(loss.fact(grant.epoch));
        self.fill(grant.slot, field);
    }

    /// Starts the wait for processes to come back when too many seem to have died with a row.
    pub(super) fn watch_suspects(&mut self, field: &Field) {
        let suspects = field.rows.suspects();
        if !suspects.is_empty() {
            self.suspects.push((clock::now() + limits::RETURN_GRACE, suspects));
        }
    }

    /// Gives up the rows whose processes did not come back.
    fn judge_suspects(&mut self, now: Instant, field: &Field) {
        let due: Vec<RowId> =
            self.suspects.extract_if(.., |(until, _)| now >= *until).flat_map(|(_, rows)| rows).collect();
        let given_up = field.rows.quarantine(due);
        if given_up.is_empty() {
            return;
        }
        for row in &given_up {
            self.tell(format!("row {row} is run no more: {} agents died with it", limits::LOSSES_MAX));
        }
        if field.round.is_counted {
            self.note(Fact::Quarantined { rows: given_up.iter().map(|row| row.get()).collect() });
        }
    }

    /// Gives a vacant slot to an agent that stands by.
    pub(super) fn fill(&mut self, slot: SlotId, field: &Field) {
        self.fill_with(slot, field.workers_of(slot).len());
    }

    pub(super) fn fill_with(&mut self, slot: SlotId, workers: usize) {
        let plan = Arc::clone(&self.plan);
        let Some(member) = self.roster.promote(slot, workers, clock::now()) else { return };
        let Some(grant) = member.grant else { return };
        let config = plan.config_for(member.hello.has_database, member.is_private);
        member.line.say(FromCoordinator::Welcome(Welcome { session: plan.session(grant), config }));
        let what = format!("{slot} taken over by {}, which stood by", member.name());
        let joined = Fact::joined(grant, &member.hello);
        self.note(joined);
        self.tell(what);
    }

    /// The new holder of a lost slot is prepared. Older backends are ended first.
    pub(super) fn take_over(&mut self, id: MemberId) {
        let Some(member) = self.roster.present_mut(id) else { return };
        let Some(Grant { slot, epoch }) = member.grant.filter(|_| !member.has_begun) else { return };
        let now = clock::now();
        let asked = match self.lapses.get(&slot) {
            Some((_, at)) if now < *at => Asked::NotYet(*at),
            _ => {
                member.line.say(FromCoordinator::EndBackends { slot, below: epoch });
                Asked::Member(id)
            }
        };
        self.fences.0.insert(slot, Fence { asked, until: patience(now), then: Then::Begin(id) });
    }

    /// An agent has looked whether backends of a lost session are left.
    pub(super) fn backends_ended(&mut self, id: MemberId, answer: BackendsEnded, field: &Field) {
        let BackendsEnded { slot, outcome } = answer;
        let Some(fence) = self.fences.0.get_mut(&slot).filter(|fence| fence.asked == Asked::Member(id))
        else {
            return;
        };
        match outcome {
            Ok(ended) => {
                if ended > 0 {
                    let plural = if ended == 1 { "" } else { "s" };
                    self.tell(format!(
                        "{slot}: {ended} backend{plural} of the lost session ended in the database"
                    ));
                }
                self.pass(slot, field);
            }
            Err(problem) => {
                // Without them ended, the server ends their queries when their time is over.
                let wait = self.plan.timeout.map(|limit| limit + limits::CANCEL_GRACE);
                (fence.asked, fence.until) = (Asked::InVain, clock::now() + wait.unwrap_or_default());
                let what = match wait {
                    Some(wait) => format!("waiting {wait:?}, until --timeout has ended them"),
                    None => "going on, for there is no --timeout that would end them".to_owned(),
                };
                self.tell(format!(
                    "{slot}: it is not known whether queries of the lost session still run ({problem}); {what}"
                ));
            }
        }
    }

    /// Nothing of the lost session runs any more: its rows go on.
    fn pass(&mut self, slot: SlotId, field: &Field) {
        match self.fences.0.remove(&slot).map(|fence| fence.then) {
            Some(Then::Begin(id)) => self.begin(id, field),
            Some(Then::Move) => self.move_hosts(slot, field),
            None => {}
        }
    }

    /// An agent that joins in mid-run may have results of an earlier session: they count at once. Rows wait until it begins.
    pub(super) fn share_early(&mut self, id: MemberId, field: &Field) {
        let Some(member) = self.roster.present_mut(id) else { return };
        let has_none = member.share.borrow().is_none();
        if let Some(Grant { slot, epoch }) = member.grant.filter(|_| has_none) {
            let share = field.share(epoch, field.workers_of(slot), member.former());
            member.share.send_replace(Some(share));
        }
    }

    /// The new holder of a slot gets its rows and starts.
    fn begin(&mut self, id: MemberId, field: &Field) {
        let since_start = self.started.map(clock::since).unwrap_or_default();
        let offset = field.ran_before + since_start;
        let offset_ns = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
        let Some(member) = self.roster.present_mut(id) else { return };
        let Some(Grant { slot, epoch }) = member.grant else { return };
        member.has_begun = true;
        field.rows.begin(field.workers_of(slot), epoch, offset_ns);
        // Before the start, it starts with all others.
        if self.started.is_some() {
            let now = clock::since(self.clock_zero);
            member.line.say(FromCoordinator::Arm(field.round.arm(Duration::ZERO, now, offset)));
        }
        let what = format!("{slot} goes on with {}; no host moved", member.name());
        if self.is_told_of(field) {
            self.note(Fact::Began { slot: slot.get(), epoch: epoch.get(), offset_ns });
        }
        self.tell(what);
    }

    /// In a run that goes on: has one agent end what is left of all earlier sessions, not before their leases have lapsed. Ended earlier,
    /// a query would count as failed whose agent does not know yet that it is not to run any more. False when an agent was lost meanwhile.
    pub(super) async fn clear(&mut self, leases_lapse_at: Instant) -> Result<bool, RunError> {
        while self.roster.slots().all_ready() && clock::now() < leases_lapse_at {
            self.take_one(leases_lapse_at).await?;
        }
        if !self.roster.slots().all_ready() {
            return Ok(false);
        }
        let grants: Vec<Grant> = self.roster.live().filter_map(|member| member.grant).collect();
        if let Some(member) = self.roster.live().next() {
            for Grant { slot, epoch } in &grants {
                member.line.say(FromCoordinator::EndBackends { slot: *slot, below: *epoch });
            }
        }
        self.cleared.clear();
        self.uncleared.clear();
        let patience = limits::END_BACKENDS_TIMEOUT + limits::FENCE;
        let (mut begins_at, mut give_up_at) = (clock::now(), clock::now() + patience);
        while self.roster.slots().all_ready() {
            let all_clear = grants.iter().all(|grant| self.cleared.contains(&grant.slot));
            let until = if all_clear { begins_at } else { give_up_at };
            if clock::now() >= until {
                return Ok(true);
            }
            let (known, unknown) = (self.cleared.len(), self.uncleared.len());
            self.take_one(until).await?;
            if self.cleared.len() > known {
                give_up_at = clock::now() + patience;
            }
            if self.uncleared.len() > unknown {
                // The server ends them by itself when their time is over.
                let wait = self.plan.timeout.map_or(Duration::ZERO, |limit| limit + limits::CANCEL_GRACE);
                begins_at = clock::now() + wait;
            }
        }
        Ok(false)
    }

    /// Waits for one call, until then at the latest.
    async fn take_one(&mut self, until: Instant) -> Result<(), RunError> {
        let interrupt = self.interrupt.clone();
        tokio::select! {
            biased;
            () = interrupt.cancelled() => Err(RunError::Interrupted),
            () = sleep_until(until.into()) => Ok(()),
            Some(call) = self.calls.recv() => match self.take(call) {
                Turn::PrepareFailed(error) => Err(error),
                Turn::Unreadable(problem) => Err(RunError::Workload(problem)),
                Turn::Nothing => Ok(()),
            },
        }
    }

    /// Before the start: what an agent found of a slot's earlier sessions.
    pub(super) fn note_clear(&mut self, answer: &BackendsEnded) {
        self.cleared.insert(answer.slot);
        match &answer.outcome {
            Ok(0) => {}
            Ok(ended) => {
                self.tell(format!("{}: {ended} backends of before ended in the database", answer.slot))
            }
            Err(problem) => {
                self.uncleared.insert(answer.slot);
                self.tell(format!(
                    "{}: it is not known whether queries of before still run: {problem}",
                    answer.slot
                ));
            }
        }
    }

    /// Looks at every slot that nobody holds; `Some` when the run cannot go on.
    pub(super) fn mend(&mut self, field: &Field) -> Option<Ending> {
        let now = clock::now();
        self.give_up_stuck(now);
        self.judge_suspects(now, field);
        self.pass_overdue_fences(now, field);
        let overdue = self.roster.slots().overdue(now, self.plan.slot_grace);
        if overdue.is_empty() {
            return None;
        }
        let all_overdue = overdue.len() == self.roster.slots().vacant().len();
        if all_overdue && self.roster.live().next().is_none() {
            self.tell("no agent is left, and none came back within the grace".to_owned());
            return Some(Ending::AgentsLost);
        }
        match self.plan.on_agent_loss {
            OnAgentLoss::Fail => return Some(Ending::AgentsLost),
            OnAgentLoss::Wait => self.say_who_is_awaited(now),
            // Its new owners are those that run; one that still prepares is not among them yet.
            OnAgentLoss::Reassign if self.roster.running().next().is_none() => {}
            OnAgentLoss::Reassign => {
                for slot in overdue {
                    self.give_up(slot, now);
                }
            }
        }
        None
    }

    /// A replacement that does not get ready is no replacement.
    fn give_up_stuck(&mut self, now: Instant) {
        for slot in self.roster.slots().stuck(now, limits::PREPARE_TIMEOUT) {
            if let Some(id) = self.roster.holder(slot).map(|member| member.id) {
                let reason = format!("not ready within {:?}", limits::PREPARE_TIMEOUT);
                self.lose(id, &Loss::because(reason));
            }
        }
    }

    /// Gives a slot up: once its backends are ended, its hosts move.
    fn give_up(&mut self, slot: SlotId, now: Instant) {
        self.roster.slots_mut().retire(slot);
        self.ask_somebody(slot, now);
    }

    fn ask_somebody(&mut self, slot: SlotId, now: Instant) {
        let asked = match (self.lapses.get(&slot), self.roster.running().next()) {
            (Some((_, at)), _) if now < *at => Asked::NotYet(*at),
            (_, Some(member)) => {
                let below = Epoch::new(u64::MAX);
                member.line.say(FromCoordinator::EndBackends { slot, below });
                Asked::Member(member.id)
            }
            (_, None) => Asked::Nobody,
        };
        self.fences.0.insert(slot, Fence { asked, until: patience(now), then: Then::Move });
    }

    fn pass_overdue_fences(&mut self, now: Instant, field: &Field) {
        for (slot, fence) in self.fences.0.clone() {
            let is_to_be_asked = match fence.asked {
                Asked::Member(id) => self.roster.present_mut(id).is_none(),
                Asked::Nobody => true,
                Asked::NotYet(at) => now >= at,
                Asked::InVain => false,
            };
            match fence.then {
                // The new holder was lost, too: its loss has begun all this anew.
                Then::Begin(id) if self.roster.present_mut(id).is_none() => {
                    self.fences.0.remove(&slot);
                }
                Then::Begin(id) if is_to_be_asked => self.take_over(id),
                Then::Move if is_to_be_asked => self.ask_somebody(slot, now),
                _ if now >= fence.until => self.pass(slot, field),
                _ => {}
            }
        }
    }

    /// A lost slot's hosts, and they alone, are placed anew over the workers that run.
    fn move_hosts(&mut self, slot: SlotId, field: &Field) {
        let running = self.roster.running().filter_map(|member| member.grant);
        let targets: Vec<usize> = running.flat_map(|grant| field.workers_of(grant.slot)).collect();
        if targets.is_empty() {
            // The last of them was lost meanwhile; when somebody comes back, it is asked again.
            self.ask_somebody(slot, clock::now());
            return;
        }
        let moved = field.move_hosts(slot, &targets);
        self.note(Fact::Moved { from: slot.get(), to: targets });
        self.tell(format!(
            "{slot} given up: its hosts and their {} move to {}",
            rows(moved),
            list(
                &self
                    .roster
                    .running()
                    .filter_map(|member| member.grant)
                    .map(|grant| grant.slot)
                    .collect::<Vec<_>>()
            )
        ));
    }

    fn say_who_is_awaited(&mut self, now: Instant) {
        let is_due = self.awaited_at.is_none_or(|at| now >= at + limits::JOIN_NOTICE_EVERY);
        if is_due {
            self.awaited_at = Some(now);
            let notice = self.who_is_missing();
            self.display.say(&notice);
        }
    }
}

/// Until when an agent that was asked to end backends is waited for, its lease and theirs included.
fn patience(now: Instant) -> Instant {
    now + limits::FENCE + limits::END_BACKENDS_TIMEOUT + limits::FENCE
}

impl Field {
    /// A slot's hosts go to the workers at these positions. Returns how many rows went with them.
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
        self.rows.move_on(self.workers_of(slot), owner)
    }

    /// Positions of a slot's workers in the placement's list.
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
