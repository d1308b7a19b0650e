//! Runs the built programs against the fake server: with a timeout, without any other database, and with files in the run's own
//! directory.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_common::result::RunResult;
use tempfile::TempDir;

use crate::binaries::{agent_binary, coordinator_binary};
use crate::fake_postgres::QUERY;

/// A run takes a few seconds, so one that needs longer hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The arguments of a run and the files that they name.
pub struct Run {
    directory: TempDir,
    csv: String,
    query: String,
    args: Vec<String>,
}

pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// `rows` are lines of `hostname,script`, unless [`Run::with_query`] sets another CSV.
    pub fn new(database_url: &str, rows: &[String]) -> Self {
        crate::deadline::begin();
        let args = ["run", "rows.csv", "--query", "query.sql", "--output", "json", "--database-url"];
        let args = args.into_iter().chain([database_url]).map(str::to_owned).collect();
        let csv = format!("hostname,script\n{}\n", rows.join("\n"));
        Self { directory: tempfile::tempdir().unwrap(), csv, query: QUERY.to_owned(), args }
    }

    /// Sets another statement and the whole CSV for it.
    pub fn with_query(mut self, query: &str, csv: &str) -> Self {
        query.clone_into(&mut self.query);
        csv.clone_into(&mut self.csv);
        self
    }

    /// Sets another report than JSON on stdout.
    pub fn with_output(mut self, spec: &str) -> Self {
        let position = self.args.iter().position(|word| word == "--output").unwrap();
        spec.clone_into(&mut self.args[position + 1]);
        self
    }

    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Runs with agents inside the coordinator's process.
    pub fn local(self, agents: usize) -> Finished {
        self.with(&["--local", "--agents", &agents.to_string()]).finish()
    }

    /// Like [`Run::local`]; also returns the content of the named files.
    pub fn local_with_files(self, agents: usize, names: &[&str]) -> (Finished, Vec<String>) {
        let run = self.with(&["--local", "--agents", &agents.to_string()]);
        let finished = run.finish();
        let read = |name: &&str| std::fs::read_to_string(run.directory.path().join(name)).unwrap();
        (finished, names.iter().map(read).collect())
    }

    /// Runs with agents in separate processes, with this number of workers each.
    pub fn with_processes(self, agents: usize, workers: usize) -> Finished {
        let coordinator = free_address();
        let start = |_| {
            let mut command = Command::new(agent_binary());
            clear_environment(&mut command, self.directory.path());
            command
                .args(["--once", "--coordinator", &coordinator, "--workers", &workers.to_string()])
                .stderr(Stdio::null());
            Process(command.spawn().unwrap())
        };
        let processes: Vec<Process> = (0..agents).map(start).collect();
        let finished = self.with(&["--agents", &agents.to_string(), "--listen", &coordinator]).finish();
        drop(processes);
        finished
    }

    fn finish(&self) -> Finished {
        std::fs::write(self.directory.path().join("rows.csv"), &self.csv).unwrap();
        std::fs::write(self.directory.path().join("query.sql"), &self.query).unwrap();
        let mut command = Command::new(coordinator_binary());
        clear_environment(&mut command, self.directory.path());
        command.args(&self.args);
        let output = assert_cmd::Command::from_std(command).timeout(TIMEOUT).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Finished {
    /// Returns the report of a run that ended with this exit code.
    #[track_caller]
    pub fn report(&self, code: i32) -> RunResult {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removes the database settings of the user who runs the tests.
fn clear_environment(command: &mut Command, directory: &Path) {
    remove_variables(command, |name| {
        name.starts_with("PG") || name.starts_with("MUSTER_") || name == "DATABASE_URL"
    });
    // Tests run concurrently, so this machine's load must not void a run.
    command.env("MUSTER_ALLOW_VOID", "1");
    command.env("HOME", directory).current_dir(directory);
}

fn remove_variables(command: &mut Command, is_unwanted: impl Fn(&str) -> bool) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(&is_unwanted) {
            command.env_remove(name);
        }
    }
}

/// The port is free now but not reserved. The agents retry until the coordinator listens on it.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
