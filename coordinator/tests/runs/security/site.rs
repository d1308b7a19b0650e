//! A coordinator that waits for agents on an encrypted port, and the output of all processes, which is searched for secrets.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::process::Command;

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{Ended, Process, address, agent, complete, coordinator, run};
use muster_testing::report::Report;

const ROWS: usize = 40;

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Process,
    pub(crate) files: Files,
    database: Database,
    /// Every join string that was valid at some time.
    secrets: Vec<String>,
    output: String,
}

impl Site {
    /// Starts a coordinator with its own identity. `None` without a PostgreSQL.
    pub(crate) async fn open(name: &str, agents: u16) -> Option<Self> {
        Self::open_to(name, agents, &[]).await
    }

    /// Like [`Site::open`], with these additional arguments.
    pub(crate) async fn open_to(name: &str, agents: u16, more: &[&str]) -> Option<Self> {
        let files = Files::new();
        let join = token(&files, &[]).await;
        let identity = directory(&files);
        let mut site =
            Self::start(name, address(), files, agents, &[&["--identity", &identity], more].concat()).await?;
        site.secrets.push(join);
        Some(site)
    }

    /// Starts a coordinator on this address. With port 0 it uses a free port.
    pub(crate) async fn start(
        name: &str,
        address: SocketAddr,
        files: Files,
        agents: u16,
        more: &[&str],
    ) -> Option<Self> {
        let database = Database::empty(name).await?;
        let rows: String = (0..ROWS).map(|row| format!("h{},{row}\n", row % 8)).collect();
        let rows = files.write("rows.csv", format!("hostname,n\n{rows}"));
        let query = files.write("q.sql", "SELECT :hostname::text, :n::int");
        let own = [&*rows, "--query", &query, "--database-url", database.url()];
        let mut command = run(address, agents, &[&own, more].concat());
        command.env("MUSTER_LOG", "trace");
        let mut coordinator = Process::start(command);
        let stderr = coordinator.wait_for("waiting for").await;
        let address =
            if address.port() == 0 { SocketAddr::new(address.ip(), port(&stderr)) } else { address };
        Some(Self { address, coordinator, files, database, secrets: Vec::new(), output: String::new() })
    }

    pub(crate) fn join_string(&self) -> &str {
        self.secrets.last().unwrap()
    }

    /// Creates a new join string; the old one becomes invalid.
    pub(crate) async fn rotate(&mut self) {
        let join = token(&self.files, &["--rotate"]).await;
        assert_ne!(join, self.join_string());
        self.secrets.push(join);
    }

    /// Starts an agent without a database with these arguments.
    pub(crate) fn agent(&self, args: &[&str]) -> Process {
        Process::start(self.command(args))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = agent(self.address, args);
        command.env("MUSTER_LOG", "trace");
        command
    }

    /// Starts an agent with the valid join string.
    pub(crate) fn honest(&self) -> Process {
        self.agent(&["--once", "--join-file", &self.files.secret("join", self.join_string())])
    }

    pub(crate) fn record_output(&mut self, ended: &Ended) {
        self.output += &ended.stderr;
        self.output += &ended.stdout;
    }

    /// Expects that the run completes all rows with these agents, unaffected by any other client.
    pub(crate) async fn end(mut self, agents: Vec<Process>) {
        for mut agent in agents {
            let ended = agent.end().await.expect(0);
            self.record_output(&ended);
        }
        let ended = self.coordinator.end().await.expect(0);
        let report = Report::of(&ended);
        assert_eq!(report.accounting(), (ROWS as u64, 0, 0));
        self.record_output(&ended);
        for secret in &self.secrets {
            let parts: Vec<&str> = secret.split('.').collect();
            assert!(!self.output.contains(parts[2]), "the secret is in the output");
        }
        assert!(!self.output.contains("PRIVATE KEY"));
        drop(self.database);
    }
}

/// Returns the port in the coordinator's hint how to start agents.
fn port(stderr: &str) -> u16 {
    let (_, rest) = stderr.split_once("agent --coordinator ").expect("the hint is printed");
    let address = rest.split_whitespace().next().unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

pub(crate) fn directory(files: &Files) -> String {
    let path: PathBuf = files.path().join("identity");
    path.to_str().unwrap().to_owned()
}

/// Runs `coordinator token` and returns the join string that it prints.
pub(crate) async fn token(files: &Files, args: &[&str]) -> String {
    let identity = directory(files);
    let ended = complete(coordinator(&[&["token", "--identity", &identity], args].concat())).await.expect(0);
    let join = ended.stdout.trim().to_owned();
    assert!(join.starts_with("muster1.") && join.lines().count() == 1, "{}", ended.stdout);
    assert!(!ended.stderr.contains(join.split('.').nth(2).unwrap()));
    join
}
