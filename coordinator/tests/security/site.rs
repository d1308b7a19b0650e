//! A coordinator that waits for agents on an encrypted port, and all that they say, which is searched for secrets.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::process::Command;

use crate::support::database::Database;
use crate::support::files::Files;
use crate::support::processes::{Ended, Process, address, agent, complete, coordinator, run};
use crate::support::report::Report;

const ROWS: usize = 40;

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Process,
    pub(crate) files: Files,
    database: Database,
    /// Every join string there was.
    secrets: Vec<String>,
    said: String,
}

impl Site {
    /// With an identity of its own. `None` without a PostgreSQL.
    pub(crate) async fn open(name: &str, agents: u16) -> Option<Self> {
        Self::open_to(name, agents, &[]).await
    }

    /// Told this, too.
    pub(crate) async fn open_to(name: &str, agents: u16, more: &[&str]) -> Option<Self> {
        let files = Files::new();
        let join = token(&files, &[]).await;
        let identity = directory(&files);
        let mut site =
            Self::start(name, address(), files, agents, &[&["--identity", &identity], more].concat()).await?;
        site.secrets.push(join);
        Some(site)
    }

    /// At port 0, on one that is free.
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
        let said = coordinator.wait_for("waiting for").await;
        let address = if address.port() == 0 { SocketAddr::new(address.ip(), port(&said)) } else { address };
        Some(Self { address, coordinator, files, database, secrets: Vec::new(), said: String::new() })
    }

    pub(crate) fn join_string(&self) -> &str {
        self.secrets.last().unwrap()
    }

    /// A new join string; the old one is void.
    pub(crate) async fn rotate(&mut self) {
        let join = token(&self.files, &["--rotate"]).await;
        assert_ne!(join, self.join_string());
        self.secrets.push(join);
    }

    /// An agent without a database, told this.
    pub(crate) fn agent(&self, words: &[&str]) -> Process {
        Process::start(self.command(words))
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = agent(self.address, words);
        command.env("MUSTER_LOG", "trace");
        command
    }

    /// One that comes in by a join string, and is let in.
    pub(crate) fn honest(&self) -> Process {
        self.agent(&["--once", "--join-file", &self.files.secret("join", self.join_string())])
    }

    pub(crate) fn hears(&mut self, ended: &Ended) {
        self.said += &ended.stderr;
        self.said += &ended.stdout;
    }

    /// The run is as if nobody else had come: all rows, by the agents that were let in.
    pub(crate) async fn end(mut self, agents: Vec<Process>) {
        for mut agent in agents {
            let ended = agent.end().await.expect(0);
            self.hears(&ended);
        }
        let ended = self.coordinator.end().await.expect(0);
        let report = Report::of(&ended);
        assert_eq!(report.books(), (ROWS as u64, 0, 0));
        self.hears(&ended);
        for secret in &self.secrets {
            let parts: Vec<&str> = secret.split('.').collect();
            assert!(!self.said.contains(parts[2]), "the secret is said");
        }
        assert!(!self.said.contains("PRIVATE KEY"));
        drop(self.database);
    }
}

/// In what a coordinator says about how to start agents.
fn port(said: &str) -> u16 {
    let (_, how) = said.split_once("agent --coordinator ").expect("it says how to start agents");
    let address = how.split_whitespace().next().unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

pub(crate) fn directory(files: &Files) -> String {
    let path: PathBuf = files.path().join("identity");
    path.to_str().unwrap().to_owned()
}

/// What `coordinator token` prints.
pub(crate) async fn token(files: &Files, words: &[&str]) -> String {
    let identity = directory(files);
    let ended = complete(coordinator(&[&["token", "--identity", &identity], words].concat())).await.expect(0);
    let join = ended.stdout.trim().to_owned();
    assert!(join.starts_with("muster1.") && join.lines().count() == 1, "{}", ended.stdout);
    assert!(!ended.stderr.contains(join.split('.').nth(2).unwrap()));
    join
}
