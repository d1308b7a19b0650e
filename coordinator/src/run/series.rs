//! The counted rows over time: a bounded number of intervals, which become longer as the run goes on. Pure. What it computes depends only
//! on the rows that were added and not on their order, so a report from the journal shows the same.

use std::ops::Range;

use muster_core::sample::Sample;
use muster_report::result::{Interval, IntervalLatency};
use muster_stats::log_histogram::LogHistogram;

/// More intervals could not be distinguished in a plot.
const INTERVALS_MAX: usize = 600;
/// The first length of an interval. A run of six seconds has [`INTERVALS_MAX`] of them.
const LENGTH_MIN_NS: u64 = 10_000_000;
/// Intervals of a result are longer if they would have fewer rows on average, as long as there are [`INTERVALS_MIN`] of them.
const ROWS_MIN: u64 = 20;
const INTERVALS_MIN: usize = 60;

#[derive(Debug, Clone)]
pub(crate) struct TimeSeries {
    length_ns: u64,
    intervals: Vec<Counts>,
    /// The interval of the last row, and its times: the next row is usually in the same interval.
    last: (usize, Range<u64>),
    has_due_times: bool,
}

/// What happened in one interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) service: LogHistogram,
    /// Both are empty if rows have no due times.
    pub(crate) response: LogHistogram,
    pub(crate) generator_delay: LogHistogram,
}

/// An interval with its times since the start of the run.
pub(crate) struct Spanned {
    pub(crate) ns: Range<u64>,
    pub(crate) counts: Counts,
}

impl TimeSeries {
    pub(crate) fn new(has_due_times: bool) -> Self {
        Self { length_ns: LENGTH_MIN_NS, intervals: Vec::new(), last: (0, 0..0), has_due_times }
    }

    /// Counts a row in the interval in which it ended. `start_ns` of the sample is relative to the start of the run.
    pub(crate) fn count(&mut self, sample: &Sample, is_completed: bool) {
        let counts = self.at(ended_ns(sample));
        match is_completed {
            true => counts.completed += 1,
            false => counts.failed += 1,
        }
    }

    /// Adds the times of a completed row.
    pub(crate) fn add_times(&mut self, sample: &Sample) {
        let has_due_times = self.has_due_times;
        let counts = self.at(ended_ns(sample));
        counts.service.record(sample.service_time_ns);
        if has_due_times {
            counts.response.record(sample.service_time_ns.saturating_add(sample.lag.total_ns()));
            counts.generator_delay.record(sample.lag.generator_delay_ns);
        }
    }

    /// Returns the intervals of a run that ended at `end_ns`. All have the same length, which suits the number of rows, except the last: it
    /// ends with the run, and is longer by a remainder that would be less than half an interval.
    pub(crate) fn spanned(&self, end_ns: u64) -> Vec<Spanned> {
        let mut series = self.clone();
        let rows: u64 = series.intervals.iter().map(|counts| counts.completed + counts.failed).sum();
        let is_coarse_enough = |series: &Self| {
            let count = series.intervals.len();
            rows >= ROWS_MIN * count as u64 || count.div_ceil(growth(series.length_ns)) < INTERVALS_MIN
        };
        while !is_coarse_enough(&series) {
            series.lengthen();
        }
        let length_ns = series.length_ns;
        let starts = (0..).map(|at: u64| at.saturating_mul(length_ns));
        let span = |(start_ns, counts): (u64, Counts)| Spanned {
            ns: start_ns..start_ns.saturating_add(length_ns).min(end_ns.max(start_ns)),
            counts,
        };
        let mut spanned: Vec<Spanned> = starts.zip(series.intervals).map(span).collect();
        if let Some(last) =
            spanned.pop_if(|last| last.ns.start > 0 && last.ns.end - last.ns.start < length_ns / 2)
            && let Some(before) = spanned.last_mut()
        {
            before.ns.end = last.ns.end;
            before.counts.merge(&last.counts);
        }
        spanned
    }

    fn at(&mut self, ended_ns: u64) -> &mut Counts {
        if !self.last.1.contains(&ended_ns) {
            while ended_ns / self.length_ns >= INTERVALS_MAX as u64 {
                self.lengthen();
            }
            // It is below INTERVALS_MAX.
            let at = (ended_ns / self.length_ns) as usize;
            if at >= self.intervals.len() {
                self.intervals.resize_with(at + 1, Counts::default);
            }
            let start_ns = at as u64 * self.length_ns;
            self.last = (at, start_ns..start_ns.saturating_add(self.length_ns));
        }
        &mut self.intervals[self.last.0]
    }

    /// Merges neighbours until the intervals have the next length.
    fn lengthen(&mut self) {
        let growth = growth(self.length_ns);
        let merge = |group: &[Counts]| {
            let mut sum = group[0].clone();
            group[1..].iter().for_each(|counts| sum.merge(counts));
            sum
        };
        self.intervals = self.intervals.chunks(growth).map(merge).collect();
        (self.length_ns, self.last) = (self.length_ns * growth as u64, (0, 0..0));
    }
}

impl Counts {
    pub(crate) fn merge(&mut self, other: &Self) {
        let Self { completed, failed, service, response, generator_delay } = other;
        self.completed += completed;
        self.failed += failed;
        self.service.merge(service);
        self.response.merge(response);
        self.generator_delay.merge(generator_delay);
    }
}

impl Spanned {
    /// Converts the interval for the result. `agents` and `events` are known from the record.
    pub(crate) fn to_result(&self, agents: u64, events: Vec<u64>) -> Interval {
        let Self { ns, counts } = self;
        let [start_ms, end_ms] = [ns.start, ns.end].map(milliseconds);
        let lasts_s = (end_ms - start_ms) / 1e3;
        Interval {
            start_ms,
            end_ms,
            completed: counts.completed,
            failed: counts.failed,
            rate_qps: if lasts_s > 0.0 { counts.completed as f64 / lasts_s } else { 0.0 },
            service_time_ms: IntervalLatency::of(&counts.service),
            response_time_ms: IntervalLatency::of(&counts.response),
            generator_delay_ms: IntervalLatency::of(&counts.generator_delay),
            agents,
            events,
        }
    }
}

fn ended_ns(sample: &Sample) -> u64 {
    sample.start_ns.saturating_add(sample.service_time_ns)
}

/// The number of intervals that become one, so that lengths are 10 ms, 20 ms, 100 ms, 200 ms, 1 s, ….
fn growth(length_ns: u64) -> usize {
    let is_power_of_ten = length_ns == 10u64.pow(length_ns.ilog10());
    if is_power_of_ten { 2 } else { 5 }
}

pub(crate) fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use muster_core::ids::RowId;
    use muster_core::sample::Lag;
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(start_ns: u64, service_time_ns: u64) -> Sample {
        let lag = Lag { queueing_ns: 2 * MS, generator_delay_ns: MS };
        Sample { start_ns, service_time_ns, lag, ..Sample::zero(RowId::new(0)) }
    }

    fn series(samples: &[Sample]) -> TimeSeries {
        let mut series = TimeSeries::new(true);
        for sample in samples {
            series.count(sample, true);
            series.add_times(sample);
        }
        series
    }

    #[test]
    fn a_row_is_in_the_interval_in_which_it_ended() {
        let mut series = series(&[sample(0, 9 * MS), sample(9 * MS, MS), sample(12 * MS, 30 * MS)]);
        series.count(&sample(0, 42 * MS), false);
        let intervals = series.spanned(45 * MS);
        let counted: Vec<_> =
            intervals.iter().map(|it| (it.ns.clone(), it.counts.completed, it.counts.failed)).collect();
        let expected = [(0, 10, 1, 0), (10, 20, 1, 0), (20, 30, 0, 0), (30, 40, 0, 0), (40, 45, 1, 1)];
        assert_eq!(
            counted,
            expected.map(|(from, to, completed, failed)| (from * MS..to * MS, completed, failed))
        );
        let last = intervals[4].to_result(3, vec![7]);
        assert_eq!((last.rate_qps, last.agents, last.events), (200.0, 3, vec![7]));
        assert_eq!(last.service_time_ms.unwrap().max, 30.0);
        assert_eq!(last.response_time_ms.unwrap().max, 33.0);
        assert_eq!(last.generator_delay_ms.unwrap().max, 1.0);
        assert_eq!(intervals[2].to_result(3, Vec::new()).service_time_ms, None);
    }

    #[test]
    fn a_short_remainder_belongs_to_the_interval_before_it() {
        let ends = |end_ms: u64| {
            let spanned = series(&[sample(0, MS), sample(0, end_ms * MS)]).spanned(end_ms * MS);
            spanned.into_iter().map(|it| (it.ns.start / MS, it.ns.end / MS)).collect::<Vec<_>>()
        };
        assert_eq!(ends(14), [(0, 14)]);
        assert_eq!(ends(15), [(0, 10), (10, 15)]);
        assert_eq!(ends(3), [(0, 3)]);
    }

    #[test]
    fn intervals_of_a_long_run_are_long_and_those_of_few_rows_too() {
        let rows: Vec<Sample> = (0..100_000).map(|at| sample(at * 4 * MS, MS)).collect();
        let spanned = series(&rows).spanned(400_000 * MS);
        assert_eq!((spanned.len(), spanned[0].ns.end), (400, 1_000 * MS));
        assert!(spanned.iter().all(|it| it.counts.completed == 250));
        let few = series(&rows[..500]).spanned(2_000 * MS);
        assert_eq!(
            (few.len(), few[0].ns.end),
            (100, 20 * MS),
            "60 intervals are more important than 20 rows"
        );
        let supported = spanned[0].to_result(1, Vec::new()).service_time_ms.unwrap();
        assert!(supported.p95.is_some() && supported.p99.is_some());
        let unsupported = few[0].to_result(1, Vec::new()).service_time_ms.unwrap();
        assert_eq!((unsupported.p95, unsupported.p99), (None, None));
    }

    #[test]
    fn the_greatest_times_have_an_interval() {
        let spanned = series(&[sample(u64::MAX, u64::MAX), sample(0, MS)]).spanned(u64::MAX);
        assert!(spanned.len() <= INTERVALS_MAX);
        assert_eq!(spanned.iter().map(|it| it.counts.completed).sum::<u64>(), 2);
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_matter(
            ends_ms in prop::collection::vec(0..100_000u64, 1..200).prop_shuffle(),
        ) {
            let results = |ends_ms: &[u64]| {
                let rows: Vec<Sample> = ends_ms.iter().map(|end_ms| sample(end_ms * MS, MS)).collect();
                let end_ns = (ends_ms.iter().max().unwrap() + 1) * MS;
                series(&rows).spanned(end_ns).iter().map(|it| it.to_result(0, Vec::new())).collect::<Vec<_>>()
            };
            let mut sorted_ms = ends_ms.clone();
            sorted_ms.sort_unstable();
            let in_order = results(&sorted_ms);
            prop_assert_eq!(&results(&ends_ms), &in_order);
            prop_assert!(in_order.len() <= INTERVALS_MAX);
            prop_assert_eq!(in_order.iter().map(|it| it.completed).sum::<u64>(), ends_ms.len() as u64);
            prop_assert!(in_order.is_sorted_by(|a, b| a.end_ms == b.start_ms));
        }
    }
}
