//! A PostgreSQL with pg_stat_statements loaded, shared by the whole test program, and runs on it.

use std::fmt::Write;
use std::sync::LazyLock;

use muster_coordinator::embedded::{EmbeddedError, Options};

use muster_testing::database::{Database, serve};
use muster_testing::files::Files;
use muster_testing::processes::{Ended, complete, coordinator};
use muster_testing::report::Report;

const CONNECTIONS: u32 = 200;

/// The server's URL, or the reason why there is no server.
static SERVER: LazyLock<Result<String, String>> = LazyLock::new(|| {
    let settings = vec!["shared_preload_libraries=pg_stat_statements".to_owned()];
    match serve(Options { connections: CONNECTIONS, settings, ..Options::default() }) {
        Ok(url) => Ok(url),
        Err(EmbeddedError::Ended { log, .. }) if log.contains("pg_stat_statements") => {
            Err(format!("pg_stat_statements is not available: {log}"))
        }
        Err(error @ EmbeddedError::NotFound { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
});

/// Creates an empty database without the extension. Where no such server is available, prints the reason and returns `None`.
pub(crate) async fn without_extension(name: &str) -> Option<Database> {
    match &*SERVER {
        Ok(server) => Some(Database::on(server, name).await),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

/// Creates a database with the extension.
pub(crate) async fn with_extension(name: &str) -> Option<Database> {
    let database = without_extension(name).await?;
    database.execute("CREATE EXTENSION pg_stat_statements").await;
    Some(database)
}

/// A CSV with `count` rows of ten hosts, each with its number `n` and the seconds that it may sleep.
pub(crate) fn rows(count: usize, seconds: impl Fn(usize) -> f64) -> String {
    let mut csv = "hostname,n,seconds\n".to_owned();
    for n in 0..count {
        writeln!(csv, "host_{},{n},{}", n % 10, seconds(n)).unwrap();
    }
    csv
}

/// Runs with local agents and expects success; returns the report, which the journal has to yield, too.
pub(crate) async fn run(database: &Database, files: &Files, args: &[&str]) -> Report {
    let ended = run_on(database.url(), files, args).await.expect(0);
    Report::of(&ended)
}

pub(crate) async fn run_on(url: &str, files: &Files, args: &[&str]) -> Ended {
    let runs = files.path().join("runs").to_str().unwrap().to_owned();
    let own =
        ["run", "--local", "--agents", "2", "--output", "json", "--database-url", url, "--run-dir", &runs];
    let ended = complete(coordinator(&[&own, args].concat())).await;
    if ended.code == Some(0) {
        let report = Report::of(&ended);
        let again = coordinator(&["report", report.text("/run_id"), "--run-dir", &runs, "--output", "json"]);
        assert_eq!(
            complete(again).await.expect(0).stdout,
            ended.stdout,
            "the report from the journal differs"
        );
    }
    ended
}

/// The notes of the report about server statistics.
pub(crate) fn notes(report: &Report) -> Vec<&str> {
    report.list("/server/notes").iter().map(|note| note.as_str().unwrap()).collect()
}
