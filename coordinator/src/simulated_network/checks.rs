//! The properties that have to hold after each run, checked from outside: in the report, in the journal on disk, and in the queries that
//! the database ran.

use std::collections::BTreeMap;

use muster_core::ids::{Epoch, RowId};
use muster_core::sample::Outcome;
use muster_report::result::{Ending, RunResult};

use super::database::Execution;
use super::driver::{FAILURE, TERMINATED, answer};
use super::history::History;
use super::invariants::{Invariant, Violation};
use super::scenario::Scenario;
use super::site::Ended;
use super::site::Site;
use crate::journal::CountedSample;

/// Returns the violations of a run, and the number of results that counted after the loss of their session.
pub(super) fn check(site: &Site, ended: &Ended) -> (Vec<Violation>, u64) {
    let mut violations = site.database.violations();
    let history = match History::read(site) {
        Ok(history) => history,
        Err(problem) => {
            violations.push(Violation::new(Invariant::RunEnds, problem));
            return (violations, 0);
        }
    };
    let (scenario, executions) = (&site.scenario, site.database.executions());
    let counted = &history.counted;
    check_counted(scenario, counted, &executions, &mut violations);
    check_times(counted, &mut violations);
    let mut quarantined = &[][..];
    match ended {
        Ended::Failed(problem) => violations.push(Violation::new(Invariant::RunEnds, problem)),
        Ended::NothingLeft if counted.len() == scenario.rows.len() => {}
        Ended::NothingLeft => {
            let what = format!("nothing is left to resume, but only {} rows are counted", counted.len());
            violations.push(Violation::new(Invariant::TotalsAddUp, what));
        }
        Ended::Reported(result) => {
            quarantined = &result.queries.quarantined_rows;
            check_report(result, scenario, counted, &executions, &mut violations);
        }
    }
    history.check(&executions, quarantined, &mut violations);
    (violations, history.counted_late)
}

/// The final values of the metrics have to equal the report's numbers.
pub(super) fn check_metrics(page: &str, result: &RunResult) -> Result<(), String> {
    let queries = &result.queries;
    let lost = result.verdict.reasons.iter().filter(|reason| reason.contains(" was lost (")).count();
    let rows = if result.load.duration_ms.is_some() { 0 } else { queries.total };
    let expected = [
        format!("muster_rows {rows}"),
        format!("muster_queries_total{{outcome=\"completed\"}} {}", queries.completed),
        format!("muster_queries_total{{outcome=\"failed\"}} {}", queries.failed),
        format!("muster_service_time_seconds_count {}", queries.completed),
        format!("muster_rows_retried_total {}", queries.retried),
        format!("muster_agents_lost_total {lost}"),
        "muster_run_phase{phase=\"over\"} 1".to_owned(),
        "muster_agents{state=\"joined\"} 0".to_owned(),
    ];
    match expected.iter().find(|line| !page.lines().any(|found| found == *line)) {
        Some(missing) => Err(format!("the metrics lack '{missing}':\n{page}")),
        None => Ok(()),
    }
}

fn check_counted(
    scenario: &Scenario,
    counted: &BTreeMap<RowId, Vec<(Epoch, CountedSample)>>,
    executions: &[Execution],
    violations: &mut Vec<Violation>,
) {
    let mut violated = |invariant, what| violations.push(Violation::new(invariant, what));
    for (row, results) in counted {
        let [(epoch, sample)] = results.as_slice() else {
            violated(Invariant::CountedOnce, format!("row {row} is counted {} times", results.len()));
            continue;
        };
        let fails = scenario.rows[row.index()].fails;
        let outcome = &sample.sample.outcome;
        match outcome {
            Outcome::Completed(found) if !fails && *found == answer(*row) => {}
            Outcome::Failed(error) if fails && error.sqlstate.as_str() == FAILURE => {}
            Outcome::Failed(error) if error.sqlstate.as_str() == TERMINATED => {
                violated(Invariant::NoFailureOfOurs, format!("row {row} is counted as {outcome:?}"));
            }
            _ => violated(Invariant::OwnResult, format!("row {row} is counted as {outcome:?}")),
        }
        let of_row = || executions.iter().filter(|execution| execution.row == *row);
        if !of_row().any(|execution| execution.epoch == *epoch && execution.is_finished) {
            let what = format!("row {row} is counted for epoch {epoch}, which did not finish it");
            violated(Invariant::OwnResult, what);
        }
        let first = of_row().min_by_key(|execution| execution.began);
        if sample.attempt == 1 && first.is_some_and(|first| first.epoch != *epoch) {
            let what = format!("row {row} is counted as run once, but began before epoch {epoch}");
            violated(Invariant::RetriesReported, what);
        }
    }
}

/// A worker runs one row at a time, across all sessions of its slot and all coordinators of the run.
fn check_times(counted: &BTreeMap<RowId, Vec<(Epoch, CountedSample)>>, violations: &mut Vec<Violation>) {
    let mut by_worker: BTreeMap<u32, Vec<(Epoch, &CountedSample)>> = BTreeMap::new();
    for (epoch, sample) in counted.values().flatten() {
        by_worker.entry(sample.worker).or_default().push((*epoch, sample));
    }
    for (worker, mut samples) in by_worker {
        samples.sort_by_key(|(_, sample)| sample.sample.start_ns);
        for pair in samples.windows(2) {
            let [(before, one), (after, other)] = pair else { continue };
            if one.sample.start_ns + one.sample.service_time_ns > other.sample.start_ns {
                let (row, next) = (one.sample.row, other.sample.row);
                let what = format!(
                    "worker {worker} began row {next} of epoch {after} before row {row} of epoch {before} had ended"
                );
                violations.push(Violation::new(Invariant::OneRowAtATime, what));
            }
        }
    }
}

fn check_report(
    result: &RunResult,
    scenario: &Scenario,
    counted: &BTreeMap<RowId, Vec<(Epoch, CountedSample)>>,
    executions: &[Execution],
    violations: &mut Vec<Violation>,
) {
    let queries = &result.queries;
    let mut check = |holds: bool, invariant, what: &str| {
        if !holds {
            violations.push(Violation::new(invariant, format!("{what}: {queries:?}")));
        }
    };
    let totals = Invariant::TotalsAddUp;
    let rows = scenario.rows.len() as u64;
    check(queries.total == rows, totals, "the number of rows differs from the file");
    check(
        queries.completed + queries.failed + queries.unaccounted == rows,
        totals,
        "completed + failed + unaccounted is not the number of rows",
    );
    check(
        queries.completed + queries.failed == counted.len() as u64,
        totals,
        "the number of results differs from the journal",
    );
    let is_complete = result.ending == Ending::Completed;
    check(
        !is_complete || queries.unaccounted == queries.quarantined_rows.len() as u64,
        totals,
        "a completed run has unaccounted rows that are not quarantined",
    );
    check(
        is_complete || result.ending == Ending::AgentsLost,
        Invariant::RunEnds,
        "the run ended neither completed nor with lost agents",
    );
    let listed: u64 = queries.unaccounted_rows.iter().map(|[first, last]| last - first + 1).sum();
    check(listed == queries.unaccounted, totals, "not every unaccounted row is listed");
    let digest = counted.keys().filter(|row| !scenario.rows[row.index()].fails);
    let digest = digest.fold(0u64, |sum, row| sum.wrapping_add(answer(*row).digest_of(row.get().into())));
    check(
        result.result.digest == format!("{digest:016x}"),
        totals,
        "the digest differs from that of the rows' results",
    );
    let mut finished: BTreeMap<RowId, u64> = BTreeMap::new();
    for execution in executions.iter().filter(|execution| execution.is_finished) {
        *finished.entry(execution.row).or_default() += 1;
    }
    let twice: u64 = finished.values().map(|times| times - 1).sum();
    let reported = queries.retried + queries.duplicates + queries.stale;
    // Results that a coordinator dropped before it was killed are not recorded.
    let was_resumed = result.events.iter().any(|event| event.what.contains("an earlier coordinator"));
    check(
        twice <= reported || was_resumed,
        Invariant::RetriesReported,
        "more rows ran twice than the report states",
    );
    let timed = result.service_time_ms.as_ref().map_or(0, |latency| latency.count);
    let once = counted
        .values()
        .flatten()
        .filter(|(_, sample)| sample.attempt == 1 && matches!(sample.sample.outcome, Outcome::Completed(_)));
    check(
        timed == once.count() as u64,
        totals,
        "the number of latencies differs from the rows that completed and ran once",
    );
}
