//! A run of the built programs against the stand-in server, for tests and benchmarks without a runtime: with files in the run's own
//! directory, without any other database, and without logs.

use tempfile::TempDir;
use tokio::process::Command;

use crate::fake_postgres::QUERY;
use crate::processes::{Ended, Process, address, agent, complete, coordinator};

/// The arguments of a run and the files that they name.
pub struct Run {
    directory: TempDir,
    csv: String,
    query: String,
    args: Vec<String>,
}

impl Run {
    /// `rows` are lines of `hostname,script`, unless [`Run::with_query`] sets another CSV.
    pub fn new(database_url: &str, rows: &[String]) -> Self {
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
    pub fn local(self, agents: usize) -> Ended {
        self.local_with_files(agents, &[]).0
    }

    /// Like [`Run::local`]; also returns the content of the named files.
    pub fn local_with_files(self, agents: usize, names: &[&str]) -> (Ended, Vec<String>) {
        let run = self.with(&["--local", "--agents", &agents.to_string()]);
        let ended = block_on(complete(run.command()));
        let read = |name: &&str| std::fs::read_to_string(run.directory.path().join(name)).unwrap();
        (ended, names.iter().map(read).collect())
    }

    /// Runs with agents in separate processes, with this number of workers each.
    pub fn with_processes(self, agents: usize, workers: usize) -> Ended {
        let (address, workers) = (address(), workers.to_string());
        let run = self.with(&["--agents", &agents.to_string(), "--listen", &address.to_string()]);
        block_on(async {
            let start = |_| Process::start(run.own(agent(address, &["--once", "--workers", &workers])));
            // They are killed when the run has ended.
            let _agents: Vec<Process> = (0..agents).map(start).collect();
            complete(run.command()).await
        })
    }

    fn command(&self) -> Command {
        std::fs::write(self.directory.path().join("rows.csv"), &self.csv).unwrap();
        std::fs::write(self.directory.path().join("query.sql"), &self.query).unwrap();
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.own(coordinator(&args))
    }

    /// Runs are stored in the directory, too, because it is the program's home.
    fn own(&self, mut command: Command) -> Command {
        command.env_remove("XDG_STATE_HOME").env_remove("MUSTER_LOG").env("HOME", self.directory.path());
        command.current_dir(self.directory.path());
        command
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(future)
}
