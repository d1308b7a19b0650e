//! The steps between the last agent's Ready and the first row: places hosts, creates or resumes the aggregates, and gives each agent its
//! share of the rows.

use std::sync::Arc;
use std::time::Duration;

use muster_common::dispatch::Dispatch;
use muster_common::ids::{RowId, SlotId};
use muster_common::ledger::Ledger;
use muster_common::passes::Passes;
use muster_common::placement::{self, Assignment};
use muster_common::queue::Queue;
use muster_common::schedule::{Schedule, Share};
use muster_common::slots::Grant;
use muster_proto::control::Ran;

use super::rounds::{COUNTED, Round};
use super::{RoundContext, RunController};
use crate::journal::Writer;
use crate::run::host_samples::HostSamples;
use crate::run::keeper::{Keeper, KeeperHandle};
use crate::run::link::MemberId;
use crate::run::membership::Membership;
use crate::run::record::{Fact, Record};
use crate::run::replay::Replayed;
use crate::run::rows::Rows;
use crate::run::tally::{Scope, Tally};

impl RunController<'_> {
    /// Continues from the record of an earlier coordinator that ran a part of this run.
    pub(super) fn resume(&mut self, record: Record) {
        let last_event_ms = record.events.last().map_or(0.0, |event| event.at_ms);
        let before = Duration::try_from_secs_f64(last_event_ms / 1e3).unwrap_or_default();
        self.listening_since = self.listening_since.checked_sub(before).unwrap_or(self.listening_since);
        let slots = Membership::new(self.plan.agents, record.next_epoch());
        (self.membership, self.record) = (slots, record);
        self.note(Fact::Resumed);
        // These changes are already in the events.
        self.new_changes();
        self.report("the run continues where an earlier coordinator left off".to_owned());
    }

    /// Creates the aggregates and the rows of every worker for the round that counts, or restores those of a resumed run.
    pub(super) fn lay_out(
        &mut self,
        assignment: &Assignment,
        journal: Option<Writer>,
        resumed: Option<Replayed>,
    ) -> (Keeper, Arc<RoundContext>) {
        let workload = Arc::clone(&self.plan.workload);
        let workers = self.record.workers();
        let rows_of_worker: Vec<u64> = assignment.table().workers.iter().map(|load| load.rows).collect();
        let passes = self.plan.passes;
        let (ledger, tally, losses) = match resumed {
            Some(Replayed { ledger, mut tally, losses, .. }) => {
                tally.ensure_workers(workers.len());
                (ledger, tally, losses)
            }
            None => {
                let times = if passes.is_endless() { 0 } else { u64::from(passes.count()) };
                let rows_of_worker: Vec<u64> = rows_of_worker.iter().map(|rows| rows * times).collect();
                let tally = Tally::new(&rows_of_worker, workload.hosts().len(), self.plan.scope());
                let host_samples = HostSamples::wanted(&self.plan.thresholds, workload.hosts());
                (Ledger::new(passes.rows_at_start()), tally.with_host_samples(host_samples), Vec::new())
            }
        };
        let queues = self.queues(assignment, passes, u32::MAX, self.plan.load.schedule.as_ref());
        let mut dispatch = Dispatch::new(ledger, passes, queues);
        for (epoch, rows) in losses {
            dispatch.remember_loss(rows, epoch);
        }
        dispatch.discount(self.record.without_death());
        dispatch.quarantine(self.record.quarantined.iter().copied());
        let rows = Arc::new(Rows::new(workload, passes, COUNTED, dispatch));
        let ran_before_ns = tally.ran_for_ns.max(self.former_sessions_ran_for_ns());
        for session in &self.record.sessions {
            if let Some(offset_ns) = session.offset_ns {
                let Grant { slot, epoch } = session.grant;
                rows.restore_session(self.record.workers_of(slot), epoch, offset_ns, ran_before_ns);
            }
        }
        let ran_before = Duration::from_nanos(ran_before_ns);
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, journal);
        let round = Round::counted(self.plan.load.duration);
        let is_open_loop = self.plan.load.schedule.is_some();
        (keeper, Arc::new(self.round_context(round, is_open_loop, ran_before, rows, handle)))
    }

    /// The time until which connected agents ran rows under an earlier coordinator. Their last results are not in the journal: this
    /// coordinator receives them later, and its own rows must not begin before those ended.
    fn former_sessions_ran_for_ns(&self) -> u64 {
        let all = self.membership.live().chain(self.membership.standbys());
        let ran = all.filter_map(|member| member.hello.ran.as_ref());
        let until_ns = |ran: &Ran| {
            let former = (ran.round == COUNTED).then(|| self.record.session(ran.session.id.epoch))??;
            let ran_for_ns = u64::try_from(ran.ran_for.as_nanos()).unwrap_or(u64::MAX);
            Some(former.offset_ns?.saturating_add(ran_for_ns))
        };
        ran.filter_map(until_ns).max().unwrap_or(0)
    }

    /// Creates the aggregates and the rows of a round that is not counted. It uses the first `records_max` records of the workload.
    pub(super) fn lay_out_uncounted(
        &self,
        assignment: &Assignment,
        round: Round,
        passes: Passes,
        records_max: u32,
        schedule: Option<&Schedule>,
    ) -> (Keeper, Arc<RoundContext>) {
        let (rows, tally) = self.new_aggregates(assignment, round.number, passes, records_max, schedule);
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, None);
        (keeper, Arc::new(self.round_context(round, schedule.is_some(), Duration::ZERO, rows, handle)))
    }

    /// Creates the rows and the empty tally of a round.
    pub(super) fn new_aggregates(
        &self,
        assignment: &Assignment,
        round: u32,
        passes: Passes,
        records_max: u32,
        schedule: Option<&Schedule>,
    ) -> (Arc<Rows>, Tally) {
        let workload = Arc::clone(&self.plan.workload);
        let queues = self.queues(assignment, passes, records_max, schedule);
        let mut ledger = Ledger::new(passes.rows_at_start());
        let is_left_out = |row: &RowId| passes.record_of(*row).get() >= records_max;
        let rows = (0..ledger.rows()).map(RowId::new).filter(is_left_out);
        rows.for_each(|row| ledger.withdraw(row));
        let dispatch = Dispatch::new(ledger, passes, queues);
        let scope = Scope { passes, ..self.plan.scope() };
        let tally = Tally::new(&vec![0; self.record.workers().len()], workload.hosts().len(), scope);
        (Arc::new(Rows::new(workload, passes, round, dispatch)), tally)
    }

    /// The rows of each worker, with their due times in an open loop.
    fn queues(
        &self,
        assignment: &Assignment,
        passes: Passes,
        records_max: u32,
        schedule: Option<&Schedule>,
    ) -> Vec<Queue> {
        let workload = &self.plan.workload;
        let all = workload.rows().into();
        let records = workload.by_worker(assignment.workers(), self.record.workers().len());
        let queue = |(worker, mut records): (usize, Vec<RowId>)| {
            records.retain(|record| record.get() < records_max);
            let share = Share::of(records.len() as u64, all);
            let arrivals = schedule.zip(share).map(|(schedule, share)| schedule.arrivals(worker, share));
            Queue::new(records, passes, arrivals)
        };
        records.into_iter().enumerate().map(queue).collect()
    }

    pub(super) fn round_context(
        &self,
        round: Round,
        is_open_loop: bool,
        ran_before: Duration,
        rows: Arc<Rows>,
        keeper: KeeperHandle,
    ) -> RoundContext {
        let workers_of_slot =
            (0..self.plan.agents).map(|slot| self.record.workers_of(SlotId::new(slot))).collect();
        RoundContext {
            round,
            is_open_loop,
            ran_before,
            workload: Arc::clone(&self.plan.workload),
            rows,
            keeper,
            workers: self.record.workers(),
            workers_of_slot,
        }
    }

    /// The number of workers of each slot. During a run and in a resumed run, an agent can only take a slot for which it has the same
    /// number of workers.
    pub(super) fn workers_of_slots(&self) -> Vec<u16> {
        self.membership.live().map(|member| member.hello.workers).collect()
    }

    pub(super) fn place(&self) -> Assignment {
        let hosts = self.plan.workload.hosts();
        placement::place(
            self.plan.placement,
            hosts.iter().map(|(_, name, rows)| (name, rows.into())),
            &self.record.workers(),
        )
    }

    /// Gives each agent its share of the rows. Its Work stream then begins to send them.
    pub(super) fn hand_out(&mut self, round_context: Arc<RoundContext>) {
        self.suspects.clear();
        self.watch_suspects(&round_context);
        let grants: Vec<(MemberId, Grant)> =
            self.membership.live().filter_map(|member| Some((member.id, member.grant?))).collect();
        for (id, Grant { slot, epoch }) in grants {
            let workers = round_context.workers_of(slot);
            let offset_ns = u64::try_from(round_context.ran_before.as_nanos()).unwrap_or(u64::MAX);
            round_context.rows.begin(workers.clone(), epoch, offset_ns);
            if self.is_reported(&round_context) {
                self.note(Fact::Began { slot: slot.get(), epoch: epoch.get(), offset_ns });
            }
            if let Some(member) = self.membership.present_mut(id) {
                (member.has_begun, member.has_prefetched) = (true, false);
                let share = round_context.share(epoch, workers, member.former());
                member.share.send_replace(Some(share));
            }
        }
        self.round_context = Some(round_context);
    }
}
