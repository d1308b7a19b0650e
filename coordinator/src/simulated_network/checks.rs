//! The properties that have to hold after each run, checked from outside: in the report, in the journal on disk, and in the queries that
//! the database ran.

use std::collections::BTreeMap;

use muster_common::ids::{Epoch, RowId};
use muster_common::result::{Ending, RunResult};
use muster_common::sample::Outcome;

use super::coordinator::Ended;
use super::database::Execution;
use super::driver::{FAILURE, answer};
use super::scenario::Scenario;
use super::world::Site;
use crate::journal::{CountedSample, Entry, Reader};

/// Returns the problems of a run; empty for a correct one.
pub(super) fn check(site: &Site, ended: &Ended) -> Vec<String> {
    let mut problems = site.database.violations();
    let counted = match counted(site) {
        Ok(counted) => counted,
        Err(problem) => {
            problems.push(problem);
            return problems;
        }
    };
    let executions = site.database.executions();
    check_journal(&site.scenario, &counted, &executions, &mut problems);
    check_times(&counted, &mut problems);
    match ended {
        Ended::Failed(problem) => problems.push(problem.clone()),
        Ended::NothingLeft if counted.len() == site.scenario.rows.len() => {}
        Ended::NothingLeft => {
            problems.push(format!("nothing is left to resume, but only {} rows are counted", counted.len()))
        }
        Ended::Reported(result) => check_report(result, &site.scenario, &counted, &executions, &mut problems),
    }
    problems
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

/// Reads all results in the journal, by row.
fn counted(site: &Site) -> Result<BTreeMap<RowId, Vec<(Epoch, CountedSample)>>, String> {
    let mut counted: BTreeMap<RowId, Vec<(Epoch, CountedSample)>> = BTreeMap::new();
    let reader = Reader::open(&site.journal).map_err(|problem| problem.to_string())?;
    for entry in reader {
        if let Entry::Results { epoch, samples } = entry.map_err(|problem| problem.to_string())? {
            for sample in samples {
                counted.entry(sample.sample.row).or_default().push((epoch, sample));
            }
        }
    }
    Ok(counted)
}

fn check_journal(
    scenario: &Scenario,
    counted: &BTreeMap<RowId, Vec<(Epoch, CountedSample)>>,
    executions: &[Execution],
    problems: &mut Vec<String>,
) {
    for (row, results) in counted {
        let [(epoch, sample)] = results.as_slice() else {
            problems.push(format!("row {row} is counted {} times", results.len()));
            continue;
        };
        let is_expected = match &sample.sample.outcome {
            Outcome::Completed(found) => !scenario.rows[row.index()].fails && *found == answer(*row),
            Outcome::Failed(error) => scenario.rows[row.index()].fails && error.sqlstate.as_str() == FAILURE,
        };
        if !is_expected {
            problems.push(format!("row {row} is counted as {:?}", sample.sample.outcome));
        }
        let of_row = || executions.iter().filter(|execution| execution.row == *row);
        if !of_row().any(|execution| execution.epoch == *epoch && execution.is_finished) {
            problems.push(format!("row {row} is counted for epoch {epoch}, which did not finish it"));
        }
        let first = of_row().min_by_key(|execution| execution.began);
        if sample.attempt == 1 && first.is_some_and(|first| first.epoch != *epoch) {
            problems.push(format!("row {row} is counted as run once, but began before epoch {epoch}"));
        }
    }
}

/// A worker runs one row at a time, across all sessions of its slot and all coordinators of the run.
fn check_times(counted: &BTreeMap<RowId, Vec<(Epoch, CountedSample)>>, problems: &mut Vec<String>) {
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
                problems.push(format!(
                    "worker {worker} began row {next} of epoch {after} before row {row} of epoch {before} had ended"
                ));
            }
        }
    }
}

fn check_report(
    result: &RunResult,
    scenario: &Scenario,
    counted: &BTreeMap<RowId, Vec<(Epoch, CountedSample)>>,
    executions: &[Execution],
    problems: &mut Vec<String>,
) {
    let queries = &result.queries;
    let mut check = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{what}: {queries:?}"));
        }
    };
    let rows = scenario.rows.len() as u64;
    check(queries.total == rows, "the number of rows differs from the file");
    check(
        queries.completed + queries.failed + queries.unaccounted == rows,
        "completed + failed + unaccounted is not the number of rows",
    );
    check(
        queries.completed + queries.failed == counted.len() as u64,
        "the number of results differs from the journal",
    );
    let is_complete = result.ending == Ending::Completed;
    check(
        !is_complete || queries.unaccounted == queries.quarantined_rows.len() as u64,
        "a completed run has unaccounted rows that are not quarantined",
    );
    check(
        is_complete || result.ending == Ending::AgentsLost,
        "the run ended neither completed nor with lost agents",
    );
    let listed: u64 = queries.unaccounted_rows.iter().map(|[first, last]| last - first + 1).sum();
    check(listed == queries.unaccounted, "not every unaccounted row is listed");
    let digest = counted.keys().filter(|row| !scenario.rows[row.index()].fails);
    let digest = digest.fold(0u64, |sum, row| sum.wrapping_add(answer(*row).digest_of(row.get().into())));
    check(
        result.result.digest == format!("{digest:016x}"),
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
    check(twice <= reported || was_resumed, "more rows ran twice than the report states");
    let timed = result.service_time_ms.as_ref().map_or(0, |latency| latency.count);
    let once = counted
        .values()
        .flatten()
        .filter(|(_, sample)| sample.attempt == 1 && matches!(sample.sample.outcome, Outcome::Completed(_)));
    check(
        timed == once.count() as u64,
        "the number of latencies differs from the rows that completed and ran once",
    );
}
