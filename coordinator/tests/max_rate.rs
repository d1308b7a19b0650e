//! `--max-rate` against a fake server whose knee is known: every query takes 20 ms on its connection, and each connection runs one at a
//! time, so that W connections that have as many rows each do W ÷ 20 ms and not more.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod support {
    pub(crate) mod agent;
    mod backend;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod fake_postgres;
    pub(crate) mod files;
    mod interrupt;
    pub(crate) mod processes;
    #[allow(dead_code, reason = "what else the fake saw is of no interest here")]
    pub(crate) mod record;
    pub(crate) mod report;
    mod script;
    mod wire;
}

use muster_common::result::{Ending, LoadModel, RunResult, Search, VerdictStatus};
use support::database::Database;
use support::fake_postgres::{FakePostgres, QUERY};
use support::files::Files;
use support::processes::{Ended, Process, address, agent, complete, coordinator, run};
use support::report::Report;
use tokio::process::Command;

const WORKERS: usize = 4;
/// In queries per second.
const KNEE: f64 = WORKERS as f64 / 0.020;

/// The files of a run against a server, and where it is kept.
struct Ground {
    url: String,
    files: Files,
    rows: String,
    query: String,
}

impl Ground {
    /// A host for every worker with as many rows as the others, all of which do this: balanced, each worker has one of them.
    fn on(fake: &FakePostgres, script: &str) -> Self {
        let files = Files::new();
        let lines: String = (0..400).map(|row| format!("h{},{script}\n", row % WORKERS)).collect();
        let rows = files.write("rows.csv", format!("hostname,script\n{lines}"));
        let query = files.write("query.sql", QUERY);
        Self { url: fake.url(), files, rows, query }
    }

    /// On a real server, which can be asked what lost sessions left.
    fn asleep(database: &Database, seconds: f64) -> Self {
        let files = Files::new();
        let [rows, _, query] = files.sleeps(200, seconds);
        Self { url: database.url().to_owned(), files, rows, query }
    }

    fn runs(&self) -> &str {
        self.files.path().to_str().unwrap()
    }

    /// What every search here is told.
    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let own = [&self.rows, "--query", &self.query, "--database-url", &self.url, "--run-dir", self.runs()];
        [&own[..], &["--max-rate", "--placement", "balanced"], more].concat()
    }

    /// On four workers inside the coordinator.
    fn search(&self, more: &[&str]) -> Command {
        coordinator(
            &[&["run", "--local", "--agents", "4", "--output", "json"], &self.words(more)[..]].concat(),
        )
    }

    /// The directory of the one run that there was.
    fn run(&self) -> String {
        let runs = std::fs::read_dir(self.files.path()).unwrap().flatten().map(|entry| entry.path());
        let run = runs.filter(|path| path.is_dir()).max().unwrap();
        run.to_str().unwrap().to_owned()
    }

    /// Wants of `coordinator report` the same bytes.
    async fn assert_reported(&self, ended: &Ended) {
        let reported = complete(coordinator(&["report", &self.run(), "--output", "json"])).await.expect(0);
        assert_eq!(reported.stdout, ended.stdout);
    }
}

/// The result, its schema and books checked.
#[track_caller]
fn result(ended: &Ended) -> (RunResult, Search) {
    Report::of(ended);
    let result: RunResult = serde_json::from_str(&ended.stdout).unwrap();
    let search = result.search.clone().unwrap();
    (result, search)
}

/// The main figures are those of the round that confirmed.
#[track_caller]
fn assert_figures_of_confirmation(report: &RunResult, search: &Search) {
    let last = search.steps.last().unwrap();
    assert!(last.is_confirmation && last.holds && search.is_confirmed);
    assert_eq!(search.highest_rate, Some(last.rate));
    assert_eq!((report.queries.completed, report.queries.failed), (last.completed, last.failed));
    assert_eq!((report.queries.unaccounted, report.queries.total), (0, last.completed + last.failed));
    assert_eq!(report.response_time_ms, last.response_time_ms);
    assert_eq!(report.service_time_ms, last.service_time_ms);
    assert_eq!(report.lag_ms, last.lag_ms);
    assert_eq!(report.load.model, LoadModel::Open);
    assert_eq!(report.load.rate, Some(last.rate.to_string()));
    assert_eq!(report.load.duration_ms, Some(last.duration_ms));
}

#[tokio::test]
async fn the_knee_of_a_server_is_found() {
    let fake = FakePostgres::start();
    let ground = Ground::on(&fake, "20ms");
    // Far above the time of a query, so that a moment in which the machine is busy decides nothing; who does not keep up is seen anyhow.
    let more = ["--slo", "median<200ms", "--step-time", "2s", "--warmup", "40"];
    // A busy machine makes the server slower, and its knee lower; never higher. So the lower bound must be met once.
    let mut ended = complete(ground.search(&more)).await.expect(0);
    for _ in 0..2 {
        if result(&ended).1.highest_rate.is_some_and(|found| found >= KNEE * 0.9) {
            break;
        }
        println!("the machine is busy: once more");
        ended = complete(ground.search(&more)).await.expect(0);
    }
    let (report, search) = result(&ended);
    assert_eq!(report.ending, Ending::Completed);
    assert_figures_of_confirmation(&report, &search);
    let found = search.highest_rate.unwrap();
    assert_eq!(report.placement.skew, 1.0);
    let curve: Vec<_> =
        search.steps.iter().map(|step| (step.rate, step.achieved_rate, &step.reason)).collect();
    assert!((found / KNEE - 1.0).abs() <= 0.1, "{found} of {KNEE}: {curve:#?}");
    ground.assert_reported(&ended).await;
    let samples = ground.files.path().join("samples.csv");
    let words = ["report", &ground.run(), "--samples", samples.to_str().unwrap()];
    complete(coordinator(&words)).await.expect(0);
    let lines = std::fs::read_to_string(samples).unwrap().lines().count() as u64;
    assert_eq!(lines, report.queries.completed + 1, "a head, and what counts");
    ended.says("step 1: ").says("confirmation ");
    let seen = fake.finish().executions.len() as u64;
    let ran: u64 = search.steps.iter().map(|step| step.completed).sum();
    assert!(seen >= ran + 40, "the warm-up and the closed loop ran before: {seen}, {ran}");
}

#[tokio::test]
async fn where_no_rate_holds_that_is_said_and_nothing_is_counted() {
    let fake = FakePostgres::start();
    let ground = Ground::on(&fake, "20ms");
    let ended = complete(ground.search(&["--slo", "max<10ms", "--step-time", "1s"])).await.expect(10);
    let (report, search) = result(&ended);
    assert_eq!((report.ending, search.highest_rate), (Ending::Completed, None));
    assert_eq!((report.queries.total, report.service_time_ms.as_ref()), (0, None));
    assert!(search.steps.len() > 2 && search.steps.iter().all(|step| !step.holds && step.completed > 0));
    assert!(search.steps.is_sorted_by(|a, b| a.rate > b.rate), "down and down");
    ground.assert_reported(&ended).await;
    let text = complete(coordinator(&["report", &ground.run()])).await.expect(0).stdout;
    assert!(text.contains("no rate holds max<10ms; "), "{text}");
}

#[tokio::test]
async fn an_interrupted_search_says_what_it_has_and_goes_on_behind_it() {
    let Some(database) = Database::empty("interrupted").await else { return };
    let ground = Ground::asleep(&database, 0.02);
    let more = ["--slo", "median<60ms", "--step-time", "1s", "--max-rate-from", "40"];
    let mut process = Process::start(ground.search(&more));
    process.wait_for("step 3: ").await;
    process.signal("INT");
    let ended = process.end().await.expect(130);
    let (report, before) = result(&ended);
    assert_eq!((report.ending, report.queries.total), (Ending::Interrupted, 0));
    assert_eq!(before.steps.len(), 2);
    assert_eq!((before.highest_rate, before.is_confirmed), (Some(80.0), false));
    ground.assert_reported(&ended).await;
    let run = ground.run();
    let words = ["run", "--resume", &run, "--database-url", &ground.url, "--output", "json"];
    let ended = complete(coordinator(&words)).await.expect(0).says("2 steps of the search are known");
    let (report, after) = result(&ended);
    assert_eq!(after.steps[..2], before.steps[..]);
    assert_figures_of_confirmation(&report, &after);
    ground.assert_reported(&ended).await;
    complete(coordinator(&words)).await.expect(2).says("is complete");
}

/// Once, a step is run again; with nobody left, the search ends with what it has.
#[tokio::test]
async fn a_step_in_which_an_agent_was_lost_is_run_again() {
    let Some(database) = Database::empty("step_again").await else { return };
    let (ground, address) = (Ground::asleep(&database, 0.005), address());
    let more = ["--slo", "median<1s", "--step-time", "2s", "--max-rate-from", "20", "--slot-grace", "0s"];
    let mut process = Process::start(run(address, 2, &ground.words(&more)));
    let words = ["--database-url", &ground.url];
    let agents = [(); 2].map(|()| Process::start(agent(address, &words)));
    process.wait_for("step 2: ").await;
    agents[0].signal("KILL");
    process.wait_for("step 2: 40 queries/s: an agent was lost meanwhile, so it says nothing").await;
    process.wait_for("step 3: ").await;
    agents[1].signal("KILL");
    let ended = process.end().await.expect(13);
    let (report, search) = result(&ended);
    assert_eq!((report.ending, report.verdict.status), (Ending::AgentsLost, VerdictStatus::Degraded));
    let rates: Vec<f64> = search.steps.iter().map(|step| step.rate).collect();
    assert_eq!((rates, search.highest_rate), (vec![20.0, 40.0], Some(40.0)));
    let second = &search.steps[1];
    assert!(second.completed >= 76, "hosts that moved are run by whoever has them: {second:#?}");
    ground.assert_reported(&ended).await;
}

#[tokio::test]
async fn what_cannot_be_searched_for_is_refused_before_anything_starts() {
    for (words, said) in [
        (&["--max-rate"][..], "--slo <OBJECTIVE>"),
        (&["--slo", "p99<50ms"], "--max-rate"),
        (&["--max-rate", "--slo", "p99<50"], "'50' is no time above zero"),
        (&["--max-rate", "--slo", "p99<50ms", "--rate", "5"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--duration", "5s"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--repeat", "2"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--think-time", "1s"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--step-time", "10ms"], "too short to learn from"),
        (&["--max-rate", "--slo", "p99<50ms", "--max-rate-from", "0"], "'0' is no rate"),
        (&["--step-time", "5s"], "--max-rate"),
    ] {
        complete(coordinator(&[&["run", "--local"], words].concat())).await.expect(2).says(said);
    }
}
