//! How the workers' connections spent the time of a run, and whether an open loop achieved its rate. Pure.

use std::time::Duration;

use muster_core::ids::WorkerId;
use muster_core::load::Load;
use muster_core::search;
use muster_report::result::{self, Latency, Utilization, WorkerShare};

use super::tally::{Occupied, WorkerTally};

/// Time in nanoseconds in which a worker could have run a query but did not. By Little's law with one worker, this is all time that is not
/// service time. If rows have due times, it is measured directly as generator delay.
fn overhead_ns(worker: &WorkerTally, load: &Load) -> u64 {
    let Occupied { busy_ns, delay_ns, ended_ns } = worker.occupied;
    if load.has_due_times() { delay_ns } else { ended_ns.saturating_sub(busy_ns) }
}

/// Returns `None` if no query ran. `was_uninterrupted` is true if every worker was present from the start to the end. Otherwise the
/// overhead is not computed, because the absence would count as overhead.
pub(super) fn utilization(
    workers: &[WorkerTally],
    ids: &[WorkerId],
    load: &Load,
    was_uninterrupted: bool,
) -> Option<Utilization> {
    let ran = || workers.iter().zip(ids).filter(|(worker, _)| worker.occupied.ended_ns > 0);
    let busy_share = |worker: &WorkerTally| share(worker.occupied.busy_ns, worker.occupied.ended_ns);
    let busy_share_max = ran().map(|(worker, _)| busy_share(worker)).max_by(f64::total_cmp)?;
    let busy_ns: u64 = ran().map(|(worker, _)| worker.occupied.busy_ns).sum();
    let ended_ns: u64 = ran().map(|(worker, _)| worker.occupied.ended_ns).sum();
    let all_overhead_ns: u64 = ran().map(|(worker, _)| overhead_ns(worker, load)).sum();
    let overhead_share = |worker: &WorkerTally| {
        let overhead_ns = overhead_ns(worker, load);
        share(overhead_ns, overhead_ns + worker.occupied.busy_ns)
    };
    let shares = ran().map(|(worker, id)| (overhead_share(worker), id));
    let worst = shares.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|_| was_uninterrupted);
    Some(Utilization {
        busy_share: share(busy_ns, ended_ns),
        busy_share_max,
        generator_overhead_ms: was_uninterrupted.then_some(all_overhead_ns as f64 / 1e6),
        generator_overhead_share: was_uninterrupted
            .then_some(share(all_overhead_ns, all_overhead_ns + busy_ns)),
        generator_overhead_worst: worst.map(|(share, id)| WorkerShare { worker: id.to_string(), share }),
    })
}

/// [`Utilization::generator_overhead_ms`] of one worker.
pub(super) fn overhead_ms(worker: &WorkerTally, load: &Load) -> f64 {
    overhead_ns(worker, load) as f64 / 1e6
}

fn share(part: u64, whole: u64) -> f64 {
    if whole > 0 { part as f64 / whole as f64 } else { 0.0 }
}

/// The scheduled and the achieved queries per second over the duration of the run. `None` in a closed loop.
pub(super) fn rates(load: &Load, counted: Option<(f64, f64)>, ran: u64, wall: Duration) -> Option<[f64; 2]> {
    let wall_s = wall.as_secs_f64();
    if wall_s <= 0.0 {
        return None;
    }
    let scheduled = match (&load.schedule, counted) {
        (Some(schedule), _) => schedule.rate.arrivals_in(wall) / wall_s,
        (None, Some((rate, _))) => rate,
        (None, None) => return None,
    };
    Some([scheduled, ran as f64 / wall_s])
}

/// The number of queries that are due within the duration of an open loop. `None` without a schedule or a duration.
pub(super) fn due(load: &Load, rows_of_worker: &[u64]) -> Option<u64> {
    let schedule = load.schedule.as_ref()?;
    Some(search::due_within(schedule, rows_of_worker, load.duration?))
}

/// Returns true if an open loop fell behind its schedule: more than 5 % of the scheduled queries did not run, and the maximum lag exceeds
/// 5 % of the run's duration or due queries were cut off at its end. The second condition excludes shortfalls from the random number of
/// arrivals of a Poisson process.
pub(super) fn fell_behind(
    load: &result::Load,
    lag: &Latency,
    wall: Duration,
    cut_off: Option<(u64, u64)>,
) -> bool {
    const SHORTFALL_MIN: f64 = 0.05;
    let (Some(scheduled), Some(achieved)) = (load.scheduled_qps, load.achieved_qps) else { return false };
    let is_delayed = lag.max > SHORTFALL_MIN * wall.as_secs_f64() * 1e3;
    achieved < (1.0 - SHORTFALL_MIN) * scheduled && (is_delayed || cut_off.is_some())
}

#[cfg(test)]
mod tests {
    use muster_core::ids::SlotId;
    use muster_core::schedule::{Process, Schedule};

    use super::*;

    fn worker(busy_ms: u64, delay_ms: u64, ended_ms: u64) -> WorkerTally {
        let [busy_ns, delay_ns, ended_ns] = [busy_ms, delay_ms, ended_ms].map(|ms| ms * 1_000_000);
        WorkerTally { occupied: Occupied { busy_ns, delay_ns, ended_ns }, ..WorkerTally::default() }
    }

    fn of(workers: &[WorkerTally], load: &Load) -> Utilization {
        let ids: Vec<WorkerId> = (0..2).map(|index| WorkerId::new(SlotId::new(0), index)).collect();
        utilization(workers, &ids, load, true).unwrap()
    }

    fn open() -> Load {
        let schedule = Schedule { rate: "100".parse().unwrap(), process: Process::Uniform, seed: 0 };
        Load { schedule: Some(schedule), ..Load::default() }
    }

    #[test]
    fn in_a_closed_loop_all_time_except_service_time_is_overhead() {
        let used = of(&[worker(900, 0, 1_000), worker(250, 0, 500)], &Load::default());
        assert_eq!(used.busy_share, 1_150.0 / 1_500.0);
        assert_eq!(used.busy_share_max, 0.9);
        assert_eq!(used.generator_overhead_ms, Some(350.0));
        assert_eq!(used.generator_overhead_share, Some(350.0 / 1_500.0));
        let worst = used.generator_overhead_worst.unwrap();
        assert_eq!((worst.worker.as_str(), worst.share), ("slot-0/1", 0.5));
    }

    #[test]
    fn with_due_times_overhead_is_the_generator_delay_without_waiting_for_due_rows() {
        let used = of(&[worker(100, 1, 1_000)], &open());
        assert_eq!((used.busy_share, used.generator_overhead_ms), (0.1, Some(1.0)));
        assert_eq!(used.generator_overhead_share, Some(1.0 / 101.0));
    }

    #[test]
    fn idle_workers_do_not_count_and_interrupted_runs_have_no_overhead() {
        let used = of(&[worker(900, 0, 1_000), worker(0, 0, 0)], &Load::default());
        assert_eq!(used.busy_share, 0.9);
        assert_eq!(utilization(&[worker(0, 0, 0)], &[], &Load::default(), true), None);
        let ids = [WorkerId::new(SlotId::new(0), 0)];
        let used = utilization(&[worker(900, 0, 1_000)], &ids, &Load::default(), false).unwrap();
        assert_eq!((used.generator_overhead_ms, used.generator_overhead_worst), (None, None));
    }

    #[test]
    fn a_run_fell_behind_if_it_ran_too_few_queries_and_was_delayed() {
        let load = |achieved| result::Load {
            scheduled_qps: Some(100.0),
            achieved_qps: Some(achieved),
            ..result::Load::default()
        };
        let lag = |max| Latency {
            count: 1,
            min: 0.0,
            median: 0.0,
            mean: 0.0,
            max,
            stddev: None,
            p90: None,
            p95: None,
            p99: None,
            p99_9: None,
            intervals: result::Intervals::default(),
        };
        let wall = Duration::from_secs(10);
        assert!(fell_behind(&load(50.0), &lag(5_000.0), wall, None));
        assert!(!fell_behind(&load(90.0), &lag(20.0), wall, None), "fewer arrivals came by chance");
        assert!(fell_behind(&load(90.0), &lag(20.0), wall, Some((100, 1_000))), "the end cut queries off");
        assert!(!fell_behind(&load(99.0), &lag(600.0), wall, None), "it caught up");
        assert!(!fell_behind(&result::Load::default(), &lag(600.0), wall, None), "a closed loop");
    }
}
