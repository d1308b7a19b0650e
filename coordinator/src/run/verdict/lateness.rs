//! Whether an agent's threads were late, measured by the times that it reported. When an answer comes, the worker's thread is woken
//! as the probe's thread is, so the probe's delay is a part of every service time, and nobody can tell which part by looking at the
//! times alone.
//!
//! - DEGRADED when the probe was later than a fifth of the service time, both at any percentile that both samples support, and later
//!   than 1 ms: a timer is 0.1 ms late on an idle machine, and a scheduler's slice is some milliseconds.
//! - VOID when at any such percentile it was later than the whole service time, and than 25 ms: that is no thread that shares its
//!   processor, but one that is kept from running. Short queries hide it, for most of them run in the pauses between; a schedule would
//!   not be kept. Or when half of all wakes were later than half of the median service time, and than 1 ms. A machine that is merely
//!   busy wakes a thread at once most of the time, for one that has slept goes first: its median stays where it was while its p99
//!   rises by some milliseconds, beside queries that have become slower themselves.
//! - A single wake that was a quarter of a second late, and later than the median query, is no scheduler's doing: the process or its
//!   machine stood still. DEGRADED: it is in the maximum and in as many queries as there are workers.

use muster_common::result::{Late, Latency};

const DEGRADED_SHARE: f64 = 0.2;
const DEGRADED_MS: f64 = 1.0;
const VOID_MS: f64 = 25.0;
const VOID_MEDIAN_SHARE: f64 = 0.5;
const VOID_MEDIAN_MS: f64 = 1.0;
/// A median of fewer wakes, a tenth of a second of them, says nothing.
const WAKES_MIN: u64 = 20;
const STILL_MS: f64 = 250.0;

/// The percentile at which lateness and service times were held against each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    pub(super) percentile: &'static str,
    pub(super) late_ms: f64,
    pub(super) service_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lateness {
    Fine,
    Degraded(Comparison),
    Void(Comparison),
}

pub(super) fn compare(late: &Late, service: &Latency) -> Lateness {
    if late.count < WAKES_MIN {
        return Lateness::Fine;
    }
    let median = Comparison { percentile: "median", late_ms: late.median, service_ms: service.median };
    if median.late_ms > VOID_MEDIAN_MS.max(VOID_MEDIAN_SHARE * median.service_ms) {
        return Lateness::Void(median);
    }
    let at = |percentile, late_ms: Option<f64>, service_ms: Option<f64>| {
        Some(Comparison { percentile, late_ms: late_ms?, service_ms: service_ms? })
    };
    let supported = [
        at("p99", late.p99, service.p99),
        at("p95", late.p95, service.p95),
        at("p90", late.p90, service.p90),
    ];
    let supported = || supported.into_iter().flatten();
    // What nothing supports is held against the medians.
    let first = supported().next().is_none().then_some(median);
    let compared = || supported().chain(first);
    let is_void = |at: &Comparison| at.late_ms > VOID_MS.max(at.service_ms);
    let is_degraded = |at: &Comparison| at.late_ms > DEGRADED_MS.max(DEGRADED_SHARE * at.service_ms);
    if let Some(at) = compared().find(is_void) {
        return Lateness::Void(at);
    }
    // Any of them is in the report, and a high p99 of the queries must not hide what is a large part of their p95.
    compared().find(is_degraded).map_or(Lateness::Fine, Lateness::Degraded)
}

/// How long the process stood still at once, if it did.
pub(super) fn stood_still_ms(late: &Late, service: &Latency) -> Option<f64> {
    (late.max > STILL_MS.max(service.median)).then_some(late.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(median: f64, p99: f64) -> Late {
        let p95 = Some(p99 * 0.8);
        Late { count: 1_000, median, p90: Some(median), p95, p99: Some(p99), max: p99 }
    }

    fn service(median: f64, p99: Option<f64>) -> Latency {
        let (p90, p95) = (Some(median * 1.2), Some(median * 1.5));
        Latency {
            count: 1_000,
            min: median / 2.0,
            median,
            mean: median,
            max: median * 10.0,
            stddev: Some(1.0),
            p90,
            p95,
            p99,
            p99_9: None,
            intervals: muster_common::result::Intervals::default(),
        }
    }

    #[track_caller]
    fn check(late: Late, service: &Latency, expected: &str) {
        let found = match compare(&late, service) {
            Lateness::Fine => "fine".to_owned(),
            Lateness::Degraded(at) => format!("degraded at {}", at.percentile),
            Lateness::Void(at) => format!("void at {}", at.percentile),
        };
        assert_eq!(found, expected, "{late:?}");
    }

    /// Measured on a machine of two processors: probes of 5 ms beside each kind of run.
    #[test]
    fn a_busy_machine_is_not_void_and_one_that_keeps_threads_from_running_is() {
        // Idle; the demo's ten agents with their embedded server; the same with two compilers beside them.
        check(late(0.13, 0.42), &service(47.0, Some(90.0)), "fine");
        check(late(0.13, 5.0), &service(102.0, Some(180.0)), "fine");
        // 14,000 queries a second on two processors that four builds keep busy: a query takes 0.14 ms at the median.
        check(late(0.13, 3.6), &service(0.141, Some(5.01)), "degraded at p99");
        // Eight threads that never sleep, on two processors.
        check(late(2.0, 19.0), &service(3.0, Some(21.0)), "void at median");
        check(late(2.0, 19.0), &service(20.0, Some(60.0)), "degraded at p99");
        check(late(2.0, 19.0), &service(150.0, Some(300.0)), "fine");
        // Measured beside eight such threads: the p99 of the queries is so high that a fifth of it hides the probe's.
        let beside = Late { p90: Some(3.07), p95: Some(4.1), ..late(0.08, 4.5) };
        let queries = Latency { p90: Some(9.41), p95: Some(13.42), ..service(0.87, Some(26.38)) };
        check(beside, &queries, "degraded at p95");
    }

    #[test]
    fn what_both_samples_support_decides() {
        check(late(0.1, 60.0), &service(10.0, Some(25.0)), "void at p99");
        check(late(0.1, 60.0), &service(10.0, None), "void at p95");
        check(Late { p99: None, ..late(0.1, 60.0) }, &service(10.0, Some(25.0)), "void at p95");
        // Stopped for 60 of each 90 ms, with queries of 0.3 ms of which one in eighty is in flight then.
        check(late(0.1, 60.0), &service(0.3, Some(60.2)), "void at p95");
        check(late(0.1, 24.0), &service(0.3, Some(0.9)), "degraded at p99");
        let few = Late { count: 30, p90: None, p95: None, p99: None, ..late(3.0, 30.0) };
        check(few.clone(), &service(10.0, None), "degraded at median");
        check(Late { count: 19, median: 30.0, ..few }, &service(10.0, None), "fine");
    }

    #[test]
    fn a_process_that_stood_still_is_told_from_slow_queries() {
        let still = |max, median| stood_still_ms(&Late { max, ..late(0.1, 0.2) }, &service(median, None));
        assert_eq!(still(1_003.0, 5.0), Some(1_003.0));
        assert_eq!(still(240.0, 5.0), None);
        assert_eq!(still(1_003.0, 2_000.0), None, "a query takes longer than that");
    }
}
