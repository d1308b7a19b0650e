//! The sorted times of a run, and their summaries for the whole run, a worker, a slot or a pass. Each worker's samples are sorted and
//! summarized in place. Only response times, which are sums, are copied.

use std::ops::Range;

use muster_core::ids::SlotId;
use muster_report::result::Latency;
use muster_stats::latency::{Samples, Sorted, Summary};
use muster_stats::log_histogram::LogHistogram;
use muster_stats::statistics::mann_whitney::MannWhitney;

use super::record::Record;
use super::tally::WorkerTally;
use super::times::{Class, Timed, Times};

pub(crate) struct Latencies {
    parts: Vec<Part>,
    /// By database. `None` if rows have no due times.
    waits: [Option<Waits>; 2],
}

/// The waiting times of one database's rows between their due times and their starts.
#[derive(Debug, Clone)]
pub(crate) struct Waits {
    pub(crate) lag: Summary,
    pub(crate) queueing: Summary,
    pub(crate) generator_delay: Summary,
    /// Lag, queueing and generator delay in bins.
    pub(crate) histograms: [LogHistogram; 3],
}

/// Times measured from the due time; `None` in a closed loop.
#[derive(Debug, Clone)]
pub(crate) struct DueTimes {
    pub(crate) response: Latency,
    pub(crate) lag: Latency,
    pub(crate) queueing: Latency,
    pub(crate) generator_delay: Latency,
}

/// The times of one worker and class.
pub(crate) struct Part {
    worker: usize,
    pub(crate) class: Class,
    completed: u64,
    failed: u64,
    service: Sorted,
    /// From the due time to the end, in an open loop or with think time.
    response: Option<Sorted>,
}

impl Latencies {
    /// Takes the samples out of the tallies.
    pub(crate) fn take(tallies: &mut [WorkerTally]) -> Self {
        let times = tallies.iter_mut().map(|tally| std::mem::take(&mut tally.times));
        Self::sorted(times)
    }

    /// Copies the samples so far, which stay in the tallies.
    pub(crate) fn of(tallies: &[WorkerTally]) -> Self {
        Self::sorted(tallies.iter().map(|tally| tally.times.clone()))
    }

    fn sorted(times_of_worker: impl Iterator<Item = Times>) -> Self {
        let classes = times_of_worker.enumerate().flat_map(|(worker, times)| {
            times.classes.into_iter().map(move |(class, timed)| (worker, class, timed))
        });
        let mut parts = Vec::new();
        let mut waits: [Waiting; 2] = Default::default();
        for (worker, class, timed) in classes {
            let Timed { service, queueing, generator_delay, completed, failed } = timed;
            let response = (!queueing.is_empty()).then(|| {
                let lag = queueing.plus(&generator_delay);
                let response = service.plus(&lag).into_sorted();
                waits[usize::from(class.target > 0)].push(lag, queueing, generator_delay);
                response
            });
            let service = service.into_sorted();
            parts.push(Part { worker, class, completed, failed, service, response });
        }
        Self { parts, waits: waits.map(Waiting::summarize) }
    }

    /// Service times of the parts that `of` selects.
    pub(crate) fn service(&self, of: impl Fn(&Part) -> bool) -> Option<Summary> {
        let parts: Vec<&Sorted> =
            self.parts.iter().filter(|part| of(part)).map(|part| &part.service).collect();
        Summary::of(&parts)
    }

    /// Service times of these workers on the first database.
    pub(crate) fn service_of(&self, workers: Range<usize>) -> Option<Summary> {
        let parts = self.of_workers(workers);
        Summary::of(&parts.map(|part| &part.service).collect::<Vec<_>>())
    }

    /// The parts of these workers on the first database. Parts are ordered by worker, so they are found by binary search.
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

    /// The executions with a custom plan at the start of each connection, and the later ones, if they differ significantly and by enough to
    /// matter. Includes only the statements that `has_custom_plans_first` accepts.
    pub(crate) fn early_and_later(
        &self,
        has_custom_plans_first: impl Fn(u16) -> bool,
    ) -> Option<(Summary, Summary)> {
        /// The maximum p-value. It is low because consecutive queries are not independent.
        const P_MAX: f64 = 1e-3;
        const CHANGE_MIN: f64 = 0.1;
        let of = |is_early| -> Vec<&Sorted> {
            let is_wanted = |class: &Class| {
                class.is_first() && class.is_early == is_early && has_custom_plans_first(class.statement)
            };
            let parts = self.parts.iter().filter(|part| is_wanted(&part.class));
            parts.map(|part| &part.service).collect()
        };
        let (early, later) = (of(true), of(false));
        let is_significant = MannWhitney::of_parts(&later, &early)?.p_value() < P_MAX;
        let (early, later) = (Summary::of(&early)?, Summary::of(&later)?);
        let change = early.median_ns as f64 / later.median_ns.max(1) as f64 - 1.0;
        (is_significant && change.abs() >= CHANGE_MIN).then_some((early, later))
    }

    /// The numbers of completed and failed rows.
    pub(crate) fn counted(&self, of: impl Fn(&Part) -> bool) -> (u64, u64) {
        let parts = self.parts.iter().filter(|part| of(part));
        parts.fold((0, 0), |(completed, failed), part| (completed + part.completed, failed + part.failed))
    }

    /// Response times of the parts that `of` selects. `None` in a closed loop without think time.
    pub(crate) fn response(&self, of: impl Fn(&Part) -> bool) -> Option<Latency> {
        let parts = self.parts.iter().filter(|part| of(part));
        let response: Vec<_> = parts.filter_map(|part| part.response.as_ref()).collect();
        Summary::of(&response).as_ref().map(Latency::from)
    }

    /// Service and response times of the first database in bins. Response times are empty in a closed loop without think time.
    pub(crate) fn histograms(&self) -> [LogHistogram; 2] {
        let first = || self.parts.iter().filter(|part| part.class.is_first());
        [
            histogram(first().map(|part| &part.service)),
            histogram(first().filter_map(|part| part.response.as_ref())),
        ]
    }

    /// Lag, queueing and generator delay of the first database in bins; empty in a closed loop without think time.
    pub(crate) fn lag_histograms(&self) -> [LogHistogram; 3] {
        self.waits[0].as_ref().map(|waits| waits.histograms.clone()).unwrap_or_default()
    }

    /// The times of one database's rows.
    pub(crate) fn due_times(&self, target: u32) -> Option<DueTimes> {
        let Waits { lag, queueing, generator_delay, .. } = self.waits.get(target as usize)?.as_ref()?;
        Some(DueTimes {
            response: self.response(|part| part.class.target == target)?,
            lag: lag.into(),
            queueing: queueing.into(),
            generator_delay: generator_delay.into(),
        })
    }

    /// Service times of the first pass and of the later ones. `None` if there was only one pass.
    pub(crate) fn first_and_later(&self) -> Option<(Option<Summary>, Option<Summary>)> {
        let of = |is_later| {
            self.service(move |part| part.class.is_first() && part.class.is_later_pass == is_later)
        };
        let later = of(true)?;
        Some((of(false), Some(later)))
    }
}

/// Samples that are collected for [`Waits`], by worker and class.
#[derive(Default)]
struct Waiting {
    lag: Vec<Sorted>,
    queueing: Vec<Sorted>,
    generator_delay: Vec<Sorted>,
}

impl Waiting {
    fn push(&mut self, lag: Samples, queueing: Samples, generator_delay: Samples) {
        self.lag.push(lag.into_sorted());
        self.queueing.push(queueing.into_sorted());
        self.generator_delay.push(generator_delay.into_sorted());
    }

    /// Drops the samples: in an open loop they would double the memory.
    fn summarize(self) -> Option<Waits> {
        let summary = |samples: Vec<Sorted>| Summary::of(&samples.iter().collect::<Vec<_>>());
        let Self { lag, queueing, generator_delay } = self;
        let histograms = [&lag, &queueing, &generator_delay].map(histogram);
        Some(Waits {
            lag: summary(lag)?,
            queueing: summary(queueing)?,
            generator_delay: summary(generator_delay)?,
            histograms,
        })
    }
}

/// The times of all parts in bins.
pub(crate) fn histogram<'a>(parts: impl IntoIterator<Item = &'a Sorted>) -> LogHistogram {
    parts.into_iter().flat_map(Sorted::iter).collect()
}
