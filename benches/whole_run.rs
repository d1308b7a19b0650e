//! A whole run for benchmarks: one coordinator process, two agent processes with four workers each, an embedded PostgreSQL, and a
//! query that costs next to nothing. Needs the release binaries.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use muster_coordinator::demo::generate::{Shape, Windows, windows, write_windows};
use muster_coordinator::embedded::{Embedded, Options};
use tempfile::TempDir;

pub(crate) const AGENTS: usize = 2;
pub(crate) const WORKERS: &str = "4";
const ADDRESS: &str = "127.0.0.1:50061";

/// Whether the run is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journal {
    Kept,
    None,
}

/// What a run took.
pub(crate) struct Took {
    /// The most memory of the coordinator, as the kernel writes it.
    pub(crate) peak: String,
    /// Of the coordinator, user and system.
    pub(crate) cpu: Duration,
    pub(crate) result: serde_json::Value,
}

/// A server and a workload that runs are made with.
pub(crate) struct Bench {
    server: Embedded,
    directory: TempDir,
}

impl Bench {
    pub(crate) async fn prepare(rows: u32, hosts: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        write(&directory.path().join("rows.csv"), rows, hosts)?;
        std::fs::write(directory.path().join("query.sql"), "SELECT 1 WHERE :hostname::text IS NOT NULL")?;
        let server = Embedded::start(&Options::default(), &|_| {}).await?;
        Ok(Self { server, directory })
    }

    /// `more` is what else the coordinator is told.
    pub(crate) fn run(&self, journal: Journal, more: &[&str]) -> anyhow::Result<Took> {
        let path = |name: &str| self.directory.path().join(name);
        let (agents, report) = (AGENTS.to_string(), path("report.json"));
        let mut run = Command::new(program("coordinator")?);
        run.args(["run", "--agents", &agents, "--listen", ADDRESS, "--database-url", self.server.url()])
            .arg("--query")
            .arg(path("query.sql"))
            .arg("--output")
            .arg(format!("json={}", report.display()));
        match journal {
            Journal::Kept => run.arg("--run-dir").arg(path("runs")),
            Journal::None => run.arg("--no-run-dir"),
        };
        // Server and agents share the processors, which is no fault here: it is the coordinator that is measured.
        run.env("MUSTER_ALLOW_VOID", "1");
        run.args(more).arg(path("rows.csv")).stderr(Stdio::null());
        let mut join = Command::new(program("agent")?);
        join.args(["--once", "--workers", WORKERS, "--coordinator", ADDRESS]).stderr(Stdio::null());
        let (peak, cpu) = to_its_end(&mut run, &mut join)?;
        let result = serde_json::from_slice(&std::fs::read(report)?)?;
        Ok(Took { peak, cpu, result })
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        Ok(self.server.stop().await?)
    }
}

/// The numbers on the command line, or these. `cargo bench` adds `--bench`.
pub(crate) fn numbers<const N: usize>(defaults: [u32; N]) -> anyhow::Result<[u32; N]> {
    let mut numbers = defaults;
    let given = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    for (number, text) in numbers.iter_mut().zip(given) {
        *number = text.parse().with_context(|| format!("read '{text}' as a number"))?;
    }
    Ok(numbers)
}

fn write(path: &Path, rows: u32, hosts: u32) -> anyhow::Result<()> {
    let shape = Shape { hosts, ..Shape::default() };
    let queries = Windows { rows: rows.into(), hosts, ..Windows::default() };
    let mut out = BufWriter::new(File::create(path)?);
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

fn to_its_end(run: &mut Command, join: &mut Command) -> anyhow::Result<(String, Duration)> {
    let mut coordinator = Guarded(run.spawn()?);
    let agents = (0..AGENTS).map(|_| Ok(Guarded(join.spawn()?)));
    let mut agents = agents.collect::<std::io::Result<Vec<_>>>()?;
    let took = watch(&mut coordinator.0)?;
    for agent in &mut agents {
        agent.0.wait()?;
    }
    Ok(took)
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

/// Waits for the process to end; returns its last seen peak of memory and CPU time.
fn watch(process: &mut Child) -> anyhow::Result<(String, Duration)> {
    let [status_file, stat_file] = ["status", "stat"].map(|name| format!("/proc/{}/{name}", process.id()));
    let (mut peak, mut cpu) = (String::new(), Duration::ZERO);
    while process.try_wait()?.is_none() {
        if let Ok(status) = std::fs::read_to_string(&status_file)
            && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            line.trim().clone_into(&mut peak);
        }
        if let Some(seen) = std::fs::read_to_string(&stat_file).ok().and_then(|stat| cpu_of(&stat)) {
            cpu = cpu.max(seen);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ensure!(process.wait()?.success(), "the run failed");
    Ok((peak, cpu))
}

/// The kernel counts in ticks of 10 ms; the name before, in parentheses, may contain anything.
fn cpu_of(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
}
