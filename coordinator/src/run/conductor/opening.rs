//! Between the last agent's Ready and the first row: hosts are placed, books are opened or taken up, each agent gets its share.

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
use super::{Conductor, Field};
use crate::journal::Writer;
use crate::run::host_samples::HostSamples;
use crate::run::keeper::{Keeper, KeeperHandle};
use crate::run::link::MemberId;
use crate::run::record::{Fact, Record};
use crate::run::replay::Replayed;
use crate::run::roster::Roster;
use crate::run::rows::Rows;
use crate::run::tally::{Scope, Tally};

impl Conductor<'_> {
    /// An earlier coordinator ran a part of this run.
    pub(super) fn take_up(&mut self, record: Record) {
        let told_until = record.events.last().map_or(0.0, |event| event.at_ms);
        let before = Duration::try_from_secs_f64(told_until / 1e3).unwrap_or_default();
        self.listening_since = self.listening_since.checked_sub(before).unwrap_or(self.listening_since);
        let slots = Roster::new(self.plan.agents, record.next_epoch());
        (self.roster, self.record) = (slots, record);
        self.note(Fact::Resumed);
        // These are events already.
        self.new_changes();
        self.tell("the run goes on where an earlier coordinator left it".to_owned());
    }

    /// The books and the rows of every worker.
    pub(super) fn lay_out(
        &mut self,
        assignment: &Assignment,
        journal: Option<Writer>,
        taken_up: Option<Replayed>,
    ) -> (Keeper, Arc<Field>) {
        let workload = Arc::clone(&self.plan.workload);
        let workers = self.record.workers();
        let rows_of_worker: Vec<u64> = assignment.table().workers.iter().map(|load| load.rows).collect();
        let passes = self.plan.passes;
        let (ledger, tally, losses) = match taken_up {
            Some(Replayed { ledger, mut tally, losses, .. }) => {
                tally.widen(workers.len());
                (ledger, tally, losses)
            }
            None => {
                let times = if passes.is_endless() { 0 } else { u64::from(passes.count()) };
                let rows_of_worker: Vec<u64> = rows_of_worker.iter().map(|rows| rows * times).collect();
                let tally = Tally::new(&rows_of_worker, workload.hosts().len(), self.plan.scope());
                let host_samples = HostSamples::wanted(&self.plan.thresholds, workload.hosts());
                (Ledger::new(passes.rows_at_start()), tally.keeping(host_samples), Vec::new())
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
                rows.remember(self.record.workers_of(slot), epoch, offset_ns, ran_before_ns);
            }
        }
        let ran_before = Duration::from_nanos(ran_before_ns);
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, journal);
        let round = Round::counted(self.plan.load.duration);
        let is_open_loop = self.plan.load.schedule.is_some();
        (keeper, Arc::new(self.field(round, is_open_loop, ran_before, rows, handle)))
    }

    /// The time until which connected agents ran rows under an earlier coordinator. Their last results are in no journal: this coordinator
    /// receives them later, and its own rows must not begin before these ended.
    fn former_sessions_ran_for_ns(&self) -> u64 {
        let all = self.roster.live().chain(self.roster.standbys());
        let ran = all.filter_map(|member| member.hello.ran.as_ref());
        let until_ns = |ran: &Ran| {
            let former = (ran.round == COUNTED).then(|| self.record.session(ran.session.id.epoch))??;
            let ran_for_ns = u64::try_from(ran.ran_for.as_nanos()).unwrap_or(u64::MAX);
            Some(former.offset_ns?.saturating_add(ran_for_ns))
        };
        ran.filter_map(until_ns).max().unwrap_or(0)
    }

    /// The books and the rows of a round that is not counted; of the workload's records the first `records_max`.
    pub(super) fn lay_out_uncounted(
        &self,
        assignment: &Assignment,
        round: Round,
        passes: Passes,
        records_max: u32,
        schedule: Option<&Schedule>,
    ) -> (Keeper, Arc<Field>) {
        let (rows, tally) = self.open_books(assignment, round.number, passes, records_max, schedule);
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, None);
        (keeper, Arc::new(self.field(round, schedule.is_some(), Duration::ZERO, rows, handle)))
    }

    /// Empty books of a round.
    pub(super) fn open_books(
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

    /// What each worker is to run, and when.
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

    pub(super) fn field(
        &self,
        round: Round,
        is_open_loop: bool,
        ran_before: Duration,
        rows: Arc<Rows>,
        keeper: KeeperHandle,
    ) -> Field {
        let workers_of_slot =
            (0..self.plan.agents).map(|slot| self.record.workers_of(SlotId::new(slot))).collect();
        Field {
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

    /// In mid-run and in one that goes on, a slot is taken by as many workers as it had; else by as many as came.
    pub(super) fn workers_of_slots(&self) -> Vec<u16> {
        self.roster.live().map(|member| member.hello.workers).collect()
    }

    pub(super) fn place(&self) -> Assignment {
        let hosts = self.plan.workload.hosts();
        placement::place(
            self.plan.placement,
            hosts.iter().map(|(_, name, rows)| (name, rows.into())),
            &self.record.workers(),
        )
    }

    /// Gives each agent its share; its Work stream begins to send.
    pub(super) fn hand_out(&mut self, field: Arc<Field>) {
        self.suspects.clear();
        self.watch_suspects(&field);
        let grants: Vec<(MemberId, Grant)> =
            self.roster.live().filter_map(|member| Some((member.id, member.grant?))).collect();
        for (id, Grant { slot, epoch }) in grants {
            let workers = field.workers_of(slot);
            let offset_ns = u64::try_from(field.ran_before.as_nanos()).unwrap_or(u64::MAX);
            field.rows.begin(workers.clone(), epoch, offset_ns);
            if self.is_told_of(&field) {
                self.note(Fact::Began { slot: slot.get(), epoch: epoch.get(), offset_ns });
            }
            if let Some(member) = self.roster.present_mut(id) {
                (member.has_begun, member.has_prefetched) = (true, false);
                let share = field.share(epoch, workers, member.former());
                member.share.send_replace(Some(share));
            }
        }
        self.field = Some(field);
    }
}
