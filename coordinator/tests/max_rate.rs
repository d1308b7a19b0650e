//! `--max-rate` against a fake server whose knee is known: every query takes 20 ms on its connection, and each connection runs one at a
//! time, so that W connections that have as many rows each do W ÷ 20 ms and not more.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use muster_common::result::{Ending, LoadModel, RunResult};
use support::fake_postgres::FakePostgres;
use support::programs::{Finished, Run};

const WORKERS: usize = 4;
/// In queries per second, for workers with as many rows each.
const KNEE: f64 = WORKERS as f64 / 0.020;

fn rows(script: &str) -> Vec<String> {
    (0..400).map(|row| format!("h{},{script}", row % 40)).collect()
}

/// Agents inside the coordinator: four workers, ten hosts each.
fn search(fake: &FakePostgres, script: &str, more: &[&str]) -> Finished {
    let words = ["--max-rate", "--step-time", "1s", "--placement", "balanced", "--seed", "7"];
    Run::new(&fake.url(), &rows(script)).with(&words).with(more).local(WORKERS)
}

/// The main figures are those of the round that confirmed.
#[track_caller]
fn assert_figures_of_confirmation(report: &RunResult) {
    let search = report.search.as_ref().unwrap();
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

#[test]
fn the_knee_of_a_server_is_found() {
    let fake = FakePostgres::start();
    let report = search(&fake, "20ms", &["--slo", "p95<60ms", "--warmup", "40"]).report(0);
    let seen = fake.finish();
    assert_eq!(report.ending, Ending::Completed);
    assert_figures_of_confirmation(&report);
    let search = report.search.unwrap();
    let found = search.highest_rate.unwrap();
    // The busiest worker has more than its fair share, and is the first that cannot keep up.
    let knee = KNEE / report.placement.skew;
    let curve: Vec<_> =
        search.steps.iter().map(|step| (step.rate, step.achieved_rate, &step.reason)).collect();
    assert!((found / knee - 1.0).abs() <= 0.1, "{found} of {knee}: {curve:#?}");
    let ran: u64 = search.steps.iter().map(|step| step.completed).sum();
    assert!(seen.executions.len() as u64 > ran, "the warm-up and the closed loop ran before");
}
