//! Repeats the example that wrk2 published: 2,000 requests per second on 100 connections, and a server that is stopped for 1.4 s. wrk2
//! reports 39,500 requests, and so does this run.
//!
//! Consider a query that is due `x` after the start of the pause, as the j-th of its connection since then. It ends `1.4 s + j·s` after the
//! start of the pause, where s is the service time, so its response time is `1.4 s + j·s − x`.

use std::thread;
use std::time::Duration;

use muster_report::result::{Latency, RunResult};

use muster_testing::fake_postgres::FakePostgres;
use muster_testing::scripted_run::Run;

use super::figures::{ascending, quantile};

const ROWS: usize = 39_500;
const RATE: f64 = 2_000.0;
const CONNECTIONS: usize = 100;
const PAUSE: Duration = Duration::from_millis(1_400);
/// The pause begins when the server has received this number of queries.
const AFTER: usize = 10_000;

/// README of wrk2, "Example 2": corrected and uncorrected latency in ms.
const PUBLISHED: [(&str, usize, &str, &str); 5] = [
    ("median", 500, "8.61", "3.02"),
    ("p90", 900, "11.8", "4.87"),
    ("p99", 990, "1,270", "6.04"),
    ("p99.9", 999, "1,420", "1,410"),
    ("max", 1_000, "1,420", "1,410"),
];

pub(crate) fn print() {
    let fake = FakePostgres::start();
    let rows: Vec<_> = (0..ROWS).map(|row| format!("h{},0us", row % CONNECTIONS)).collect();
    let run = Run::new(&fake.url(), &rows).with(&["--placement", "balanced", "--rate", &RATE.to_string()]);
    let finished = thread::scope(|scope| {
        let run = scope.spawn(move || run.with_processes(1, CONNECTIONS));
        while fake.executions() < AFTER && !run.is_finished() {
            thread::sleep(Duration::from_millis(10));
        }
        fake.stall(PAUSE);
        run.join().unwrap()
    });
    let report: RunResult = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report.queries.completed, ROWS as u64);
    let [service, response] =
        [&report.service_time_ms, &report.response_time_ms].map(|one| one.as_ref().unwrap());
    let expected = expected(service.median);
    println!("Verdict: {:?} {:?}. Times in ms.\n", report.verdict.status, report.verdict.causes);
    println!(
        "| | arithmetic | response time | service time | wrk2, corrected | wrk2, uncorrected |\n|---|--:|--:|--:|--:|--:|"
    );
    for (name, per_mille, corrected, uncorrected) in PUBLISHED {
        println!(
            "| {name} | {:.1} | {:.1} | {:.2} | {corrected} | {uncorrected} |",
            quantile(&expected, per_mille),
            figure(response, name),
            figure(service, name),
        );
    }
}

/// Response times in milliseconds, ascending.
fn expected(service_ms: f64) -> Vec<f64> {
    let pause_ms = PAUSE.as_secs_f64() * 1e3;
    let all = (0..ROWS).map(|row| {
        let due_ms = row as f64 / RATE * 1e3;
        let position = (row / CONNECTIONS + 1) as f64;
        (pause_ms + position * service_ms - due_ms).max(service_ms)
    });
    ascending(all.collect())
}

fn figure(latency: &Latency, name: &str) -> f64 {
    let figure = match name {
        "median" => Some(latency.median),
        "p90" => latency.p90,
        "p99" => latency.p99,
        "p99.9" => latency.p99_9,
        _ => Some(latency.max),
    };
    figure.expect("the sample supports it")
}
