//! How precisely due times are kept, against a server that answers at once.

use muster_common::result::RunResult;

use super::figures::{middle, worst};
use super::support::fake_postgres::FakePostgres;
use super::support::programs::Run;

const ROUNDS: usize = 3;
const AGENTS: usize = 4;
const SECONDS: usize = 5;

pub(crate) fn print() {
    println!(
        "| queries/s asked | achieved | lag median | lag p99 | p99 of the rounds | lag max | service median |"
    );
    println!("|---|---|---|---|---|---|---|");
    for rate in [100, 1_000, 5_000] {
        let reports: Vec<RunResult> = (0..ROUNDS).map(|_| round(rate)).collect();
        let each = |figure: fn(&RunResult) -> f64| reports.iter().map(figure).collect::<Vec<f64>>();
        let us = |values: &[f64]| format!("{:.0} µs", middle(values) * 1e3);
        let p99 = each(|report| report.lag_ms.as_ref().unwrap().p99.expect("500 rows are enough"));
        let of_rounds: Vec<_> = p99.iter().map(|p99| format!("{:.0}", p99 * 1e3)).collect();
        println!(
            "| {rate} | {:.1} | {} | {} | {} µs | {:.1} ms | {} |",
            middle(&each(|report| report.throughput_qps)),
            us(&each(|report| report.lag_ms.as_ref().unwrap().median)),
            us(&p99),
            of_rounds.join(", "),
            worst(&each(|report| report.lag_ms.as_ref().unwrap().max)),
            us(&each(|report| report.service_time_ms.as_ref().unwrap().median)),
        );
    }
}

fn round(rate: usize) -> RunResult {
    let fake = FakePostgres::start();
    let rows: Vec<_> = (0..rate * SECONDS).map(|row| format!("h{},0us", row % AGENTS)).collect();
    let run = Run::new(&fake.url(), &rows).with(&["--placement", "balanced", "--rate", &rate.to_string()]);
    let report: RunResult = serde_json::from_str(&run.with_processes(AGENTS, 1).stdout).unwrap();
    assert_eq!(report.queries.completed, rows.len() as u64);
    report
}
