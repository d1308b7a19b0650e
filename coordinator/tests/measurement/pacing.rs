//! When rows run and which of them count: fixed rates, warm-up, passes, and durations, against a fake server with its own clock. Where
//! possible the bounds hold however busy the machine is; elsewhere the tests use medians and generous margins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use muster_report::result::{Latency, LoadModel, RunResult};
use muster_testing::exclusive;
use muster_testing::fake_postgres::FakePostgres;
use muster_testing::fake_postgres::Record;
use muster_testing::processes::Ended;
use muster_testing::scripted_run::Run;

/// The time that a busy machine may add; far below the differences that the tests check.
const MARGIN_MS: f64 = 300.0;

/// Runs these rows with local agents. On a machine that is too busy to keep the schedule the run may be VOID, which exits with 11.
fn run(rows: &[String], agents: usize, args: &[&str]) -> (RunResult, Record) {
    let _turn = exclusive::beside_one_blocking();
    let fake = FakePostgres::start();
    let run = Run::new(&fake.url(), rows).with(&["--placement", "balanced"]).with(args);
    let finished: Ended = run.local(agents);
    assert!(matches!(finished.code, Some(0 | 11)), "{:?}: {}", finished.code, finished.stderr);
    let report: RunResult = serde_json::from_str(&finished.stdout).unwrap();
    let queries = &report.queries;
    assert_eq!(queries.completed + queries.failed + queries.unaccounted, queries.total, "the totals add up");
    let of_agents: u64 = report.agents.iter().map(|agent| agent.queries).sum();
    let of_workers: u64 = report.workers.iter().map(|worker| worker.queries).sum();
    assert_eq!([of_agents, of_workers], [queries.total; 2], "the agents' queries add up");
    (report, fake.finish())
}

fn rows(count: usize, hosts: usize, script: &str) -> Vec<String> {
    (0..count).map(|row| format!("h{},{script}", row % hosts)).collect()
}

fn latencies(report: &RunResult) -> [&Latency; 3] {
    [&report.service_time_ms, &report.response_time_ms, &report.lag_ms].map(|one| one.as_ref().unwrap())
}

/// The times at which queries were received, ascending.
fn received(record: &Record) -> Vec<Instant> {
    let mut received: Vec<_> = record.executions.iter().map(|one| one.received).collect();
    received.sort();
    received
}

#[test]
fn a_fixed_rate_keeps_the_schedule_and_response_time_is_service_time_plus_lag() {
    const RATE: f64 = 500.0;
    let (report, record) = run(&rows(1_000, 2, "1ms"), 2, &["--rate", "500"]);
    assert_eq!((report.load.model, report.queries.completed), (LoadModel::Open, 1_000));
    let [service, response, lag] = latencies(&report);
    assert!((response.mean - service.mean - lag.mean).abs() < 1e-6, "{response:?} {service:?} {lag:?}");
    assert!(response.max <= service.max + lag.max + 1e-6 && response.median >= service.min);
    assert!(service.min >= 1.0);

    let received = received(&record);
    let at_ms = |row: usize| (received[row] - received[0]).as_secs_f64() * 1e3;
    // The only deviations from the schedule are the reported lag and the way to the server.
    for row in [250, 500, 750, 999] {
        let due = row as f64 / RATE * 1e3;
        let margin = lag.max + 1e3 / RATE;
        assert!(at_ms(row) >= due - margin, "row {row} was early: {} ms", at_ms(row));
        assert!(at_ms(row) <= due + margin + MARGIN_MS, "row {row} was delayed: {} ms", at_ms(row));
    }
    // Intervals of 250 ms, without the last, which is partial.
    let mut counts = [0; 7];
    for row in 0..received.len() {
        if let Some(count) = counts.get_mut((at_ms(row) / 250.0) as usize) {
            *count += 1;
        }
    }
    counts.sort_unstable();
    println!("in intervals of 250 ms: {counts:?}; lag: {lag:?}");
    assert!((124..=126).contains(&counts[3]), "125 were due: {counts:?}");
}

#[test]
fn poisson_arrivals_keep_the_rate_and_vary_the_gaps() {
    let (report, record) = run(&rows(1_000, 2, "0us"), 2, &["--rate", "1000", "--arrivals", "poisson"]);
    assert_eq!(report.load.arrivals.as_deref(), Some("poisson"));
    let received = received(&record);
    let mut gaps: Vec<f64> = received.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    gaps.sort_by(f64::total_cmp);
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    // The standard error of the mean of 1,000 exponential gaps is 3 % of the mean; the seed is fixed.
    assert!((0.0009..0.0013).contains(&mean), "{mean}");
    // The largest of 1,000 exponential gaps is about seven times the mean; with uniform arrivals it would be one.
    assert!(gaps[990] > 3.0 * mean, "{}", gaps[990]);
}

/// The maximum of an agent, with a thread for each worker.
#[test]
fn five_hundred_workers_of_one_agent_run_concurrently() {
    const WORKERS: usize = 512;
    let (report, record) = run(&rows(4 * WORKERS, WORKERS, "100ms"), 1, &["--workers", &WORKERS.to_string()]);
    assert_eq!((report.queries.completed, report.workers.len()), (4 * WORKERS as u64, WORKERS));
    let sessions: BTreeSet<usize> = record.executions.iter().map(|one| one.session).collect();
    assert_eq!(sessions.len(), WORKERS, "each worker has a connection");
    let concurrency = report.total_processing_time_ms / report.wall_time_ms;
    println!("{concurrency:.0} concurrent queries, {:.0} ms", report.wall_time_ms);
    assert!(concurrency > 100.0, "{concurrency}");
}

/// Response times on a connection on which row `at` takes a second and all others `service_ms`. The rows behind it are due every
/// `between_ms` and end every `service_ms`.
fn behind_a_stall(count: usize, at: usize, between_ms: f64, service_ms: f64) -> Vec<f64> {
    let time = |row: usize| match row.checked_sub(at) {
        Some(0) => 1_000.0,
        Some(j) => (1_000.0 - j as f64 * (between_ms - service_ms)).max(service_ms),
        None => service_ms,
    };
    let mut times: Vec<f64> = (0..count).map(time).collect();
    times.sort_by(f64::total_cmp);
    times
}

#[test]
fn a_stall_of_a_second_affects_many_response_times_and_one_service_time() {
    const COUNT: usize = 600;
    let mut rows = rows(COUNT, 1, "1ms");
    rows[100] = "h0,1000ms".to_owned();
    let (open, record) = run(&rows, 1, &["--rate", "300"]);
    let [service, response, lag] = latencies(&open);
    println!("service {service:?}\nresponse {response:?}\nlag {lag:?}");
    let slow = record.completed().filter(|one| one.at_least() >= Duration::from_secs(1)).count();
    assert_eq!(slow, 1);
    assert!(service.max >= 1_000.0 && service.p99.unwrap() < MARGIN_MS, "one slow query in 600 is above p99");

    // No query takes less than the fake server's millisecond, so these are lower bounds at every rank.
    let floors = behind_a_stall(COUNT, 100, 1e3 / 300.0, 1.0);
    let rank = |per_mille: usize| floors[(COUNT * per_mille).div_ceil(1_000) - 1];
    for (name, value, per_mille) in
        [("median", Some(response.median), 500), ("p90", response.p90, 900), ("p99", response.p99, 990)]
    {
        let (value, floor) = (value.unwrap(), rank(per_mille));
        assert!(floor <= value, "{name}: {value} ms, expected at least {floor} ms");
    }
    // A busy machine affects p99 least: seven rows after the stall.
    let p99 = response.p99.unwrap();
    assert!(rank(990) > 980.0 && p99 <= rank(990) + MARGIN_MS, "{p99} ms, expected {} ms", rank(990));
    assert!(lag.max >= 990.0);

    let (closed, _) = run(&rows, 1, &[]);
    let [service, response, lag] = latencies(&closed);
    assert_eq!((closed.load.model, response, lag.max), (LoadModel::Closed, service, 0.0));
    assert!(
        response.max >= 1_000.0 && response.p99.unwrap() < MARGIN_MS,
        "a closed loop sends a stalled server fewer queries"
    );
}

#[test]
fn a_warm_up_runs_and_is_not_counted() {
    for args in [["--warmup", "50"], ["--warmup", "300ms"]] {
        let (report, record) = run(&rows(200, 4, "1ms; rows 3"), 2, &args);
        let executed = record.executions.len();
        println!("{args:?}: {executed} executions");
        if args[1] == "50" {
            assert_eq!(executed, 250);
        } else {
            assert!(executed > 210, "{executed}");
        }
        assert_eq!((report.queries.total, report.queries.completed), (200, 200));
        assert_eq!((report.result.rows, report.result.bytes), (600, 8 * 600));
        assert_eq!(report.service_time_ms.as_ref().unwrap().count, 200);
        assert_eq!(report.workers.iter().map(|worker| worker.completed).sum::<u64>(), 200);
        // The warm-up ended before the first counted query: the counted queries cannot have taken longer than the last 200 executions.
        let mut ends: Vec<_> = record.completed().map(|one| (one.received, one.at_most())).collect();
        ends.sort();
        let counted: Duration = ends[executed - 200..].iter().map(|(_, at_most)| *at_most).sum();
        assert!(report.total_processing_time_ms <= counted.as_secs_f64() * 1e3 + 1e-6);
    }
}

#[test]
fn passes_repeat_every_row_and_are_reported_separately() {
    let rows: Vec<_> = (0..60).map(|row| format!("h{},{}us", row % 6, 1_000 + row)).collect();
    let (report, record) = run(&rows, 3, &["--repeat", "3"]);
    assert_eq!((report.queries.total, report.queries.completed), (180, 180));
    let passes = report.passes.unwrap();
    assert_eq!((passes.first.unwrap().count, passes.later.unwrap().count), (60, 120));
    let mut times = BTreeMap::new();
    for execution in record.completed() {
        *times.entry(execution.parameters.clone()).or_insert(0) += 1;
    }
    assert!(times.len() == 60 && times.values().all(|times| *times == 3), "{times:?}");
    // Passes are in sequence: no row of a host is repeated before all rows of that host have run.
    for host in 0..6 {
        let received: Vec<_> =
            record.of_host(&format!("h{host}")).map(|one| one.parameters[1].clone()).collect();
        assert_eq!([&received[..10], &received[10..20]], [&received[10..20], &received[20..]], "h{host}");
    }
}

#[test]
fn minimal_durations_and_maximal_rates_work() {
    for args in [
        ["--warmup", "1ns"],
        ["--think-time", "1ns"],
        ["--slot-grace", "1ns"],
        ["--slot-grace", "0s"],
        ["--rate", "10000000"],
    ] {
        let (report, record) = run(&rows(40, 4, "0us"), 2, &args);
        assert_eq!((report.queries.completed, record.executions.len()), (40, 40), "{args:?}");
    }
    let _turn = exclusive::beside_one_blocking();
    let fake = FakePostgres::start();
    let run = Run::new(&fake.url(), &rows(40, 4, "0us")).with(&["--duration", "1ns"]);
    let finished = run.local(2);
    let report: RunResult = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((report.queries.total, report.queries.unaccounted), (0, 0), "{}", finished.stderr);
    assert_eq!(fake.finish().executions.len(), 0, "no query begins after the duration");
    let run = Run::new(&FakePostgres::start().url(), &rows(4, 4, "0us")).with(&["--join-timeout", "1ns"]);
    assert_eq!(run.local(2).code, Some(15), "no agent joins within a nanosecond");
}

#[test]
fn a_run_with_a_duration_ends_in_time_and_its_totals_add_up() {
    for args in [&["--duration", "1s"][..], &["--duration", "1s", "--rate", "200"]] {
        let (report, record) = run(&rows(40, 4, "4ms"), 2, args);
        let received = received(&record);
        let span_ms = (received[received.len() - 1] - received[0]).as_secs_f64() * 1e3;
        println!("{args:?}: {} executions in {span_ms:.1} ms", received.len());
        assert!((1_000.0 - MARGIN_MS..=1_000.0 + MARGIN_MS).contains(&span_ms), "{span_ms}");
        assert!(report.wall_time_ms <= 1_000.0 + MARGIN_MS, "{}", report.wall_time_ms);
        let queries = &report.queries;
        assert_eq!((queries.failed, queries.unaccounted), (0, 0));
        assert_eq!(queries.completed as usize, record.executions.len(), "every query that ran is counted");
        assert!(queries.completed > 100, "the 40 rows ran several times");
        assert_eq!(report.load.duration_ms, Some(1_000.0));
    }
}
