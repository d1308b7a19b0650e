//! The time from the command to the first query, and the size of the programs. With the fake server, the end is the receipt of the first
//! query by its clock; with PostgreSQL, it is the report's `started_at`.

use std::fmt::Write;
use std::time::Instant;

use jiff::Timestamp;
use muster_report::result::RunResult;

use muster_testing::binaries::agent_binary;
use muster_testing::fake_postgres::FakePostgres;
use muster_testing::scripted_run::Run;

use crate::figures::{ascending, median, ms, quantile};
use crate::server::{Server, coordinator};

const ROUNDS: usize = 7;
const AGENTS: [usize; 3] = [1, 10, 50];
const SAMPLE: &str = "data/query_params.csv";

pub(crate) fn section() -> String {
    let mut text = format!(
        "Time from process start to the first query, ms: median of {ROUNDS} rounds, with the minimum and the maximum in parentheses.\n\n\
         | `coordinator run --local` with | ms |\n|---|---|\n"
    );
    let mut line = |what: &str, times_ms: Vec<f64>| {
        let times_ms = ascending(times_ms);
        let [min, max] = [1, 1_000].map(|per_mille| quantile(&times_ms, per_mille));
        writeln!(text, "| {what} | {:.0} ({min:.0} to {max:.0}) |", median(&times_ms)).unwrap();
    };
    for agents in AGENTS {
        let what = format!("a fake server, {agents} agents");
        line(&what, (0..ROUNDS).map(|_| fake(agents)).collect());
    }
    if let Some(server) = Server::start() {
        let running = || started(|| server.run(&["--agents", "10", "--limit", "20", "--allow-void", SAMPLE]));
        line("a running PostgreSQL, 10 agents", (0..ROUNDS).map(|_| running()).collect());
        let embedded = || started(embedded);
        line("embedded PostgreSQL, created and loaded, 10 agents", (0..ROUNDS).map(|_| embedded()).collect());
    }
    text += "\n| program | MB |\n|---|---|\n";
    for program in [env!("CARGO_BIN_EXE_coordinator").as_ref(), agent_binary()] {
        let name = program.file_name().unwrap().display();
        let mb = program.metadata().unwrap().len() as f64 / 1e6;
        writeln!(text, "| {name} | {mb:.1} |").unwrap();
    }
    text
}

fn fake(agents: usize) -> f64 {
    let fake = FakePostgres::start();
    let rows: Vec<String> = (0..200).map(|row| format!("h{row},100us")).collect();
    let run = Run::new(&fake.url(), &rows).with(&["--no-run-dir", "--allow-void"]);
    let start = Instant::now();
    let finished = run.local(agents);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let record = fake.finish();
    let first = record.executions.iter().map(|execution| execution.received).min().unwrap();
    ms(first - start)
}

/// Milliseconds from the command to the report's `started_at`.
fn started(run: impl FnOnce() -> RunResult) -> f64 {
    let start = Timestamp::now();
    let first: Timestamp = run().started_at.unwrap().parse().unwrap();
    first.duration_since(start).as_secs_f64() * 1e3
}

fn embedded() -> RunResult {
    let mut command = coordinator();
    command.args(["run", "--local", "--agents", "10", "--database-url", "embedded"]);
    command.args(["--limit", "20", "--no-run-dir", "--allow-void", "--quiet", "--output", "json", SAMPLE]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}
