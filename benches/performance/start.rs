//! How long it takes from the command to the first query, and how large the programs are. Against the fake server, whose clock tells when
//! the first query came; against PostgreSQL, `started_at` of the report tells when it was allowed to go.

use std::fmt::Write;
use std::time::Instant;

use jiff::Timestamp;
use muster_common::result::RunResult;

use crate::figures::{ascending, middle, ms, quantile};
use crate::server::{Server, coordinator};
use crate::support::agent::agent_binary;
use crate::support::fake_postgres::FakePostgres;
use crate::support::programs::Run;

const ROUNDS: usize = 7;
const AGENTS: [usize; 3] = [1, 10, 50];
const SAMPLE: &str = "data/query_params.csv";

pub(crate) fn section() -> String {
    let mut text = format!(
        "From the start of the process to the first query, ms: the middle of {ROUNDS} rounds, and the least and the greatest.\n\n\
         | `coordinator run --local` with | ms |\n|---|---|\n"
    );
    let mut line = |what: &str, times_ms: Vec<f64>| {
        let times_ms = ascending(times_ms);
        let [least, greatest] = [1, 1_000].map(|per_mille| quantile(&times_ms, per_mille));
        writeln!(text, "| {what} | {:.0} ({least:.0} to {greatest:.0}) |", middle(&times_ms)).unwrap();
    };
    for agents in AGENTS {
        let what = format!("a fake server, {agents} agents");
        line(&what, (0..ROUNDS).map(|_| fake(agents)).collect());
    }
    if let Some(server) = Server::start() {
        let there = || started(|| server.run(&["--agents", "10", "--limit", "20", "--allow-void", SAMPLE]));
        line("PostgreSQL that is there, 10 agents", (0..ROUNDS).map(|_| there()).collect());
        let embedded = || started(embedded);
        line("the embedded one, migrated and filled, 10 agents", (0..ROUNDS).map(|_| embedded()).collect());
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

/// Milliseconds until the first query of a run was allowed to go.
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
