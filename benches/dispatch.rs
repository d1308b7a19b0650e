//! A whole run of ten million rows, and the most memory that its coordinator took: one coordinator process, two agent processes with
//! four workers each, an embedded PostgreSQL, and a query that costs next to nothing.
//! `cargo build --release && cargo bench -p muster-coordinator --bench dispatch [-- ROWS [HOSTS]]`
#![allow(clippy::print_stdout, reason = "a benchmark's report goes to stdout")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use muster_coordinator::demo::generate::{Shape, Windows, windows, write_windows};
use muster_coordinator::embedded::{Embedded, Options};

const AGENTS: usize = 2;
const WORKERS: &str = "4";
const ADDRESS: &str = "127.0.0.1:50061";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo bench` adds `--bench`.
    let mut numbers = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let mut number = |default: u32| numbers.next().map_or(Ok(default), |text| text.parse());
    let (rows, hosts) = (number(10_000_000)?, number(1_000)?);
    let (coordinator, agent) = (program("coordinator")?, program("agent")?);
    let directory = tempfile::tempdir()?;
    let [workload, query, report] =
        ["rows.csv", "query.sql", "report.json"].map(|name| directory.path().join(name));
    write(&workload, rows, hosts)?;
    std::fs::write(&query, "SELECT 1 WHERE :hostname::text IS NOT NULL")?;

    let server = Embedded::start(&Options::default(), &|_| {}).await?;
    let mut run = Command::new(coordinator);
    run.args(["run", "--agents", &AGENTS.to_string(), "--listen", ADDRESS, "--database-url", server.url()])
        .arg("--query")
        .arg(&query)
        .arg("--run-dir")
        .arg(directory.path().join("runs"))
        .arg("--output")
        .arg(format!("json={}", report.display()))
        .arg(&workload);
    let mut join = Command::new(agent);
    join.args(["--once", "--workers", WORKERS, "--coordinator", ADDRESS]).stderr(Stdio::null());
    let peak = peak_of(&mut run, &mut join);
    server.stop().await?;
    let peak = peak?;

    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(report)?)?;
    println!("{rows} rows, {hosts} hosts, {AGENTS} agents with {WORKERS} workers each");
    println!(
        "completed {}, unaccounted {}",
        result["queries"]["completed"], result["queries"]["unaccounted"]
    );
    println!(
        "{:.0} queries/s; peak of the coordinator {peak}",
        result["throughput_qps"].as_f64().unwrap_or_default()
    );
    Ok(())
}

fn write(path: &Path, rows: u32, hosts: u32) -> anyhow::Result<()> {
    let shape = Shape { hosts, ..Shape::default() };
    let queries = Windows { rows: rows.into(), hosts, ..Windows::default() };
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    write_windows(windows(&shape, &queries)?, &mut out)?;
    Ok(out.flush()?)
}

/// The release binaries stand two folders above the benchmark's own.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.ancestors().nth(2).context("find the release binaries")?.join(name);
    ensure!(path.exists(), "{} is missing: run `cargo build --release` first", path.display());
    Ok(path)
}

/// Runs the coordinator with its agents to the end; returns the most memory that it took.
fn peak_of(run: &mut Command, join: &mut Command) -> anyhow::Result<String> {
    let mut coordinator = Guarded(run.spawn()?);
    let agents = (0..AGENTS).map(|_| Ok(Guarded(join.spawn()?)));
    let mut agents = agents.collect::<std::io::Result<Vec<_>>>()?;
    let peak = watch(&mut coordinator.0)?;
    for agent in &mut agents {
        agent.0.wait()?;
    }
    Ok(peak)
}

/// A process that does not outlive this value.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Nothing happens to one that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the process to end; returns its last seen peak of memory.
fn watch(process: &mut Child) -> anyhow::Result<String> {
    let status_file = format!("/proc/{}/status", process.id());
    let mut peak = String::new();
    while process.try_wait()?.is_none() {
        if let Ok(status) = std::fs::read_to_string(&status_file)
            && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            line.trim().clone_into(&mut peak);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ensure!(process.wait()?.success(), "the run failed");
    Ok(peak)
}
