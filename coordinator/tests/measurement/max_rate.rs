//! `--max-rate` against a fake server with a known capacity: every query takes 20 ms on its connection, and each connection runs one at a
//! time, so that W connections with equal numbers of rows run at most W ÷ 20 ms.
#![cfg(target_os = "linux")]

use muster_report::result::{Ending, LoadModel, RunResult, Search, VerdictStatus};
use muster_testing::database::Database;
use muster_testing::exclusive;
use muster_testing::fake_postgres::{FakePostgres, QUERY};
use muster_testing::files::Files;
use muster_testing::processes::{Ended, Process, address, agent, complete, coordinator, run};
use muster_testing::report::Report;
use tokio::process::Command;

const WORKERS: usize = 4;
/// The capacity in queries per second.
const CAPACITY: f64 = WORKERS as f64 / 0.020;

/// The files of a run against a server, and the directory where it is stored.
struct Setup {
    url: String,
    files: Files,
    rows: String,
    query: String,
}

impl Setup {
    /// One host per worker, with the same number of rows that run this script; balanced placement gives each worker one of the hosts.
    fn with_fake(fake: &FakePostgres, script: &str) -> Self {
        let files = Files::new();
        let lines: String = (0..400).map(|row| format!("h{},{script}\n", row % WORKERS)).collect();
        let rows = files.write("rows.csv", format!("hostname,script\n{lines}"));
        let query = files.write("query.sql", QUERY);
        Self { url: fake.url(), files, rows, query }
    }

    /// Rows that sleep on a real server, on which the queries of lost sessions can be found.
    fn with_database(database: &Database, seconds: f64) -> Self {
        let files = Files::new();
        let [rows, _, query] = files.sleeps(200, seconds);
        Self { url: database.url().to_owned(), files, rows, query }
    }

    fn runs(&self) -> &str {
        self.files.path().to_str().unwrap()
    }

    /// The arguments of every search in this file.
    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let own = [&self.rows, "--query", &self.query, "--database-url", &self.url, "--run-dir", self.runs()];
        [&own[..], &["--max-rate", "--placement", "balanced"], more].concat()
    }

    /// A search with four workers inside the coordinator.
    fn search(&self, more: &[&str]) -> Command {
        coordinator(
            &[&["run", "--local", "--agents", "4", "--output", "json"], &self.args(more)[..]].concat(),
        )
    }

    /// The directory of the latest run.
    fn run(&self) -> String {
        let runs = std::fs::read_dir(self.files.path()).unwrap().flatten().map(|entry| entry.path());
        let run = runs.filter(|path| path.is_dir()).max().unwrap();
        run.to_str().unwrap().to_owned()
    }

    /// Expects that `coordinator report` prints the same bytes.
    async fn assert_reported(&self, ended: &Ended) {
        let reported = complete(coordinator(&["report", &self.run(), "--output", "json"])).await.expect(0);
        assert_eq!(reported.stdout, ended.stdout);
    }
}

/// Returns the result after checking its schema and totals.
#[track_caller]
fn result(ended: &Ended) -> (RunResult, Search) {
    Report::of(ended);
    let result: RunResult = serde_json::from_str(&ended.stdout).unwrap();
    let search = result.search.clone().unwrap();
    (result, search)
}

/// Expects that the main figures are those of the confirmation round.
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
async fn the_capacity_of_a_server_is_found() {
    let _turn = exclusive::beside_one().await;
    let fake = FakePostgres::start();
    let setup = Setup::with_fake(&fake, "20ms");
    // Far above the service time, so that a short disturbance on the machine decides nothing; a rate that is not reached is still noticed.
    let more = ["--slo", "median<200ms", "--step-time", "2s", "--warmup", "40"];
    // A busy machine lowers the server's capacity but never raises it, so one of three searches has to reach the lower bound.
    let mut ended = complete(setup.search(&more)).await.expect(0);
    for _ in 0..2 {
        if result(&ended).1.highest_rate.is_some_and(|found| found >= CAPACITY * 0.9) {
            break;
        }
        println!("the machine is busy: searching again");
        ended = complete(setup.search(&more)).await.expect(0);
    }
    let (report, search) = result(&ended);
    assert_eq!(report.ending, Ending::Completed);
    assert_figures_of_confirmation(&report, &search);
    let found = search.highest_rate.unwrap();
    assert_eq!(report.placement.skew, 1.0);
    let curve: Vec<_> =
        search.steps.iter().map(|step| (step.rate, step.achieved_rate, &step.reason)).collect();
    assert!((found / CAPACITY - 1.0).abs() <= 0.1, "{found} of {CAPACITY}: {curve:#?}");
    setup.assert_reported(&ended).await;
    let samples = setup.files.path().join("samples.csv");
    let args = ["report", &setup.run(), "--samples", samples.to_str().unwrap()];
    complete(coordinator(&args)).await.expect(0);
    let lines = std::fs::read_to_string(samples).unwrap().lines().count() as u64;
    assert_eq!(lines, report.queries.completed + 1, "a header and a line per counted query");
    ended.expect_stderr("step 1: ").expect_stderr("confirmation ");
    let executed = fake.finish().executions.len() as u64;
    let ran: u64 = search.steps.iter().map(|step| step.completed).sum();
    assert!(executed >= ran + 40, "the warm-up and the closed loop ran before: {executed}, {ran}");
}

#[tokio::test]
async fn a_search_without_a_passing_rate_reports_it_and_counts_nothing() {
    let _turn = exclusive::beside_one().await;
    let fake = FakePostgres::start();
    let setup = Setup::with_fake(&fake, "20ms");
    let ended = complete(setup.search(&["--slo", "max<10ms", "--step-time", "1s"])).await.expect(10);
    let (report, search) = result(&ended);
    assert_eq!((report.ending, search.highest_rate), (Ending::Completed, None));
    assert_eq!((report.queries.total, report.service_time_ms.as_ref()), (0, None));
    assert!(search.steps.len() > 2 && search.steps.iter().all(|step| !step.holds && step.completed > 0));
    assert!(search.steps.is_sorted_by(|a, b| a.rate > b.rate), "rates decrease");
    setup.assert_reported(&ended).await;
    let text = complete(coordinator(&["report", &setup.run()])).await.expect(0).stdout;
    assert!(text.contains("no rate meets max<10ms; "), "{text}");
}

#[tokio::test]
async fn an_interrupted_search_reports_its_steps_and_can_be_resumed() {
    let _turn = exclusive::beside_one().await;
    let Some(database) = Database::empty("interrupted").await else { return };
    let setup = Setup::with_database(&database, 0.02);
    let more = ["--slo", "median<60ms", "--step-time", "1s", "--max-rate-from", "40"];
    let mut process = Process::start(setup.search(&more));
    process.wait_for("step 3: ").await;
    process.signal("INT");
    let ended = process.end().await.expect(130);
    let (report, before) = result(&ended);
    assert_eq!((report.ending, report.queries.total), (Ending::Interrupted, 0));
    assert_eq!(before.steps.len(), 2);
    assert_eq!((before.highest_rate, before.is_confirmed), (Some(80.0), false));
    setup.assert_reported(&ended).await;
    let run = setup.run();
    let args = ["run", "--resume", &run, "--database-url", &setup.url, "--output", "json"];
    let ended = complete(coordinator(&args))
        .await
        .expect(0)
        .expect_stderr("resuming the search: 2 steps are complete");
    let (report, after) = result(&ended);
    assert_eq!(after.steps[..2], before.steps[..]);
    assert_figures_of_confirmation(&report, &after);
    setup.assert_reported(&ended).await;
    complete(coordinator(&args)).await.expect(2).expect_stderr("is complete");
}

/// A step is repeated once; without any agent, the search ends with its result so far.
#[tokio::test]
async fn a_step_in_which_an_agent_was_lost_is_repeated() {
    let _turn = exclusive::beside_one().await;
    let Some(database) = Database::empty("step_again").await else { return };
    let (setup, address) = (Setup::with_database(&database, 0.005), address());
    let more = ["--slo", "median<1s", "--step-time", "2s", "--max-rate-from", "20", "--slot-grace", "0s"];
    let mut process = Process::start(run(address, 2, &setup.args(&more)));
    let args = ["--database-url", &setup.url];
    let agents = [(); 2].map(|()| Process::start(agent(address, &args)));
    process.wait_for("step 2: ").await;
    agents[0].signal("KILL");
    process.wait_for("step 2: 40 queries/s: an agent was lost during it, so its result is discarded").await;
    process.wait_for("step 3: ").await;
    agents[1].signal("KILL");
    let ended = process.end().await.expect(13);
    let (report, search) = result(&ended);
    assert_eq!((report.ending, report.verdict.status), (Ending::AgentsLost, VerdictStatus::Degraded));
    let rates: Vec<f64> = search.steps.iter().map(|step| step.rate).collect();
    assert_eq!((rates, search.highest_rate), (vec![20.0, 40.0], Some(40.0)));
    let second = &search.steps[1];
    assert!(second.completed >= 76, "hosts that moved still run: {second:#?}");
    setup.assert_reported(&ended).await;
}

#[tokio::test]
async fn invalid_search_options_are_refused_before_anything_starts() {
    for (args, message) in [
        (&["--max-rate"][..], "--slo <OBJECTIVE>"),
        (&["--slo", "p99<50ms"], "--max-rate"),
        (&["--max-rate", "--slo", "p99<50"], "'50' is not a duration"),
        (&["--max-rate", "--slo", "p99<50ms", "--rate", "5"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--duration", "5s"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--repeat", "2"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--think-time", "1s"], "cannot be used with"),
        (&["--max-rate", "--slo", "p99<50ms", "--step-time", "10ms"], "is too short; the minimum is"),
        (&["--max-rate", "--slo", "p99<50ms", "--max-rate-from", "0"], "'0' is not a rate"),
        (&["--step-time", "5s"], "--max-rate"),
    ] {
        complete(coordinator(&[&["run", "--local"], args].concat())).await.expect(2).expect_stderr(message);
    }
}
