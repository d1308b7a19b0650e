//! What the fuzzers begin with and what they found, replayed without them: `fuzz/seeds`. See `just fuzz`.
//!
//! Some of the journals among them are those of real runs, which `just seeds` makes anew when their format has changed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod processes;
}

use std::fs;
use std::path::{Path, PathBuf};

use support::database::Database;
use support::files::{Files, words};
use support::processes::{Process, address, agent, complete, coordinator, run};

/// Of a run that nothing happened to, one that lost a session, a search, and one with two databases.
const WHOLE: [&str; 4] = ["whole-run", "whole-lost", "whole-search", "whole-versus"];

fn seeds(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}

fn replay(target: &str, check: fn(&[u8])) {
    let directory = seeds(target);
    let mut replayed = 0;
    for seed in fs::read_dir(&directory).unwrap() {
        let path = seed.unwrap().path();
        let data = fs::read(&path).unwrap();
        // A panic alone would not say which one it was.
        let outcome = std::panic::catch_unwind(|| check(&data));
        assert!(outcome.is_ok(), "{} breaks what must hold", path.display());
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds in {}", directory.display());
}

#[test]
fn any_file_as_a_journal() {
    replay("journal", muster_coordinator::journal::fuzzing::check);
}

#[test]
fn journals_of_real_runs_are_read_to_their_ends() {
    for name in WHOLE {
        let entries =
            muster_coordinator::journal::fuzzing::whole(&fs::read(seeds("journal").join(name)).unwrap());
        assert!(
            entries.is_some_and(|entries| entries > 10),
            "{name} is no whole journal of this version: {entries:?}; `just seeds` makes it anew"
        );
    }
}

#[test]
fn any_bytes_as_a_message() {
    replay("messages", muster_proto::fuzzing::check);
}

#[test]
fn any_text_as_a_statement() {
    replay("query", muster_common::query::fuzzing::check);
}

#[test]
fn any_text_as_a_database_url_that_was_handed_over() {
    replay("database_url", muster_agent::postgres::handed_over::fuzzing::check);
}

#[test]
fn any_file_as_a_workload() {
    replay("workload", muster_coordinator::workload::fuzzing::check);
}

// -- made anew ---------------------------------------------------------------------------------------------------------

#[tokio::test]
#[ignore = "it writes into fuzz/seeds: `just seeds`"]
async fn journals_of_real_runs_are_made_anew() {
    let Some(database) = Database::empty("seeds").await else { return };
    let ground = Ground { files: Files::new(), url: database.url().to_owned() };
    ground.keep("whole-run", 12, 0.001, &["--warmup", "3"]).await;
    let search = ["--max-rate", "--slo", "p50<500us", "--step-time", "500ms", "--max-rate-from", "10"];
    ground.keep("whole-search", 4, 0.001, &search).await;
    ground.keep("whole-versus", 8, 0.001, &["--versus", database.url()]).await;
    ground.keep_lost("whole-lost").await;
}

struct Ground {
    files: Files,
    url: String,
}

impl Ground {
    fn words(&self, name: &str, rows: usize, seconds: f64) -> Vec<String> {
        let runs = self.files.path().join(name).to_str().unwrap().to_owned();
        let given = ["--database-url", &self.url, "--run-dir", &runs].map(str::to_owned);
        given.into_iter().chain(self.files.sleeps(rows, seconds)).collect()
    }

    async fn keep(&self, name: &str, rows: usize, seconds: f64, more: &[&str]) {
        let given = self.words(name, rows, seconds);
        let head = ["run", "--local", "--agents", "2", "--output", "json"];
        let ended = complete(coordinator(&[&head, &words(&given)[..], more].concat())).await;
        assert!(matches!(ended.code, Some(0 | 10)), "{ended:?}");
        self.take(name);
    }

    /// Killed with a query in flight.
    async fn keep_lost(&self, name: &str) {
        let (address, given) = (address(), self.words(name, 12, 0.2));
        let more = [&words(&given)[..], &["--slot-grace", "0s"]].concat();
        let mut coordinator = Process::start(run(address, 2, &more));
        let agents = [0, 1].map(|_| Process::start(agent(address, &["--once"])));
        coordinator.wait_for("agents armed").await;
        agents[1].signal("KILL");
        coordinator.end().await.expect(0);
        self.take(name);
    }

    /// The one run that was kept below this name.
    fn take(&self, name: &str) {
        let mut runs = fs::read_dir(self.files.path().join(name)).unwrap();
        let journal = fs::read(runs.next().unwrap().unwrap().path().join("journal")).unwrap();
        // See `fuzzing::check`: a file as it is.
        fs::write(seeds("journal").join(name), [&[0], &journal[..]].concat()).unwrap();
        println!("{name}: {} bytes", journal.len());
        if name == WHOLE[0] {
            // As a coordinator leaves it that is killed while it writes.
            fs::write(seeds("journal").join("torn"), [&[0], &journal[..journal.len() / 2]].concat()).unwrap();
        }
    }
}
