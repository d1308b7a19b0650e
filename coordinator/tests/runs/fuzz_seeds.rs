//! Replays the fuzzers' seeds and findings in `fuzz/seeds` without a fuzzer. See `just fuzz`.
//!
//! Some of the journals are those of real runs; `just seeds` creates them again when the format has changed.

use std::fs;
use std::path::{Path, PathBuf};

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{Process, address, agent, complete, coordinator, run};

/// An undisturbed run, a run that lost a session, a rate search, and a run with two databases.
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
        // The message of a panic alone would not name the seed.
        let outcome = std::panic::catch_unwind(|| check(&data));
        assert!(outcome.is_ok(), "{} fails the check", path.display());
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds in {}", directory.display());
}

#[test]
fn journal_seeds_pass_the_check() {
    replay("journal", muster_coordinator::journal::fuzzing::check);
}

#[test]
fn journals_of_real_runs_are_read_completely() {
    for name in WHOLE {
        let entries =
            muster_coordinator::journal::fuzzing::whole(&fs::read(seeds("journal").join(name)).unwrap());
        assert!(
            entries.is_some_and(|entries| entries > 10),
            "{name} is not a complete journal of this version: {entries:?}; create it again with `just seeds`"
        );
    }
}

#[test]
fn message_seeds_pass_the_check() {
    replay("messages", muster_proto::fuzzing::check);
}

#[test]
fn query_seeds_pass_the_check() {
    replay("query", muster_core::query::fuzzing::check);
}

#[test]
fn database_url_seeds_pass_the_check() {
    replay("database_url", muster_postgres::handed_over_url::fuzzing::check);
}

#[test]
fn workload_seeds_pass_the_check() {
    replay("workload", muster_coordinator::workload::fuzzing::check);
}

// -- creation of seeds -------------------------------------------------------------------------------------------------

#[tokio::test]
#[ignore = "it writes into fuzz/seeds: `just seeds`"]
async fn journals_of_real_runs_are_created() {
    let Some(database) = Database::empty("seeds").await else { return };
    let generator = SeedGenerator { files: Files::new(), url: database.url().to_owned() };
    generator.run("whole-run", 12, 0.001, &["--warmup", "3"]).await;
    let search = ["--max-rate", "--slo", "p50<500us", "--step-time", "500ms", "--max-rate-from", "10"];
    generator.run("whole-search", 4, 0.001, &search).await;
    generator.run("whole-versus", 8, 0.001, &["--versus", database.url()]).await;
    generator.run_with_loss("whole-lost").await;
}

struct SeedGenerator {
    files: Files,
    url: String,
}

impl SeedGenerator {
    fn args(&self, name: &str, rows: usize, seconds: f64) -> Vec<String> {
        let runs = self.files.path().join(name).to_str().unwrap().to_owned();
        let own = ["--database-url", &self.url, "--run-dir", &runs].map(str::to_owned);
        own.into_iter().chain(self.files.sleeps(rows, seconds)).collect()
    }

    async fn run(&self, name: &str, rows: usize, seconds: f64, more: &[&str]) {
        let own = self.args(name, rows, seconds);
        let head = ["run", "--local", "--agents", "2", "--output", "json"];
        let ended = complete(coordinator(&[&head, &args(&own)[..], more].concat())).await;
        assert!(matches!(ended.code, Some(0 | 10)), "{ended:?}");
        self.store(name);
    }

    /// Kills an agent with a query in flight.
    async fn run_with_loss(&self, name: &str) {
        let (address, own) = (address(), self.args(name, 12, 0.2));
        let more = [&args(&own)[..], &["--slot-grace", "0s"]].concat();
        let mut coordinator = Process::start(run(address, 2, &more));
        let agents = [0, 1].map(|_| Process::start(agent(address, &["--once"])));
        coordinator.wait_for("agents armed").await;
        agents[1].signal("KILL");
        coordinator.end().await.expect(0);
        self.store(name);
    }

    /// Copies the journal of the only run in this directory to the seeds.
    fn store(&self, name: &str) {
        let mut runs = fs::read_dir(self.files.path().join(name)).unwrap();
        let journal = fs::read(runs.next().unwrap().unwrap().path().join("journal")).unwrap();
        // The first byte 0 marks a complete file, see `fuzzing::check`.
        fs::write(seeds("journal").join(name), [&[0], &journal[..]].concat()).unwrap();
        println!("{name}: {} bytes", journal.len());
        if name == WHOLE[0] {
            // A journal as left by a coordinator that is killed while it writes.
            fs::write(seeds("journal").join("torn"), [&[0], &journal[..journal.len() / 2]].concat()).unwrap();
        }
    }
}
