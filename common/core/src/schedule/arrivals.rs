//! The due times of one worker.
//!
//! The n-th arrival of a worker with share s of the run is due when the whole run has had x/s arrivals. For even spacing x = n + phase,
//! with a different phase for each worker, so that workers do not start queries in lockstep. For Poisson arrivals x grows by exponential
//! steps: while the rate is constant, that is a Poisson process (Cinlar 1975, by inversion of the cumulative rate), and the processes of
//! all workers add up to a process of the whole rate.

use std::fmt;

use serde::{Deserialize, Serialize};

use muster_stats::random::SplitMix64;

use super::{Rate, Schedule};

/// The arrival process: how arrivals are distributed over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// Evenly spaced.
    #[default]
    Uniform,
    /// Random and independent of each other, like the requests of many users.
    Poisson,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Poisson => "poisson",
        })
    }
}

/// A share of the run's rows: greater than 0, at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// Returns `None` if there are no rows.
    pub fn of(rows: u64, all: u64) -> Option<Self> {
        (rows > 0 && rows <= all).then(|| Self(rows as f64 / all as f64))
    }
}

/// The due times of one worker, from the next one on.
#[derive(Debug, Clone)]
pub struct Arrivals {
    rate: Rate,
    process: Process,
    share: f64,
    random: SplitMix64,
    /// This worker's count of arrivals up to the next one: n + phase, or a sum of exponential steps.
    count: f64,
    next_ns: u64,
}

impl Arrivals {
    pub(super) fn new(schedule: &Schedule, worker: usize, share: Share) -> Self {
        let mut random = SplitMix64::of_stream(schedule.seed, worker as u64);
        let count = match schedule.process {
            Process::Uniform => phase(worker),
            Process::Poisson => -random.unit().ln(),
        };
        let (rate, process) = (schedule.rate.clone(), schedule.process);
        let mut arrivals = Self { rate, process, share: share.0, random, count, next_ns: 0 };
        arrivals.update_next();
        arrivals
    }

    /// Returns the due time of the next row in nanoseconds since the start of the run. Never decreases.
    pub fn peek(&self) -> u64 {
        self.next_ns
    }

    /// Returns the due time of the next row, and advances to the row after it.
    pub fn take(&mut self) -> u64 {
        let due_ns = self.next_ns;
        self.count += match self.process {
            Process::Uniform => 1.0,
            Process::Poisson => -self.random.unit().ln(),
        };
        self.update_next();
        due_ns
    }

    /// Returns the remaining arrivals thinned to a share of this worker's rows, for moving them to another worker. `stream` distinguishes
    /// the parts. All parts together have the rate of this worker.
    pub fn part(&self, share: Share, stream: u64) -> Self {
        let mut part = self.clone();
        // `count / share` is the run's count of arrivals, which must stay the same.
        part.count = self.count / self.share * share.0;
        part.share = share.0;
        part.random = SplitMix64::of_stream(self.random.clone().next(), stream);
        part.update_next();
        part
    }

    fn update_next(&mut self) {
        let due_s = self.rate.seconds_until(self.count / self.share);
        // Saturates beyond 584 years.
        self.next_ns = (due_s * 1e9).round() as u64;
    }
}

/// Returns a phase for each worker, such that the first `n` lie evenly between 0 and 1 for any `n`: multiples of the golden ratio (Weyl
/// sequence).
fn phase(worker: usize) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    (worker as f64 * GOLDEN).fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: &str, process: Process) -> Schedule {
        Schedule { rate: rate.parse().unwrap(), process, seed: 1 }
    }

    /// Returns all due times, merged, of a run in which each worker has the given number of rows.
    fn merged(schedule: &Schedule, rows_of_worker: &[u64]) -> Vec<u64> {
        let all: u64 = rows_of_worker.iter().sum();
        let mut due_ns = Vec::new();
        for (worker, rows) in rows_of_worker.iter().enumerate() {
            let Some(share) = Share::of(*rows, all) else { continue };
            let mut arrivals = schedule.arrivals(worker, share);
            due_ns.extend((0..*rows).map(|_| arrivals.take()));
        }
        due_ns.sort_unstable();
        due_ns
    }

    #[test]
    fn a_single_worker_has_evenly_spaced_due_times_from_the_start() {
        let due = merged(&schedule("1000", Process::Uniform), &[5]);
        assert_eq!(due, [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]);
    }

    #[test]
    fn workers_together_have_the_rate_of_the_run_and_end_together() {
        for process in [Process::Uniform, Process::Poisson] {
            let due = merged(&schedule("1000", process), &[10_000, 2_500, 5_000, 0, 2_500]);
            for second in 1..20 {
                let until = second * 1_000_000_000;
                let count = due.partition_point(|due| *due < until) as f64;
                let expected = second as f64 * 1_000.0;
                // Five standard deviations of a Poisson count; even spacing is off by at most one per worker.
                let tolerance = if process == Process::Poisson { 5.0 * expected.sqrt() } else { 5.0 };
                assert!((count - expected).abs() <= tolerance, "{process:?}: {count} in {second} s");
            }
        }
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let due = merged(&schedule("1000", Process::Poisson), &[20_000, 30_000]);
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
        assert!((variance - 1.0).abs() < 0.06, "{variance}");
        let beyond_1 = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!((beyond_1 - (-1.0_f64).exp()).abs() < 0.01, "{beyond_1}");
    }

    #[test]
    fn due_times_depend_on_the_seed_only() {
        let first = merged(&schedule("1000", Process::Poisson), &[100, 100]);
        assert_eq!(first, merged(&schedule("1000", Process::Poisson), &[100, 100]));
        let other = Schedule { seed: 2, ..schedule("1000", Process::Poisson) };
        assert_ne!(first, merged(&other, &[100, 100]));
    }

    #[test]
    fn parts_of_a_worker_continue_at_its_position_and_rate() {
        for process in [Process::Uniform, Process::Poisson] {
            let mut whole = schedule("1000", process).arrivals(0, Share(0.5));
            let at_ns = (0..1_000).map(|_| whole.take()).last().unwrap();
            let mut parts: Vec<Arrivals> =
                [(0.125, 1), (0.375, 2)].map(|(share, stream)| whole.part(Share(share), stream)).into();
            let mut due: Vec<u64> = Vec::new();
            for part in &mut parts {
                due.extend((0..10_000).map(|_| part.take()).take_while(|due| *due < at_ns + 10_000_000_000));
            }
            assert!(due.iter().all(|due| *due >= at_ns), "{process:?}: nothing is due in the past");
            assert!((due.len() as f64 - 5_000.0).abs() < 360.0, "{process:?}: {}", due.len());
        }
    }
}
