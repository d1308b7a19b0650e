//! A PostgreSQL server that a test can stop and start, and runs on it.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muster_coordinator::embedded::{EmbeddedError, Options};
use tokio_postgres::NoTls;

use muster_testing::database::serve;
use muster_testing::files::Files;
use muster_testing::processes::{Ended, complete, coordinator};
use muster_testing::report::Report;

const CONNECTIONS: u32 = 40;

/// A server that is stopped when the test ends.
pub(crate) struct Server {
    url: String,
    programs: PathBuf,
    data: PathBuf,
    /// The owner of the data; PostgreSQL has to run as this user.
    owner: (u32, u32),
}

impl Server {
    /// Starts a server. Where PostgreSQL is not installed, prints that the test is skipped and returns `None`.
    pub(crate) async fn start() -> Option<Self> {
        let url = match serve(Options { connections: CONNECTIONS, ..Options::default() }) {
            Ok(url) => url,
            Err(error @ EmbeddedError::NotFound { .. }) => {
                println!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let data = PathBuf::from(text(&url, "SHOW data_directory").await);
        // `"/usr/lib/postgresql/15/bin/postgres" "-D" …`
        let command = std::fs::read_to_string(data.join("postmaster.opts")).unwrap();
        let program = command.split(' ').next().unwrap().trim_matches('"');
        let programs = Path::new(program).parent().unwrap().to_owned();
        let owner = std::fs::metadata(&data).unwrap();
        Some(Self { url, programs, owner: (owner.uid(), owner.gid()), data })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The directory of the server's socket, encoded for a URL.
    pub(crate) fn socket(&self) -> &str {
        self.url.split("host=").nth(1).unwrap().split('&').next().unwrap()
    }

    /// The address as shown in a report.
    pub(crate) fn address(&self) -> String {
        format!("{}/.s.PGSQL.5432", self.socket().replace("%2F", "/"))
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let client = connect(&self.url).await;
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        text(&self.url, sql).await
    }

    /// Stops the server as if it crashed.
    pub(crate) fn stop(&self) {
        assert!(self.control(&["stop", "-m", "immediate"]), "pg_ctl stops the server");
    }

    /// Starts the server with its previous settings.
    pub(crate) fn start_again(&self) {
        assert!(self.control(&["restart", "-w", "-l", "/dev/null"]), "pg_ctl starts the server");
    }

    fn control(&self, args: &[&str]) -> bool {
        let mut command = Command::new(self.programs.join("pg_ctl"));
        command.arg("-D").arg(&self.data).args(args).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if std::fs::metadata("/proc/self").unwrap().uid() != self.owner.0 {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        command.status().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control(&["stop", "-m", "immediate"]);
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}

async fn text(url: &str, sql: &str) -> String {
    let client = connect(url).await;
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// A CSV with this many numbered rows of four hosts.
pub(crate) fn rows(count: usize) -> String {
    let row = |n: usize| format!("host_{},{n}\n", n % 4);
    std::iter::once("hostname,n\n".to_owned()).chain((0..count).map(row)).collect()
}

/// The input files of a run, and the directory where runs are stored.
pub(crate) struct Job {
    files: Files,
    rows: String,
    query: String,
    runs: String,
}

impl Job {
    pub(crate) fn new(query: &str, count: usize) -> Self {
        let files = Files::new();
        let (rows, query) = (files.write("rows.csv", rows(count)), files.write("q.sql", query));
        let runs = files.path().join("runs").to_str().unwrap().to_owned();
        Self { files, rows, query, runs }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        self.files.write(name, text)
    }

    pub(crate) fn runs(&self) -> &str {
        &self.runs
    }

    pub(crate) fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let own = ["--query", &self.query, "--run-dir", &self.runs, &self.rows];
        [args, &own].concat()
    }

    /// The arguments of a run with one local worker.
    pub(crate) fn local<'a>(&'a self, url: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        let head = ["run", "--local", "--agents", "1", "--output", "json", "--database-url", url];
        self.args(&[&head, args].concat())
    }

    /// The report of a run that has ended. Expects that the journal yields the same report.
    pub(crate) async fn report(&self, ended: &Ended) -> Report {
        let report = Report::of(ended);
        let again = self.again(&report, "json").await;
        assert_eq!(again, ended.stdout, "the report from the journal differs");
        report
    }

    /// The report in another format, from the journal.
    pub(crate) async fn again(&self, report: &Report, format: &str) -> String {
        let args = ["report", report.text("/run_id"), "--run-dir", &self.runs, "--output", format];
        complete(coordinator(&args)).await.stdout
    }
}

/// The causes of the verdict, without those that a busy test machine adds.
pub(crate) fn causes(report: &Report) -> Vec<&str> {
    let of_machine = ["agent_", "coordinator_", "machine_"];
    let causes = report.list("/verdict/causes").iter().map(|cause| cause.as_str().unwrap());
    causes.filter(|cause| !of_machine.iter().any(|begin| cause.starts_with(begin))).collect()
}

/// The reasons, one on each line.
pub(crate) fn reasons(report: &Report) -> String {
    let reasons = report.list("/verdict/reasons").iter().map(|reason| reason.as_str().unwrap());
    reasons.collect::<Vec<_>>().join("\n")
}
