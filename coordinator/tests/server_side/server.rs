//! A PostgreSQL with pg_stat_statements loaded, for the whole test program, and runs on it.

use std::fmt::Write;
use std::sync::LazyLock;

use muster_coordinator::embedded::{EmbeddedError, Options};

use crate::support::database::{Database, serve};
use crate::support::files::Files;
use crate::support::processes::{Ended, complete, coordinator};
use crate::support::report::Report;

const CONNECTIONS: u32 = 200;

/// The server's URL, or why there is none.
static SERVER: LazyLock<Result<String, String>> = LazyLock::new(|| {
    let settings = vec!["shared_preload_libraries=pg_stat_statements".to_owned()];
    match serve(Options { connections: CONNECTIONS, settings, ..Options::default() }) {
        Ok(url) => Ok(url),
        Err(EmbeddedError::Ended { log, .. }) if log.contains("pg_stat_statements") => {
            Err(format!("no pg_stat_statements here: {log}"))
        }
        Err(error @ EmbeddedError::NotFound { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
});

/// An empty database, without the extension. `None` where there is no server that has it; that is said.
pub(crate) async fn bare(name: &str) -> Option<Database> {
    match &*SERVER {
        Ok(server) => Some(Database::on(server, name).await),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

/// One with the extension.
pub(crate) async fn counting(name: &str) -> Option<Database> {
    let database = bare(name).await?;
    database.execute("CREATE EXTENSION pg_stat_statements").await;
    Some(database)
}

/// So many rows of ten hosts, each with its number `n` and the seconds that it may sleep.
pub(crate) fn rows(count: usize, seconds: impl Fn(usize) -> f64) -> String {
    let mut csv = "hostname,n,seconds\n".to_owned();
    for n in 0..count {
        writeln!(csv, "host_{},{n},{}", n % 10, seconds(n)).unwrap();
    }
    csv
}

/// A run with agents of its own that must come to a good end; its report, which the journal gives again.
pub(crate) async fn run(database: &Database, files: &Files, words: &[&str]) -> Report {
    let ended = run_on(database.url(), files, words).await.expect(0);
    Report::of(&ended)
}

pub(crate) async fn run_on(url: &str, files: &Files, words: &[&str]) -> Ended {
    let runs = files.path().join("runs").to_str().unwrap().to_owned();
    let own =
        ["run", "--local", "--agents", "2", "--output", "json", "--database-url", url, "--run-dir", &runs];
    let ended = complete(coordinator(&[&own, words].concat())).await;
    if ended.code == Some(0) {
        let report = Report::of(&ended);
        let again = coordinator(&["report", report.text("/run_id"), "--run-dir", &runs, "--output", "json"]);
        assert_eq!(complete(again).await.expect(0).stdout, ended.stdout, "the journal gives the same report");
    }
    ended
}

/// What the report says beside figures.
pub(crate) fn notes(report: &Report) -> Vec<&str> {
    report.list("/server/notes").iter().map(|note| note.as_str().unwrap()).collect()
}
