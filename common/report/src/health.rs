//! Converts health totals to the form of the result: times in milliseconds, and shares.

use muster_core::health::{HealthTotals, RunQueue, Starved};
use muster_stats::scheduling_delay::SchedulingDelay;

use crate::result;

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

impl result::AgentHealth {
    /// Returns the health of an agent whose queries have a total service time of `busy_ms`.
    pub fn of(totals: &HealthTotals, busy_ms: f64) -> Self {
        let Starved { times, time_ns, worst } = totals.starved;
        let starved_ms = milliseconds(time_ns);
        let could_run_ms = starved_ms + busy_ms;
        Self {
            process: totals.into(),
            run_queue: totals.run_queue.filter(|run_queue| run_queue.in_flight_ns > 0).map(Into::into),
            starved_times: times,
            starved_ms,
            starved_share: if busy_ms > 0.0 { starved_ms / could_run_ms } else { 0.0 },
            starved_worst: worst.map(|worst| result::StarvedWorker {
                worker: worst.index.into(),
                starved_ms: milliseconds(worst.time_ns),
            }),
            results_kept_max: totals.kept.most,
            results_kept_bound: totals.kept.bound,
            round_trip_max_ms: milliseconds(totals.round_trip_max_ns),
        }
    }
}

/// Includes only the percentiles that the sample size supports, like every percentile of a result.
fn delay_result(scheduling_delay: &SchedulingDelay) -> Option<result::Late> {
    use muster_stats::latency::{Percentile, samples_needed};
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

#[cfg(test)]
mod tests {
    use muster_core::health::{HealthSample, MachineTime, StarvedWorker, Unacked};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// One second on two cores; the process used this share of them.
    fn second(per_mille: u64) -> HealthSample {
        let total_ns = 2 * SECOND;
        HealthSample {
            time_ns: SECOND,
            cores_milli: 2_000,
            cpu_ns: Some(total_ns * per_mille / 1_000),
            machine: Some(MachineTime { total_ns, busy_ns: SECOND, stolen_ns: SECOND / 10 }),
            throttled_ns: Some(0),
            ..HealthSample::default()
        }
    }

    fn totals<'a>(samples: impl IntoIterator<Item = &'a HealthSample>) -> HealthTotals {
        let mut totals = HealthTotals::default();
        samples.into_iter().for_each(|sample| totals.add(sample));
        totals
    }

    #[test]
    fn shares_refer_to_the_available_cpu_time_and_to_the_machine() {
        let health = result::ProcessHealth::from(&totals(&[second(100), second(900), second(200)]));
        assert_eq!((health.watched_ms, health.cores), (3_000.0, 2.0));
        assert_eq!((health.cpu_share, health.cpu_share_worst), (Some(0.4), Some(0.9)));
        assert_eq!(health.cpu_hot_ms, Some(1_000.0));
        assert_eq!((health.machine_busy_share, health.steal_share), (Some(0.5), Some(0.05)));
        assert_eq!(health.throttled_share, Some(0.0));
    }

    #[test]
    fn a_run_shorter_than_a_second_reports_its_average_as_the_worst_second() {
        let part = HealthSample { time_ns: SECOND / 10, cpu_ns: Some(SECOND / 10), ..second(0) };
        let health = result::ProcessHealth::from(&totals(&[part]));
        assert_eq!((health.cpu_share, health.cpu_share_worst), (Some(0.5), Some(0.5)));
    }

    #[test]
    fn values_that_the_system_does_not_provide_stay_unknown() {
        let unknown = HealthSample { cpu_ns: None, machine: None, throttled_ns: None, ..second(0) };
        let health = result::ProcessHealth::from(&totals([&unknown]));
        assert_eq!((health.cpu_share, health.machine_busy_share, health.steal_share), (None, None, None));
        assert_eq!((health.throttled_share, health.late_ms), (None, None));
        // A replacement on another system provides them, for its own time only.
        let health = result::ProcessHealth::from(&totals(&[unknown, second(500)]));
        assert_eq!((health.cpu_share, health.steal_share), (Some(0.5), Some(0.05)));
    }

    #[test]
    fn totals_survive_json_and_do_not_depend_on_how_the_samples_are_split() {
        let starved =
            |index, time_ns| Starved { times: 1, time_ns, worst: Some(StarvedWorker { index, time_ns }) };
        let mut late = SchedulingDelay::default();
        late.record(70_000);
        let samples = [
            HealthSample {
                starved: starved(3, 50),
                kept: Unacked { most: 5, bound: 10 },
                late,
                ..second(300)
            },
            HealthSample {
                starved: starved(1, 20),
                kept: Unacked { most: 9, bound: 100 },
                run_queue: Some(RunQueue { waited_ns: 5, turns: 1, in_flight_ns: 20 }),
                ..second(400)
            },
            HealthSample { round_trip_ns: 7, ..second(100) },
        ];
        let whole = totals(&samples);
        let (first, rest) = samples.split_at(1);
        let mut parts: HealthTotals =
            serde_json::from_str(&serde_json::to_string(&totals(first)).unwrap()).unwrap();
        parts.merge(&totals(rest));
        assert_eq!(parts, whole);
        assert_eq!((whole.starved.times, whole.starved.time_ns), (2, 70));
        assert_eq!(whole.starved.worst.unwrap().index, 3);
        assert_eq!(whole.kept, Unacked { most: 5, bound: 10 }, "half full is fuller than 9 of 100");
        let agent = result::AgentHealth::of(&whole, 7e-5);
        assert_eq!((agent.starved_share, agent.starved_times), (0.5, 2));
    }

    fn share(run_queue: RunQueue) -> f64 {
        result::RunQueue::from(run_queue).share
    }

    #[test]
    fn the_wait_share_is_relative_to_the_time_in_flight() {
        let run_queue = RunQueue { waited_ns: 50, turns: 9, in_flight_ns: 8_000 };
        assert_eq!(share(run_queue), 50.0 / 8_000.0);
        // A query that was in flight when its session was lost has a wait but no service time.
        assert_eq!(share(RunQueue { waited_ns: 9_000, ..run_queue }), 1.0);
        assert_eq!(share(RunQueue::default()), 0.0);
    }

    #[test]
    fn totals_written_without_run_queues_can_be_read() {
        let mut json = serde_json::to_value(totals(&[second(300)])).unwrap();
        json.as_object_mut().unwrap().remove("run_queue").unwrap();
        let read: HealthTotals = serde_json::from_value(json).unwrap();
        assert_eq!(read, totals(&[second(300)]));
        assert!(result::AgentHealth::of(&read, 1.0).run_queue.is_none(), "unknown rather than 0");
    }
}
