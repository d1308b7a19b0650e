//! Converts health totals to the form of the result: times in milliseconds, and shares.

use super::{HealthTotals, RunQueue, Starved};
use crate::result;
use crate::scheduling_delay::SchedulingDelay;

impl From<&HealthTotals> for result::ProcessHealth {
    fn from(totals: &HealthTotals) -> Self {
        let cpu = totals.cpu.filter(|cpu| cpu.allowed_ns > 0);
        let machine = totals.machine.filter(|machine| machine.total_ns > 0);
        let worst = |per_mille: u32, average: f64| (f64::from(per_mille) / 1e3).max(average);
        let cpu_share = cpu.map(|cpu| cpu.used_ns as f64 / cpu.allowed_ns as f64);
        let busy_share = machine.map(|machine| machine.busy_ns as f64 / machine.total_ns as f64);
        let throttled = totals.throttled.filter(|throttled| throttled.of_ns > 0);
        Self {
            watched_ms: milliseconds(totals.time_ns),
            cores: f64::from(totals.cores_milli) / 1e3,
            cpu_share,
            // A run shorter than a second has no busiest second; its average is used.
            cpu_share_worst: cpu.zip(cpu_share).map(|(cpu, share)| worst(cpu.worst_per_mille, share)),
            cpu_hot_ms: cpu.map(|cpu| milliseconds(cpu.hot_ns)),
            machine_busy_share: busy_share,
            machine_busy_share_worst: busy_share.map(|share| worst(totals.machine_worst_per_mille, share)),
            steal_share: machine.map(|machine| machine.stolen_ns as f64 / machine.total_ns as f64),
            throttled_share: throttled
                .map(|throttled| (throttled.throttled_ns as f64 / throttled.of_ns as f64).min(1.0)),
            late_ms: delay_result(&totals.late),
        }
    }
}

impl From<RunQueue> for result::RunQueue {
    fn from(run_queue: RunQueue) -> Self {
        let RunQueue { waited_ns, turns, in_flight_ns } = run_queue;
        Self {
            waited_ms: milliseconds(waited_ns),
            turns,
            in_flight_ms: milliseconds(in_flight_ns),
            share: (waited_ns as f64 / in_flight_ns.max(1) as f64).min(1.0),
        }
    }
}

impl HealthTotals {
    /// Returns the health of an agent whose queries have a total service time of `busy_ms`.
    pub fn of_agent(&self, busy_ms: f64) -> result::AgentHealth {
        let Starved { times, time_ns, worst } = self.starved;
        let starved_ms = milliseconds(time_ns);
        let could_run_ms = starved_ms + busy_ms;
        result::AgentHealth {
            process: self.into(),
            run_queue: self.run_queue.filter(|run_queue| run_queue.in_flight_ns > 0).map(Into::into),
            starved_times: times,
            starved_ms,
            starved_share: if busy_ms > 0.0 { starved_ms / could_run_ms } else { 0.0 },
            starved_worst: worst.map(|worst| result::StarvedWorker {
                worker: worst.index.into(),
                starved_ms: milliseconds(worst.time_ns),
            }),
            results_kept_max: self.kept.most,
            results_kept_bound: self.kept.bound,
            round_trip_max_ms: milliseconds(self.round_trip_max_ns),
        }
    }
}

/// Includes only the percentiles that the sample size supports, like every percentile of a result.
fn delay_result(scheduling_delay: &SchedulingDelay) -> Option<result::Late> {
    use crate::latency::{Percentile, samples_needed};
    let count = scheduling_delay.count();
    let supported = |percentile: Percentile| {
        let is_enough = count >= samples_needed(percentile);
        is_enough.then(|| scheduling_delay.percentile_ns(percentile).map(milliseconds))?
    };
    Some(result::Late {
        count,
        median: milliseconds(scheduling_delay.percentile_ns(Percentile::P50)?),
        p90: supported(Percentile::P90),
        p95: supported(Percentile::P95),
        p99: supported(Percentile::P99),
        max: milliseconds(scheduling_delay.max_ns()),
    })
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}
