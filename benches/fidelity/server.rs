//! An embedded PostgreSQL with the demo's data, indexed.

use std::path::{Path, PathBuf};
use std::process::Command;

use muster_coordinator::embedded::{Embedded, Options};
use muster_report::result::RunResult;
use tokio::runtime::Runtime;

pub(crate) struct Server {
    runtime: Runtime,
    embedded: Option<Embedded>,
}

impl Server {
    /// Returns `None`, and prints why, if the embedded PostgreSQL cannot start.
    pub(crate) fn start() -> Option<Self> {
        let runtime = Runtime::new().unwrap();
        let embedded = match runtime.block_on(Embedded::start(&Options::default(), &|_| {})) {
            Ok(embedded) => Some(embedded),
            Err(error) => {
                println!("Skipped: {error}.");
                return None;
            }
        };
        let server = Self { runtime, embedded };
        let mut migrate = coordinator();
        migrate.args(["migrate", "--generate", "--index", "--database-url", server.url()]);
        assert!(migrate.output().unwrap().status.success(), "the demo's data cannot be loaded");
        Some(server)
    }

    pub(crate) fn url(&self) -> &str {
        self.embedded.as_ref().expect("until it is dropped").url()
    }

    /// One of PostgreSQL's programs. Prefers the one in the server's directory: on Debian the one on the path is a Perl wrapper, whose
    /// start takes longer than thousands of queries.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let beside = self.embedded.as_ref().expect("until it is dropped").programs().join(name);
        if beside.exists() { beside } else { name.into() }
    }

    /// A run with agents inside the coordinator.
    pub(crate) fn run(&self, words: &[&str]) -> RunResult {
        let mut command = coordinator();
        command.args([
            "run",
            "--local",
            "--no-run-dir",
            "--quiet",
            "--output",
            "json",
            "--database-url",
            self.url(),
        ]);
        let output = command.args(words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(embedded) = self.embedded.take() {
            self.runtime.block_on(embedded.stop()).unwrap();
        }
    }
}

pub(crate) fn coordinator() -> Command {
    command(env!("CARGO_BIN_EXE_coordinator").as_ref())
}

/// A command that runs in the workspace's root, without the database settings of the user's environment.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    let is_database_setting =
        |name: &str| name.starts_with("PG") || name.starts_with("MUSTER_") || name == "DATABASE_URL";
    for (name, _) in std::env::vars().filter(|(name, _)| is_database_setting(name)) {
        command.env_remove(name);
    }
    command
}
