//! When rows run and which of them count: fixed rates, warm-up, passes, durations, against a fake server that keeps its own clock.
//! Bounds that hold however busy the machine is, where there are such; elsewhere medians and ample room.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use muster_common::result::{Latency, LoadModel, RunResult};
use support::fake_postgres::FakePostgres;
use support::programs::{Finished, Run};
use support::record::Record;

/// What a busy machine may add; far below what a test tells apart.
const ROOM_MS: f64 = 300.0;

/// Runs these rows over local agents; a machine too busy to keep the schedule may make the run void, and says so by 11.
fn run(rows: &[String], agents: usize, words: &[&str]) -> (RunResult, Record) {
    let fake = FakePostgres::start();
    let run = Run::new(&fake.url(), rows).with(&["--placement", "balanced"]).with(words);
    let finished: Finished = run.local(agents);
    assert!(matches!(finished.code, Some(0 | 11)), "{:?}: {}", finished.code, finished.stderr);
    let report: RunResult = serde_json::from_str(&finished.stdout).unwrap();
    let queries = &report.queries;
    assert_eq!(queries.completed + queries.failed + queries.unaccounted, queries.total, "the books close");
    let of_agents: u64 = report.agents.iter().map(|agent| agent.queries).sum();
    let of_workers: u64 = report.workers.iter().map(|worker| worker.queries).sum();
    assert_eq!([of_agents, of_workers], [queries.total; 2], "what the agents ran adds up");
    (report, fake.finish())
}

fn rows(count: usize, hosts: usize, script: &str) -> Vec<String> {
    (0..count).map(|row| format!("h{},{script}", row % hosts)).collect()
}

fn latencies(report: &RunResult) -> [&Latency; 3] {
    [&report.service_time_ms, &report.response_time_ms, &report.lag_ms].map(|one| one.as_ref().unwrap())
}

/// When each query came in, ascending.
fn received(record: &Record) -> Vec<Instant> {
    let mut received: Vec<_> = record.executions.iter().map(|one| one.received).collect();
    received.sort();
    received
}

#[test]
fn under_a_fixed_rate_the_schedule_is_kept_and_response_is_service_and_lag() {
    const RATE: f64 = 500.0;
    let (report, record) = run(&rows(1_000, 2, "1ms"), 2, &["--rate", "500"]);
    assert_eq!((report.load.model, report.queries.completed), (LoadModel::Open, 1_000));
    let [service, response, lag] = latencies(&report);
    assert!((response.mean - service.mean - lag.mean).abs() < 1e-6, "{response:?} {service:?} {lag:?}");
    assert!(response.max <= service.max + lag.max + 1e-6 && response.median >= service.min);
    assert!(service.min >= 1.0);

    let received = received(&record);
    let at_ms = |row: usize| (received[row] - received[0]).as_secs_f64() * 1e3;
    // Nothing departs from the schedule but by what the report calls lag, and the way to the server.
    for row in [250, 500, 750, 999] {
        let due = row as f64 / RATE * 1e3;
        let room = lag.max + 1e3 / RATE;
        assert!(at_ms(row) >= due - room, "row {row} was early: {} ms", at_ms(row));
        assert!(at_ms(row) <= due + room + ROOM_MS, "row {row} was late: {} ms", at_ms(row));
    }
    // Quarters of a second, the last of which is not whole.
    let mut counts = [0; 7];
    for row in 0..received.len() {
        if let Some(count) = counts.get_mut((at_ms(row) / 250.0) as usize) {
            *count += 1;
        }
    }
    counts.sort_unstable();
    println!("in quarters of a second: {counts:?}; lag: {lag:?}");
    assert!((124..=126).contains(&counts[3]), "125 were due: {counts:?}");
}

#[test]
fn a_poisson_process_has_the_rate_and_not_the_evenness() {
    let (report, record) = run(&rows(1_000, 2, "0us"), 2, &["--rate", "1000", "--arrivals", "poisson"]);
    assert_eq!(report.load.arrivals.as_deref(), Some("poisson"));
    let received = received(&record);
    let mut gaps: Vec<f64> = received.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    gaps.sort_by(f64::total_cmp);
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    // The standard error of a mean of 1,000 exponential gaps is 3 % of it; the seed is fixed.
    assert!((0.0009..0.0013).contains(&mean), "{mean}");
    // The largest of 1,000 exponential gaps is some seven means; of even ones it would be one.
    assert!(gaps[990] > 3.0 * mean, "{}", gaps[990]);
}

/// As many as an agent may have, each a thread.
#[test]
fn five_hundred_workers_of_one_agent_run_side_by_side() {
    const WORKERS: usize = 512;
    let (report, record) = run(&rows(4 * WORKERS, WORKERS, "100ms"), 1, &["--workers", &WORKERS.to_string()]);
    assert_eq!((report.queries.completed, report.workers.len()), (4 * WORKERS as u64, WORKERS));
    let sessions: BTreeSet<usize> = record.executions.iter().map(|one| one.session).collect();
    assert_eq!(sessions.len(), WORKERS, "each worker has a connection");
    let side_by_side = report.total_processing_time_ms / report.wall_time_ms;
    println!("{side_by_side:.0} at a time, {:.0} ms", report.wall_time_ms);
    assert!(side_by_side > 100.0, "{side_by_side}");
}

/// Response times of a connection on which row `at` takes a second and all others `service_ms`: those that wait behind it are due
/// every `between_ms` and done every `service_ms`.
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
fn a_stall_of_a_second_is_in_the_response_times_of_all_that_waited_and_in_one_service_time() {
    const COUNT: usize = 600;
    let mut rows = rows(COUNT, 1, "1ms");
    rows[100] = "h0,1000ms".to_owned();
    let (open, record) = run(&rows, 1, &["--rate", "300"]);
    let [service, response, lag] = latencies(&open);
    println!("service {service:?}\nresponse {response:?}\nlag {lag:?}");
    let slow = record.completed().filter(|one| one.at_least() >= Duration::from_secs(1)).count();
    assert_eq!(slow, 1);
    assert!(service.max >= 1_000.0 && service.p99.unwrap() < ROOM_MS, "one slow query in 600 is above p99");

    // Nothing is served in less than the fake's millisecond, so that this is a floor at every rank.
    let floors = behind_a_stall(COUNT, 100, 1e3 / 300.0, 1.0);
    let rank = |per_mille: usize| floors[(COUNT * per_mille).div_ceil(1_000) - 1];
    for (name, value, per_mille) in
        [("median", Some(response.median), 500), ("p90", response.p90, 900), ("p99", response.p99, 990)]
    {
        let (value, floor) = (value.unwrap(), rank(per_mille));
        assert!(floor <= value, "{name}: {value} ms, by arithmetic {floor} ms");
    }
    // On p99 a busy machine has the least to say: seven rows after the stall.
    let p99 = response.p99.unwrap();
    assert!(rank(990) > 980.0 && p99 <= rank(990) + ROOM_MS, "{p99} ms, by arithmetic {} ms", rank(990));
    assert!(lag.max >= 990.0);

    let (closed, _) = run(&rows, 1, &[]);
    let [service, response, lag] = latencies(&closed);
    assert_eq!((closed.load.model, response, lag.max), (LoadModel::Closed, service, 0.0));
    assert!(
        response.max >= 1_000.0 && response.p99.unwrap() < ROOM_MS,
        "a closed loop asks a stalled server less"
    );
}

#[test]
fn a_warm_up_runs_and_is_not_counted() {
    for words in [["--warmup", "50"], ["--warmup", "300ms"]] {
        let (report, record) = run(&rows(200, 4, "1ms; rows 3"), 2, &words);
        let executed = record.executions.len();
        println!("{words:?}: {executed} executions");
        if words[1] == "50" {
            assert_eq!(executed, 250);
        } else {
            assert!(executed > 210, "{executed}");
        }
        assert_eq!((report.queries.total, report.queries.completed), (200, 200));
        assert_eq!((report.result.rows, report.result.bytes), (600, 8 * 600));
        assert_eq!(report.service_time_ms.as_ref().unwrap().count, 200);
        assert_eq!(report.workers.iter().map(|worker| worker.completed).sum::<u64>(), 200);
        // It was over before anything counted: what counts cannot have taken longer than its own queries did.
        let mut ends: Vec<_> = record.completed().map(|one| (one.received, one.at_most())).collect();
        ends.sort();
        let counted: Duration = ends[executed - 200..].iter().map(|(_, at_most)| *at_most).sum();
        assert!(report.total_processing_time_ms <= counted.as_secs_f64() * 1e3 + 1e-6);
    }
}

#[test]
fn passes_run_every_row_again_and_are_told_apart() {
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
    // Pass after pass: no row of a host comes again before all of that host's have been there.
    for host in 0..6 {
        let seen: Vec<_> = record.of_host(&format!("h{host}")).map(|one| one.parameters[1].clone()).collect();
        assert_eq!([&seen[..10], &seen[10..20]], [&seen[10..20], &seen[20..]], "h{host}");
    }
}

#[test]
fn the_least_time_acts_as_any_other_does() {
    for words in [
        ["--warmup", "1ns"],
        ["--think-time", "1ns"],
        ["--slot-grace", "1ns"],
        ["--slot-grace", "0s"],
        ["--rate", "10000000"],
    ] {
        let (report, record) = run(&rows(40, 4, "0us"), 2, &words);
        assert_eq!((report.queries.completed, record.executions.len()), (40, 40), "{words:?}");
    }
    let fake = FakePostgres::start();
    let run = Run::new(&fake.url(), &rows(40, 4, "0us")).with(&["--duration", "1ns"]);
    let finished = run.local(2);
    let report: RunResult = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((report.queries.total, report.queries.unaccounted), (0, 0), "{}", finished.stderr);
    assert_eq!(fake.finish().executions.len(), 0, "no query begins after the duration");
    let run = Run::new(&FakePostgres::start().url(), &rows(4, 4, "0us")).with(&["--join-timeout", "1ns"]);
    assert_eq!(run.local(2).code, Some(15), "nobody joins within a nanosecond");
}

#[test]
fn a_duration_ends_in_time_and_the_books_close() {
    for words in [&["--duration", "1s"][..], &["--duration", "1s", "--rate", "200"]] {
        let (report, record) = run(&rows(40, 4, "4ms"), 2, words);
        let received = received(&record);
        let span_ms = (received[received.len() - 1] - received[0]).as_secs_f64() * 1e3;
        println!("{words:?}: {} executions in {span_ms:.1} ms", received.len());
        assert!((1_000.0 - ROOM_MS..=1_000.0 + ROOM_MS).contains(&span_ms), "{span_ms}");
        assert!(report.wall_time_ms <= 1_000.0 + ROOM_MS, "{}", report.wall_time_ms);
        let queries = &report.queries;
        assert_eq!((queries.failed, queries.unaccounted), (0, 0));
        assert_eq!(queries.completed as usize, record.executions.len(), "every query that ran is counted");
        assert!(queries.completed > 100, "several times through 40 rows");
        assert_eq!(report.load.duration_ms, Some(1_000.0));
    }
}
