//! Compares an agent's scheduling delay with the service times that it reported. When a result arrives, the worker's thread is woken in the
//! same way as the probe's thread, so every service time includes a scheduling delay like the probe's, which cannot be separated from the
//! times alone.
//!
//! - DEGRADED if the delay exceeds a fifth of the service time, at any percentile that both samples support, and 1 ms: a timer is delayed
//!   by 0.1 ms on an idle machine, and a scheduler's time slice is some milliseconds.
//! - VOID if the delay exceeds the whole service time at any such percentile, and 25 ms: such a thread does not merely share its processor,
//!   it is prevented from running. Short queries hide this, because most of them run in the pauses between, but a schedule would not be
//!   kept. Also VOID if the median delay exceeds half of the median service time, and 1 ms. A machine that is merely busy wakes a thread at
//!   once most of the time, because threads that have slept have priority: its median delay hardly changes while its p99 rises by some
//!   milliseconds, while the queries themselves become slower.
//! - DEGRADED if a single delay exceeds a quarter of a second and the median service time. The scheduler does not cause such a delay: the
//!   process or its machine was paused. It affects the maximum and as many queries as there are workers.

use muster_report::result::{Late, Latency};

const DEGRADED_SHARE: f64 = 0.2;
const DEGRADED_MS: f64 = 1.0;
const VOID_MS: f64 = 25.0;
const VOID_MEDIAN_SHARE: f64 = 0.5;
const VOID_MEDIAN_MS: f64 = 1.0;
/// The minimum number of wakes for a meaningful median, which take a tenth of a second.
const WAKES_MIN: u64 = 20;
const PAUSE_MS: f64 = 250.0;

/// Scheduling delay and service time at one percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    pub(super) percentile: &'static str,
    pub(super) delay_ms: f64,
    pub(super) service_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum SchedulingDelay {
    Fine,
    Degraded(Comparison),
    Void(Comparison),
}

pub(super) fn compare(delay: &Late, service: &Latency) -> SchedulingDelay {
    if delay.count < WAKES_MIN {
        return SchedulingDelay::Fine;
    }
    let median = Comparison { percentile: "median", delay_ms: delay.median, service_ms: service.median };
    if median.delay_ms > VOID_MEDIAN_MS.max(VOID_MEDIAN_SHARE * median.service_ms) {
        return SchedulingDelay::Void(median);
    }
    let at = |percentile, delay_ms: Option<f64>, service_ms: Option<f64>| {
        Some(Comparison { percentile, delay_ms: delay_ms?, service_ms: service_ms? })
    };
    let supported = [
        at("p99", delay.p99, service.p99),
        at("p95", delay.p95, service.p95),
        at("p90", delay.p90, service.p90),
    ];
    let supported = || supported.into_iter().flatten();
    // If both samples support no percentile, the medians are compared.
    let first = supported().next().is_none().then_some(median);
    let compared = || supported().chain(first);
    let is_void = |at: &Comparison| at.delay_ms > VOID_MS.max(at.service_ms);
    let is_degraded = |at: &Comparison| at.delay_ms > DEGRADED_MS.max(DEGRADED_SHARE * at.service_ms);
    if let Some(at) = compared().find(is_void) {
        return SchedulingDelay::Void(at);
    }
    // All percentiles are in the report, and a high p99 of the queries must not hide a delay that is a large part of their p95.
    compared().find(is_degraded).map_or(SchedulingDelay::Fine, SchedulingDelay::Degraded)
}

/// The length of the longest pause of the process, if there was one.
pub(super) fn pause_ms(delay: &Late, service: &Latency) -> Option<f64> {
    (delay.max > PAUSE_MS.max(service.median)).then_some(delay.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(median: f64, p99: f64) -> Late {
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
            intervals: muster_report::result::Intervals::default(),
        }
    }

    #[track_caller]
    fn check(delay: Late, service: &Latency, expected: &str) {
        let found = match compare(&delay, service) {
            SchedulingDelay::Fine => "fine".to_owned(),
            SchedulingDelay::Degraded(at) => format!("degraded at {}", at.percentile),
            SchedulingDelay::Void(at) => format!("void at {}", at.percentile),
        };
        assert_eq!(found, expected, "{delay:?}");
    }

    /// Measured on a machine with two processors: probes every 5 ms during each kind of run.
    #[test]
    fn a_busy_machine_is_not_void_but_one_that_prevents_threads_from_running_is() {
        // The demo's ten agents with their embedded server, on an idle machine; the same with two compilers running.
        check(delay(0.13, 0.42), &service(47.0, Some(90.0)), "fine");
        check(delay(0.13, 5.0), &service(102.0, Some(180.0)), "fine");
        // 14,000 queries a second on two processors that four builds keep busy: a query takes 0.14 ms at the median.
        check(delay(0.13, 3.6), &service(0.141, Some(5.01)), "degraded at p99");
        // Eight threads that never sleep, on two processors.
        check(delay(2.0, 19.0), &service(3.0, Some(21.0)), "void at median");
        check(delay(2.0, 19.0), &service(20.0, Some(60.0)), "degraded at p99");
        check(delay(2.0, 19.0), &service(150.0, Some(300.0)), "fine");
        // Measured with eight such threads: the p99 of the queries is so high that a fifth of it hides the probe's.
        let beside = Late { p90: Some(3.07), p95: Some(4.1), ..delay(0.08, 4.5) };
        let queries = Latency { p90: Some(9.41), p95: Some(13.42), ..service(0.87, Some(26.38)) };
        check(beside, &queries, "degraded at p95");
    }

    #[test]
    fn percentiles_that_both_samples_support_are_compared() {
        check(delay(0.1, 60.0), &service(10.0, Some(25.0)), "void at p99");
        check(delay(0.1, 60.0), &service(10.0, None), "void at p95");
        check(Late { p99: None, ..delay(0.1, 60.0) }, &service(10.0, Some(25.0)), "void at p95");
        // Stopped for 60 of each 90 ms, with queries of 0.3 ms of which one in eighty is in flight during a stop.
        check(delay(0.1, 60.0), &service(0.3, Some(60.2)), "void at p95");
        check(delay(0.1, 24.0), &service(0.3, Some(0.9)), "degraded at p99");
        let few = Late { count: 30, p90: None, p95: None, p99: None, ..delay(3.0, 30.0) };
        check(few.clone(), &service(10.0, None), "degraded at median");
        check(Late { count: 19, median: 30.0, ..few }, &service(10.0, None), "fine");
    }

    #[test]
    fn a_paused_process_is_distinguished_from_slow_queries() {
        let pause = |max, median| pause_ms(&Late { max, ..delay(0.1, 0.2) }, &service(median, None));
        assert_eq!(pause(1_003.0, 5.0), Some(1_003.0));
        assert_eq!(pause(240.0, 5.0), None);
        assert_eq!(pause(1_003.0, 2_000.0), None, "a query takes longer than that");
    }
}
