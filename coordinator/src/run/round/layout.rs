//! Lays out the rounds of a run: places the hosts, creates or resumes the aggregates, and gives each worker its rows.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use muster_core::dispatch::Dispatch;
use muster_core::ids::{RowId, SlotId, WorkerId};
use muster_core::ledger::Ledger;
use muster_core::passes::Passes;
use muster_core::placement::{self, Assignment};
use muster_core::queue::Queue;
use muster_core::schedule::{Schedule, Share};

use super::clock::{COUNTED, RoundClock, RoundSpec};
use super::state::Round;
use crate::journal::Writer;
use crate::run::host_samples::HostSamples;
use crate::run::keeper::{Keeper, KeeperHandle};
use crate::run::plan::RunPlan;
use crate::run::record::Record;
use crate::run::replay::Replayed;
use crate::run::rows::Rows;
use crate::run::scope::Scope;
use crate::run::tally::Tally;

/// The placement of a run, from which each of its rounds is made.
pub(crate) struct Layout {
    plan: Arc<RunPlan>,
    assignment: Assignment,
    workers: Vec<WorkerId>,
    workers_of_slot: Vec<Range<usize>>,
}

impl Layout {
    /// Places the hosts on the workers of the record.
    pub(crate) fn new(plan: Arc<RunPlan>, record: &Record) -> Self {
        let workers = record.workers();
        let hosts = plan.workload.hosts();
        let hosts = hosts.iter().map(|(_, name, rows)| (name, rows.into()));
        let assignment = placement::place(plan.spec.placement, hosts, &workers);
        let workers_of_slot =
            (0..plan.spec.agents).map(|slot| record.workers_of(SlotId::new(slot))).collect();
        Self { plan, assignment, workers, workers_of_slot }
    }

    pub(crate) fn into_assignment(self) -> Assignment {
        self.assignment
    }

    /// The positions of a slot's workers in the list of workers.
    pub(crate) fn workers_of(&self, slot: SlotId) -> Range<usize> {
        self.workers_of_slot.get(slot.index()).cloned().unwrap_or(0..0)
    }

    pub(crate) fn rows_of_worker(&self) -> Vec<u64> {
        self.assignment.table().workers.iter().map(|load| load.rows).collect()
    }

    /// Creates the round that counts, or restores that of a resumed run. `sessions_ran_for_ns` is the time until which connected agents ran
    /// rows under an earlier coordinator.
    pub(crate) fn counted(
        &self,
        journal: Option<Writer>,
        resumed: Option<Replayed>,
        record: &Record,
        sessions_ran_for_ns: u64,
    ) -> (Keeper, Round) {
        let workload = Arc::clone(&self.plan.workload);
        let passes = self.plan.passes;
        let (ledger, tally, losses) = match resumed {
            Some(Replayed { ledger, mut tally, losses, .. }) => {
                tally.ensure_workers(self.workers.len());
                (ledger, tally, losses)
            }
            None => {
                let times = if passes.is_endless() { 0 } else { u64::from(passes.count()) };
                let rows_of_worker: Vec<u64> =
                    self.rows_of_worker().into_iter().map(|rows| rows * times).collect();
                let tally = Tally::new(&rows_of_worker, workload.hosts().len(), self.plan.scope());
                let host_samples = HostSamples::wanted(&self.plan.spec.thresholds, workload.hosts());
                (Ledger::new(passes.rows_at_start()), tally.with_host_samples(host_samples), Vec::new())
            }
        };
        let schedule = self.plan.spec.session.load.schedule.as_ref();
        let mut dispatch = Dispatch::new(ledger, passes, self.queues(passes, u32::MAX, schedule));
        for (epoch, rows) in losses {
            dispatch.remember_loss(rows, epoch);
        }
        dispatch.discount(record.without_death());
        dispatch.quarantine(record.quarantined.iter().copied());
        let rows = Arc::new(Rows::new(workload, passes, COUNTED, dispatch));
        let ran_before_ns = tally.ran_for_ns.max(sessions_ran_for_ns);
        for session in &record.sessions {
            if let Some(offset_ns) = session.offset_ns {
                let workers = record.workers_of(session.grant.slot);
                rows.restore_session(workers, session.grant.epoch, offset_ns, ran_before_ns);
            }
        }
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, journal);
        let spec =
            RoundSpec { number: COUNTED, lasts: self.plan.spec.session.load.duration, is_counted: true };
        let clock = RoundClock::new(spec, Duration::from_nanos(ran_before_ns));
        let round = self.round(clock, schedule.is_some(), rows, &keeper, handle);
        (keeper, round)
    }

    /// Creates a round that is not counted. It uses the first `records_max` records of the workload.
    pub(crate) fn uncounted(
        &self,
        spec: RoundSpec,
        passes: Passes,
        records_max: u32,
        schedule: Option<&Schedule>,
    ) -> (Keeper, Round) {
        let (rows, tally) = self.aggregates(spec.number, passes, records_max, schedule);
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, None);
        let clock = RoundClock::new(spec, Duration::ZERO);
        let round = self.round(clock, schedule.is_some(), rows, &keeper, handle);
        (keeper, round)
    }

    /// Creates the rows and the empty tally of a round.
    pub(crate) fn aggregates(
        &self,
        number: u32,
        passes: Passes,
        records_max: u32,
        schedule: Option<&Schedule>,
    ) -> (Arc<Rows>, Tally) {
        let workload = Arc::clone(&self.plan.workload);
        let mut ledger = Ledger::new(passes.rows_at_start());
        let is_left_out = |row: &RowId| passes.record_of(*row).get() >= records_max;
        let rows = (0..ledger.rows()).map(RowId::new).filter(is_left_out);
        rows.for_each(|row| ledger.withdraw(row));
        let dispatch = Dispatch::new(ledger, passes, self.queues(passes, records_max, schedule));
        let scope = Scope { passes, ..self.plan.scope() };
        let tally = Tally::new(&vec![0; self.workers.len()], workload.hosts().len(), scope);
        (Arc::new(Rows::new(workload, passes, number, dispatch)), tally)
    }

    /// The rows of each worker, with their due times in an open loop.
    fn queues(&self, passes: Passes, records_max: u32, schedule: Option<&Schedule>) -> Vec<Queue> {
        let workload = &self.plan.workload;
        let all = workload.rows().into();
        let records = workload.by_worker(self.assignment.workers(), self.workers.len());
        let queue = |(worker, mut records): (usize, Vec<RowId>)| {
            records.retain(|record| record.get() < records_max);
            let share = Share::of(records.len() as u64, all);
            let arrivals = schedule.zip(share).map(|(schedule, share)| schedule.arrivals(worker, share));
            Queue::new(records, passes, arrivals)
        };
        records.into_iter().enumerate().map(queue).collect()
    }

    /// Creates a round of these rows, whose results this keeper adds up.
    pub(crate) fn round(
        &self,
        clock: RoundClock,
        is_open_loop: bool,
        rows: Arc<Rows>,
        keeper: &Keeper,
        handle: KeeperHandle,
    ) -> Round {
        Round {
            clock,
            step: None,
            is_open_loop,
            workload: Arc::clone(&self.plan.workload),
            rows,
            keeper: handle,
            progress: keeper.progress(),
            workers: self.workers.clone(),
            workers_of_slot: self.workers_of_slot.clone(),
        }
    }
}
