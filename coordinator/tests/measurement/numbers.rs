//! The report's times compared with a fake server's own clock, without guessed tolerances. A correctly measured query starts after the
//! previous answer was sent, and stops after its own answer was sent and before the next bytes on its connection; the fake server records
//! these times. So every query has a lower and an upper bound, however busy the machine is, and the same follows for every rank and every
//! sum. On an idle machine the bounds are about 0.2 ms apart.

use std::time::Duration;

use muster_report::result::{Latency, RunResult, VerdictStatus, Worker};
use muster_testing::exclusive;
use muster_testing::fake_postgres::FakePostgres;
use muster_testing::fake_postgres::{Execution, Record};
use muster_testing::processes::Ended;
use muster_testing::scripted_run::Run;

const HOSTS: usize = 20;
/// The limit of the median distance between the bounds, because distant bounds prove nothing. Not tighter, because a busy machine is not
/// a defect.
const SLACK_MAX_MS: f64 = 25.0;

/// Runs queries with these delays on all hosts in turn. Each host begins and ends with a query that fails, so that no measured query waits
/// for the start or the end of the run, which would raise its upper bound.
fn check(delays_us: &[u64], run: impl FnOnce(Run) -> Ended) {
    let _turn = exclusive::beside_one_blocking();
    let fake = FakePostgres::start();
    let edge = (0..HOSTS).map(|host| format!("h{host},error P0001 at the edge"));
    let inner = delays_us.iter().enumerate().map(|(row, us)| format!("h{},{us}us", row % HOSTS));
    let rows: Vec<_> = edge.clone().chain(inner).chain(edge).collect();
    let report = run(Run::new(&fake.url(), &rows)).report(14);
    let record = fake.finish();
    let queries = &report.queries;
    assert_eq!(
        (queries.total, queries.completed, queries.failed, queries.unaccounted),
        (rows.len() as u64, delays_us.len() as u64, 2 * HOSTS as u64, 0)
    );
    assert_eq!(record.executions.len(), rows.len(), "every row runs once");
    assert_times(&report, &record, delays_us);
    assert_sums(&report, &record);
}

/// Lower and upper bounds of a sample, each ascending: the k-th smallest measurement is between the k-th smallest of both.
struct Bounds {
    floors: Vec<f64>,
    ceilings: Vec<f64>,
}

impl Bounds {
    fn of<'a>(executions: impl Iterator<Item = &'a Execution>) -> Self {
        let (mut floors, mut ceilings): (Vec<_>, Vec<_>) =
            executions.map(|one| (ms(one.at_least()), ms(one.at_most()))).unzip();
        floors.sort_by(f64::total_cmp);
        ceilings.sort_by(f64::total_cmp);
        Self { floors, ceilings }
    }

    /// The bounds of a nearest-rank percentile: rank ⌈p·n⌉, counted from 1.
    fn rank(&self, per_mille: usize) -> (f64, f64) {
        let rank = (self.floors.len() * per_mille).div_ceil(1_000).max(1);
        (self.floors[rank - 1], self.ceilings[rank - 1])
    }

    fn sum(&self) -> (f64, f64) {
        (self.floors.iter().sum(), self.ceilings.iter().sum())
    }

    fn assert_latency(&self, latency: &Latency) {
        let count = self.floors.len() as f64;
        let (floor, ceiling) = self.sum();
        assert_eq!(latency.count, self.floors.len() as u64);
        assert_between("min", latency.min, self.rank(0));
        assert_between("median", latency.median, self.rank(500));
        assert_between("mean", latency.mean, (floor / count, ceiling / count));
        assert_between("max", latency.max, self.rank(1_000));
        for (name, percentile, per_mille) in
            [("p90", latency.p90, 900), ("p95", latency.p95, 950), ("p99", latency.p99, 990)]
        {
            if let Some(percentile) = percentile {
                assert_between(name, percentile, self.rank(per_mille));
            }
        }
    }
}

fn assert_times(report: &RunResult, record: &Record, delays_us: &[u64]) {
    let bounds = Bounds::of(record.completed());
    let mut injected: Vec<f64> = delays_us.iter().map(|us| *us as f64 / 1e3).collect();
    injected.sort_by(f64::total_cmp);
    assert!(
        bounds.floors.iter().zip(&injected).all(|(floor, delay)| floor >= delay),
        "the fake server answers too early"
    );
    let mut slack: Vec<f64> = record.completed().map(|one| ms(one.at_most() - one.at_least())).collect();
    slack.sort_by(f64::total_cmp);
    let (median, last) = (slack[slack.len() / 2], slack[slack.len() - 1]);
    println!("{} queries, ceiling above floor: median {median:.3} ms, max {last:.3} ms", slack.len());
    assert!(median < SLACK_MAX_MS, "the machine is too busy to measure anything: {median} ms");
    let latency = report.service_time_ms.as_ref().unwrap();
    bounds.assert_latency(latency);
    assert_eq!(
        report.response_time_ms.as_ref(),
        Some(latency),
        "in a closed loop a row is due when it starts"
    );
    assert_between("total", report.total_processing_time_ms, bounds.sum());
}

/// Compares parts with the fake server's record, and parts with the total.
fn assert_sums(report: &RunResult, record: &Record) {
    for host in &report.hosts {
        let bounds = Bounds::of(record.of_host(&host.host).filter(|one| one.is_completed));
        assert_eq!((host.completed, host.failed), (bounds.floors.len() as u64, 2), "{}", host.host);
        let Some((mean, max)) = host.mean_ms.zip(host.max_ms) else { continue };
        let (floor, ceiling) = bounds.sum();
        let count = bounds.floors.len() as f64;
        assert_between(&host.host, mean, (floor / count, ceiling / count));
        assert_between(&host.host, max, bounds.rank(1_000));
    }
    let total = report.total_processing_time_ms;
    let is_total = |sum: f64| (sum - total).abs() < 1e-6 * total;
    assert!(is_total(report.workers.iter().map(|worker| worker.busy_ms).sum()));
    assert!(is_total(
        report.hosts.iter().filter_map(|host| Some(host.mean_ms? * host.completed as f64)).sum()
    ));
    for agent in &report.agents {
        let of_agent = |worker: &&Worker| worker.worker.starts_with(&format!("{}/", agent.slot));
        let workers = report.workers.iter().filter(of_agent);
        let own: Vec<&Latency> = workers.filter_map(|worker| worker.service_time_ms.as_ref()).collect();
        let figures = agent.service_time_ms.as_ref().map(|latency| (latency.count, latency.min, latency.max));
        let expected = (!own.is_empty()).then(|| {
            let count = own.iter().map(|worker| worker.count).sum();
            let min = own.iter().map(|worker| worker.min).fold(f64::INFINITY, f64::min);
            (count, min, own.iter().map(|worker| worker.max).fold(0.0, f64::max))
        });
        assert_eq!(figures, expected, "{}", agent.slot);
    }
    let busiest = report.workers.iter().map(|worker| worker.busy_ms).fold(0.0, f64::max);
    assert!(report.wall_time_ms >= busiest, "{} < {busiest}", report.wall_time_ms);
    let qps = report.queries.completed as f64 / report.wall_time_ms * 1e3;
    assert!((report.throughput_qps - qps).abs() < 1e-6 * qps);
}

/// Allows a nanosecond for floating-point rounding.
#[track_caller]
fn assert_between(what: &str, value: f64, (floor, ceiling): (f64, f64)) {
    println!("{what}: {floor:.3} <= {value:.3} <= {ceiling:.3} ms");
    assert!(
        floor - 1e-6 <= value && value <= ceiling + 1e-6,
        "{what}: {value} not in {floor}..={ceiling} ms"
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[test]
fn one_agent_reports_a_constant_delay() {
    check(&[5_000; 100], |run| run.local(1));
}

#[test]
fn delays_far_below_a_millisecond_are_measured_correctly() {
    check(&[200; 1_000], |run| run.local(1));
}

#[test]
fn percentiles_at_the_edge_between_two_modes_belong_to_the_right_mode() {
    // The 360th of 400 values is the last fast one, and p90; the 361st is slow.
    let delays: Vec<u64> = (0..400).map(|row| if row % 10 == 7 { 40_000 } else { 1_500 }).collect();
    check(&delays, |run| run.local(4));
}

#[test]
fn the_ninety_ninth_percentile_is_not_the_maximum() {
    // 5 of 500 values are above p99, and each has another rank.
    let delays: Vec<u64> =
        (0..500).map(|row| if row % 100 == 50 { 60_000 + row * 50 } else { 1_000 }).collect();
    check(&delays, |run| run.local(10));
}

#[test]
fn a_spread_of_delays_keeps_every_rank() {
    let delays: Vec<u64> = (0..500).map(|row| 300 + row * 7_919 % 500 * 40).collect();
    check(&delays, |run| run.local(10));
}

#[test]
fn agents_in_separate_processes_with_several_workers_report_the_same() {
    let delays: Vec<u64> = (0..300).map(|row| 500 + row * 7_919 % 300 * 40).collect();
    check(&delays, |run| run.with_processes(2, 2));
}

#[test]
fn a_run_whose_rows_all_complete_succeeds() {
    let _turn = exclusive::beside_one_blocking();
    let fake = FakePostgres::start();
    let rows: Vec<_> = (0..50).map(|row| format!("h{},1ms; rows {}", row % 5, row % 4)).collect();
    let report = Run::new(&fake.url(), &rows).local(4).report(0);
    let record = fake.finish();
    assert_eq!(report.queries.completed, 50);
    assert_ne!(report.verdict.status, VerdictStatus::Void, "{:?}", report.verdict);
    assert_eq!(report.result.rows, (0..50).map(|row| row % 4).sum::<u64>());
    assert_eq!(report.result.bytes, 8 * report.result.rows, "a result is one bigint per row");
    assert_eq!(report.agents.len(), 4);
    assert_eq!(record.sessions.len(), 4, "one connection per worker");
    assert_eq!(report.database.unwrap().server_version, "16.9 (fake)");
}
