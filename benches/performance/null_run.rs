//! A complete run without a database: the coordinator and the agents are processes, and rows complete immediately
//! (`agent --null-database`, or the agents of `swarm`).

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muster_report::result::RunResult;
use tempfile::TempDir;

use muster_testing::binaries::agent_binary;

use crate::children::{Watched, watch};
use crate::rows;
use crate::server::{command, coordinator};
use crate::swarm;

pub(crate) const HOSTS: u32 = 1_000;

/// A directory with workloads, and the token with which agents join over TLS.
pub(crate) struct Site {
    directory: TempDir,
    join: String,
}

/// The transport between coordinator and agents, and whether the coordinator writes a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Plaintext,
    PlaintextWithJournal,
    TlsWithJournal,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Agents {
    /// Number of processes, and of workers in each.
    Processes(u16, u16),
    /// Number of agents with one worker each, in one process.
    Swarm(u16),
}

pub(crate) struct Took {
    pub(crate) report: RunResult,
    pub(crate) coordinator: Watched,
    /// Sum over all agents.
    pub(crate) agents: Watched,
    /// For a swarm: the time between the earliest and the latest first row of its agents.
    pub(crate) spread_ms: Option<f64>,
}

impl Took {
    /// CPU time of the coordinator in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.coordinator.cpu.as_secs_f64() * 1e6
    }

    pub(crate) fn cpu_us_per_row(&self) -> f64 {
        self.cpu_us() / self.rows()
    }

    pub(crate) fn agents_cpu_us_per_row(&self) -> f64 {
        self.agents.cpu.as_secs_f64() * 1e6 / self.rows()
    }

    pub(crate) fn rows_per_s(&self) -> f64 {
        self.report.throughput_qps
    }

    fn rows(&self) -> f64 {
        self.report.queries.completed as f64
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut token = coordinator();
        token.arg("token").arg("--identity").arg(directory.path().join("identity"));
        let join = String::from_utf8(token.output().unwrap().stdout).unwrap();
        std::fs::write(directory.path().join("query.sql"), "SELECT 1 WHERE :hostname::text IS NOT NULL")
            .unwrap();
        Self { directory, join: join.trim().to_owned() }
    }

    /// Path of a workload with this number of rows and hosts; written on first use.
    pub(crate) fn rows(&self, rows: u32, hosts: u32) -> PathBuf {
        let path = self.directory.path().join(format!("{rows}-{hosts}.csv"));
        if !path.exists() {
            rows::write(&path, rows, hosts).unwrap();
        }
        path
    }

    /// Runs the coordinator and the agents to the end.
    ///
    /// # Panics
    /// If a row is not completed exactly once, or if a process fails.
    pub(crate) fn run(&self, rows: &Path, agents: Agents, way: Way) -> Took {
        let path = |name: &str| self.directory.path().join(name);
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let report = path("report.json");
        let mut run = coordinator();
        run.args(["run", "--quiet", "--allow-void", "--placement", "balanced", "--listen", &address]);
        run.args([
            "--agents",
            &agents.count().to_string(),
            "--output",
            &format!("json={}", report.display()),
        ]);
        run.arg("--query").arg(path("query.sql"));
        match way {
            Way::Plaintext => run.arg("--no-run-dir"),
            Way::PlaintextWithJournal | Way::TlsWithJournal => run.arg("--run-dir").arg(path("runs")),
        };
        if way == Way::TlsWithJournal {
            run.arg("--identity").arg(path("identity"));
        }
        let coordinator = run.arg(rows).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let commands = agents.commands(&address, (way == Way::TlsWithJournal).then_some(self.join.as_str()));
        let spawn =
            |mut command: Command| command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let processes: Vec<_> = commands.into_iter().map(spawn).collect();
        let coordinator = watch(coordinator);
        let ended: Vec<Watched> = processes.into_iter().map(watch).collect();
        let spread_ns = ended[0].stdout.split_whitespace().nth(1).map(|ns| ns.parse::<f64>().unwrap());
        let report: RunResult = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        let _ = std::fs::remove_dir_all(path("runs"));
        let queries = &report.queries;
        assert_eq!(
            (queries.completed, queries.failed, queries.unaccounted),
            (queries.total, 0, 0),
            "the accounting"
        );
        Took {
            coordinator,
            agents: ended.into_iter().fold(Watched::default(), Watched::and),
            spread_ms: spread_ns.map(|ns| ns / 1e6),
            report,
        }
    }
}

impl Agents {
    fn count(self) -> u16 {
        match self {
            Self::Processes(count, _) | Self::Swarm(count) => count,
        }
    }

    fn commands(self, address: &str, join: Option<&str>) -> Vec<Command> {
        match self {
            Self::Processes(count, workers) => (0..count)
                .map(|_| {
                    let mut agent = command(agent_binary());
                    agent.args(["--null-database", "--once", "--coordinator", address]);
                    agent.args(["--workers", &workers.to_string()]);
                    if let Some(join) = join {
                        agent.env("MUSTER_JOIN", join);
                    }
                    agent
                })
                .collect(),
            Self::Swarm(count) => {
                assert!(join.is_none(), "a swarm joins without TLS");
                let mut agents = command(&std::env::current_exe().unwrap());
                agents.args([swarm::WORD, address, &count.to_string()]);
                vec![agents]
            }
        }
    }
}
