//! The built programs, and a run of them against the fake. Bounded in time, no database but the one named, files in a directory
//! of the run's own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_common::result::RunResult;
use tempfile::TempDir;

use super::agent::agent_binary;
use super::fake_postgres::QUERY;

/// A run of the tests takes a few seconds; whoever needs longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const COORDINATOR: &str = env!("CARGO_BIN_EXE_coordinator");

/// What is typed, and the files that it names.
pub(crate) struct Run {
    directory: TempDir,
    csv: String,
    query: String,
    words: Vec<String>,
}

pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// `rows` are lines of `hostname,script`, unless [`Run::with_query`] says otherwise.
    pub(crate) fn new(database_url: &str, rows: &[String]) -> Self {
        super::deadline::begin();
        let words = ["run", "rows.csv", "--query", "query.sql", "--output", "json", "--database-url"];
        let words = words.into_iter().chain([database_url]).map(str::to_owned).collect();
        let csv = format!("hostname,script\n{}\n", rows.join("\n"));
        Self { directory: tempfile::tempdir().unwrap(), csv, query: QUERY.to_owned(), words }
    }

    /// Another statement, and the whole CSV for it.
    pub(crate) fn with_query(mut self, query: &str, csv: &str) -> Self {
        query.clone_into(&mut self.query);
        csv.clone_into(&mut self.csv);
        self
    }

    /// Other reports than JSON on stdout.
    pub(crate) fn with_output(mut self, spec: &str) -> Self {
        let position = self.words.iter().position(|word| word == "--output").unwrap();
        spec.clone_into(&mut self.words[position + 1]);
        self
    }

    pub(crate) fn with(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// With agents inside the coordinator's process.
    pub(crate) fn local(self, agents: usize) -> Finished {
        self.with(&["--local", "--agents", &agents.to_string()]).finish()
    }

    /// The same, and the files that it wrote.
    pub(crate) fn local_with_files(self, agents: usize, names: &[&str]) -> (Finished, Vec<String>) {
        let run = self.with(&["--local", "--agents", &agents.to_string()]);
        let finished = run.finish();
        let read = |name: &&str| std::fs::read_to_string(run.directory.path().join(name)).unwrap();
        (finished, names.iter().map(read).collect())
    }

    /// With agents that are processes of their own, of so many workers each.
    pub(crate) fn with_processes(self, agents: usize, workers: usize) -> Finished {
        let coordinator = free_address();
        let start = |_| {
            let mut command = Command::new(agent_binary());
            bare(&mut command, self.directory.path());
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
        let mut command = Command::new(COORDINATOR);
        bare(&mut command, self.directory.path());
        command.args(&self.words);
        let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Finished {
    /// The report, of a run that ended with this code.
    #[track_caller]
    pub(crate) fn report(&self, code: i32) -> RunResult {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Ended with the test, whatever it comes to.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nothing of the person's own database settings.
fn bare(command: &mut Command, directory: &Path) {
    remove_variables(command, |name| {
        name.starts_with("PG") || name.starts_with("MUSTER_") || name == "DATABASE_URL"
    });
    // Tests run beside each other: the machine is what they are not about.
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

/// Free a moment ago. The agents try until the coordinator has it.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
