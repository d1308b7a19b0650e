//! A server that stalls for a second, under a fixed rate and in a closed loop.
//!
//! The expected response times on one connection: rows are due every T and take s, and one row, due at 0, takes S. The j-th row after it
//! begins when those before it are done, at S + (j − 1)·s, and ends at S + j·s. It was due at j·T, so its response time is S − j·(T − s)
//! as long as that is more than s. All other rows take s. Every quantile follows by counting.

use muster_report::result::{Latency, RunResult};

use muster_testing::fake_postgres::FakePostgres;
use muster_testing::scripted_run::Run;

use super::figures::{ascending, quantile};

const ROWS: usize = 2_000;
const RATE: f64 = 200.0;
const STALL_MS: f64 = 1_000.0;
/// The first row that stalls.
const AT: usize = 800;

pub(crate) fn print() {
    println!("| connections | loop | figure | arithmetic | response time | service time | lag |");
    println!("|---|---|---|---|---|---|---|");
    for connections in [1, 4] {
        let open = round(connections, &["--rate", "200"]);
        let [service, response, lag] =
            [&open.service_time_ms, &open.response_time_ms, &open.lag_ms].map(|one| one.as_ref().unwrap());
        let expected = expected(connections, service.median);
        for (name, per_mille) in [("median", 500), ("p90", 900), ("p95", 950), ("p99", 990), ("max", 1_000)] {
            let of = |latency| figure(latency, name);
            println!(
                "| {connections} | `--rate 200` | {name} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |",
                quantile(&expected, per_mille),
                of(response),
                of(service),
                of(lag),
            );
        }
        let closed = round(connections, &[]);
        let [service, response] =
            [&closed.service_time_ms, &closed.response_time_ms].map(|one| one.as_ref().unwrap());
        for name in ["p99", "max"] {
            let (response, service) = (figure(response, name), figure(service, name));
            println!("| {connections} | closed | {name} | – | {response:.1} ms | {service:.1} ms | 0 |");
        }
    }
}

fn round(connections: usize, words: &[&str]) -> RunResult {
    let fake = FakePostgres::start();
    let is_stalled = |row: usize| (AT..AT + connections).contains(&row);
    let script = |row| if is_stalled(row) { "1000ms" } else { "1ms" };
    let rows: Vec<_> = (0..ROWS).map(|row| format!("h{},{}", row % connections, script(row))).collect();
    let run = Run::new(&fake.url(), &rows).with(&["--placement", "balanced"]).with(words);
    let report: RunResult = serde_json::from_str(&run.with_processes(connections, 1).stdout).unwrap();
    let record = fake.finish();
    assert_eq!(report.queries.completed, ROWS as u64);
    let slow = |session| {
        let own = record.completed().filter(|one| one.session == session);
        own.filter(|one| one.at_least().as_millis() >= 1_000).count()
    };
    assert!((0..connections).all(|session| slow(session) == 1), "one slow query per connection");
    report
}

/// Response times in milliseconds, ascending.
fn expected(connections: usize, service_ms: f64) -> Vec<f64> {
    let between_ms = 1e3 / RATE * connections as f64;
    let all = (0..ROWS / connections).map(|row| match row.checked_sub(AT / connections) {
        Some(0) => STALL_MS,
        Some(j) => (STALL_MS - j as f64 * (between_ms - service_ms)).max(service_ms),
        None => service_ms,
    });
    let all = all.collect::<Vec<_>>();
    ascending((0..connections).flat_map(|_| all.clone()).collect())
}

fn figure(latency: &Latency, name: &str) -> f64 {
    let figure = match name {
        "median" => Some(latency.median),
        "p90" => latency.p90,
        "p95" => latency.p95,
        "p99" => latency.p99,
        _ => Some(latency.max),
    };
    figure.expect("the sample supports it")
}
