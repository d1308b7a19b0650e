//! The times of a run, sorted, and what they say of the whole, of a worker, of a slot, of a pass. Each worker's samples are sorted and
//! summarised where they lie: nothing is copied but response times, which are sums.

use std::ops::Range;

use muster_common::ids::SlotId;
use muster_common::latency::{Sorted, Summary};
use muster_common::result::Latency;
use muster_common::statistics::mann_whitney::MannWhitney;

use super::record::Record;
use super::tally::WorkerTally;
use super::times::{Class, Timed, Times};

pub(crate) struct Latencies {
    parts: Vec<Part>,
}

/// The times of one worker and class.
pub(crate) struct Part {
    worker: usize,
    pub(crate) class: Class,
    completed: u64,
    failed: u64,
    service: Sorted,
    /// Of an open loop, or with think time.
    due: Option<Due>,
}

/// Times that are counted from when rows were due.
struct Due {
    lag: Sorted,
    response: Sorted,
}

impl Latencies {
    /// Takes the samples out of the tallies.
    pub(crate) fn take(tallies: &mut [WorkerTally]) -> Self {
        let times = tallies.iter_mut().map(|tally| std::mem::take(&mut tally.times));
        Self::sorted(times)
    }

    /// Looks at the samples so far, which stay where they are.
    pub(crate) fn of(tallies: &[WorkerTally]) -> Self {
        Self::sorted(tallies.iter().map(|tally| tally.times.clone()))
    }

    fn sorted(times_of_worker: impl Iterator<Item = Times>) -> Self {
        let mut parts = Vec::new();
        for (worker, times) in times_of_worker.enumerate() {
            for (class, timed) in times.classes {
                let Timed { service, lag, completed, failed } = timed;
                let due = (!lag.is_empty()).then(|| {
                    let response = service.plus(&lag).into_sorted();
                    Due { lag: lag.into_sorted(), response }
                });
                let service = service.into_sorted();
                parts.push(Part { worker, class, completed, failed, service, due });
            }
        }
        Self { parts }
    }

    /// Service times of the parts that `of` chooses.
    pub(crate) fn service(&self, of: impl Fn(&Part) -> bool) -> Option<Summary> {
        let parts: Vec<&Sorted> =
            self.parts.iter().filter(|part| of(part)).map(|part| &part.service).collect();
        Summary::of(&parts)
    }

    /// Service times of some workers.
    pub(crate) fn service_of(&self, workers: Range<usize>) -> Option<Summary> {
        let parts = self.of_workers(workers);
        Summary::of(&parts.map(|part| &part.service).collect::<Vec<_>>())
    }

    /// Of their first passes. Parts are in the order of the workers: of thousands, not each is looked at for each.
    fn of_workers(&self, workers: Range<usize>) -> impl Iterator<Item = &Part> {
        let [start, end] =
            [workers.start, workers.end].map(|bound| self.parts.partition_point(|part| part.worker < bound));
        self.parts[start..end].iter().filter(|part| part.class.is_first())
    }

    /// The service times of each slot's workers.
    pub(crate) fn by_slot(&self, record: &Record) -> Vec<Vec<&Sorted>> {
        let slots = (0u16..).map(SlotId::new).take(record.workers_of_slot.len());
        slots
            .map(|slot| self.of_workers(record.workers_of(slot)).map(|part| &part.service).collect())
            .collect()
    }

    /// The executions that PostgreSQL planned anew and those that followed, where the two differ by more than chance and enough to matter.
    pub(crate) fn early_and_later(&self) -> Option<(Summary, Summary)> {
        /// Of a difference by chance alone; queries that follow each other are not independent, so little is asked.
        const P_MAX: f64 = 1e-3;
        const CHANGE_MIN: f64 = 0.1;
        let of = |is_early| -> Vec<&Sorted> {
            let parts =
                self.parts.iter().filter(|part| part.class.is_first() && part.class.is_early == is_early);
            parts.map(|part| &part.service).collect()
        };
        let (early, later) = (of(true), of(false));
        let is_sure = MannWhitney::of_parts(&later, &early)?.p_value() < P_MAX;
        let (early, later) = (Summary::of(&early)?, Summary::of(&later)?);
        let change = early.median_ns as f64 / later.median_ns.max(1) as f64 - 1.0;
        (is_sure && change.abs() >= CHANGE_MIN).then_some((early, later))
    }

    /// Completed and failed rows.
    pub(crate) fn counted(&self, of: impl Fn(&Part) -> bool) -> (u64, u64) {
        let parts = self.parts.iter().filter(|part| of(part));
        parts.fold((0, 0), |(completed, failed), part| (completed + part.completed, failed + part.failed))
    }

    /// Response times and lag; `None` when rows were due as their workers became free.
    pub(crate) fn response_and_lag(&self, of: impl Fn(&Part) -> bool) -> Option<(Latency, Latency)> {
        let due = || self.parts.iter().filter(|part| of(part)).filter_map(|part| part.due.as_ref());
        let response = Summary::of(&due().map(|due| &due.response).collect::<Vec<_>>())?;
        let lag = Summary::of(&due().map(|due| &due.lag).collect::<Vec<_>>())?;
        Some((Latency::from(&response), Latency::from(&lag)))
    }

    /// The first pass and the later ones; `None` when there was only one.
    pub(crate) fn first_and_later(&self) -> Option<(Option<Summary>, Option<Summary>)> {
        let of = |is_later| {
            self.service(move |part| part.class.is_first() && part.class.is_later_pass == is_later)
        };
        let later = of(true)?;
        Some((of(false), Some(later)))
    }
}
