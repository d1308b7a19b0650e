//! One run through everything but a database: the coordinator and agents as processes, rows that are executed at once
//! (`agent --null-database`, or the agents of `swarm`).

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muster_common::result::RunResult;
use tempfile::TempDir;

use crate::children::{Watched, watch};
use crate::rows;
use crate::server::{command, coordinator};
use crate::support::agent::agent_binary;
use crate::swarm;

pub(crate) const HOSTS: u32 = 1_000;

/// A directory with workloads and what agents need to join in TLS.
pub(crate) struct Site {
    directory: TempDir,
    join: String,
}

/// Between coordinator and agents, and what is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Clear,
    ClearWithJournal,
    TlsWithJournal,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Agents {
    /// So many, with so many workers each.
    Processes(u16, u16),
    /// So many with one worker each, in one process.
    Swarm(u16),
}

pub(crate) struct Took {
    pub(crate) report: RunResult,
    pub(crate) coordinator: Watched,
    /// Of all agents.
    pub(crate) agents: Watched,
    /// Of a swarm: how far apart the first rows of its agents began.
    pub(crate) spread_ms: Option<f64>,
}

impl Took {
    /// Of the coordinator.
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

    /// A workload of so many rows; written once.
    pub(crate) fn rows(&self, rows: u32, hosts: u32) -> PathBuf {
        let path = self.directory.path().join(format!("{rows}-{hosts}.csv"));
        if !path.exists() {
            rows::write(&path, rows, hosts).unwrap();
        }
        path
    }

    /// # Panics
    /// When not every row is completed, once, or a process fails.
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
            Way::Clear => run.arg("--no-run-dir"),
            Way::ClearWithJournal | Way::TlsWithJournal => run.arg("--run-dir").arg(path("runs")),
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
            "the books"
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
                assert!(join.is_none(), "a swarm joins in clear");
                let mut agents = command(&std::env::current_exe().unwrap());
                agents.args([swarm::WORD, address, &count.to_string()]);
                vec![agents]
            }
        }
    }
}
