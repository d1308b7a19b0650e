//! What has to hold after each run, seen from outside: by the report, by the journal on the disk, by what the database ran.

use std::collections::BTreeMap;

use muster_common::ids::{Epoch, RowId};
use muster_common::measurement::Outcome;
use muster_common::result::{Ending, RunResult};

use super::coordinator::Ended;
use super::database::Execution;
use super::scenario::Scenario;
use super::workplace::{FAILURE, answer};
use super::world::Site;
use crate::journal::{Entry, Reader, Sample};

/// What is wrong with this run; nothing, it is hoped.
pub(super) fn look(site: &Site, ended: &Ended) -> Vec<String> {
    let mut wrong = site.database.violations();
    let counted = match counted(site) {
        Ok(counted) => counted,
        Err(problem) => {
            wrong.push(problem);
            return wrong;
        }
    };
    let executions = site.database.executions();
    look_at_journal(&site.scenario, &counted, &executions, &mut wrong);
    look_at_times(&counted, &mut wrong);
    match ended {
        Ended::Failed(problem) => wrong.push(problem.clone()),
        Ended::NothingLeft if counted.len() == site.scenario.rows.len() => {}
        Ended::NothingLeft => wrong.push(format!("nothing is left, and {} rows are counted", counted.len())),
        Ended::Reported(result) => look_at_report(result, &site.scenario, &counted, &executions, &mut wrong),
    }
    wrong
}

/// What was told to whoever watched, after the last row: the report's numbers.
pub(super) fn look_at_metrics(page: &str, result: &RunResult) -> Result<(), String> {
    let queries = &result.queries;
    let lost = result.verdict.reasons.iter().filter(|reason| reason.contains(" was lost (")).count();
    let rows = if result.load.duration_ms.is_some() { 0 } else { queries.total };
    let wanted = [
        format!("muster_rows {rows}"),
        format!("muster_queries_total{{outcome=\"completed\"}} {}", queries.completed),
        format!("muster_queries_total{{outcome=\"failed\"}} {}", queries.failed),
        format!("muster_service_time_seconds_count {}", queries.completed),
        format!("muster_rows_retried_total {}", queries.retried),
        format!("muster_agents_lost_total {lost}"),
        "muster_run_phase{phase=\"over\"} 1".to_owned(),
        "muster_agents{state=\"joined\"} 0".to_owned(),
    ];
    match wanted.iter().find(|line| !page.lines().any(|found| found == *line)) {
        Some(missing) => Err(format!("the metrics do not say '{missing}':\n{page}")),
        None => Ok(()),
    }
}

/// Every result in the journal, by row.
fn counted(site: &Site) -> Result<BTreeMap<RowId, Vec<(Epoch, Sample)>>, String> {
    let mut counted: BTreeMap<RowId, Vec<(Epoch, Sample)>> = BTreeMap::new();
    let reader = Reader::open(&site.journal).map_err(|problem| problem.to_string())?;
    for entry in reader {
        if let Entry::Results { epoch, samples } = entry.map_err(|problem| problem.to_string())? {
            for sample in samples {
                counted.entry(sample.row).or_default().push((epoch, sample));
            }
        }
    }
    Ok(counted)
}

fn look_at_journal(
    scenario: &Scenario,
    counted: &BTreeMap<RowId, Vec<(Epoch, Sample)>>,
    executions: &[Execution],
    wrong: &mut Vec<String>,
) {
    for (row, results) in counted {
        let [(epoch, sample)] = results.as_slice() else {
            wrong.push(format!("row {row} is counted {} times", results.len()));
            continue;
        };
        let is_own = match &sample.outcome {
            Outcome::Completed(found) => !scenario.rows[row.index()].fails && *found == answer(*row),
            Outcome::Failed(error) => scenario.rows[row.index()].fails && error.sqlstate.as_str() == FAILURE,
        };
        if !is_own {
            wrong.push(format!("row {row} is counted as {:?}", sample.outcome));
        }
        let of_row = || executions.iter().filter(|execution| execution.row == *row);
        if !of_row().any(|execution| execution.epoch == *epoch && execution.is_finished) {
            wrong.push(format!("row {row} is counted for epoch {epoch}, which did not run it to its end"));
        }
        let first = of_row().min_by_key(|execution| execution.began);
        if sample.attempt == 1 && first.is_some_and(|first| first.epoch != *epoch) {
            wrong.push(format!("row {row} is counted as run once, and had begun before epoch {epoch}"));
        }
    }
}

/// A worker runs one row at a time, whichever session holds its slot and however many coordinators the run had.
fn look_at_times(counted: &BTreeMap<RowId, Vec<(Epoch, Sample)>>, wrong: &mut Vec<String>) {
    let mut by_worker: BTreeMap<u32, Vec<(Epoch, &Sample)>> = BTreeMap::new();
    for (epoch, sample) in counted.values().flatten() {
        by_worker.entry(sample.worker).or_default().push((*epoch, sample));
    }
    for (worker, mut samples) in by_worker {
        samples.sort_by_key(|(_, sample)| sample.start_ns);
        for pair in samples.windows(2) {
            let [(before, one), (after, other)] = pair else { continue };
            if one.start_ns + one.service_time_ns > other.start_ns {
                let (row, next) = (one.row, other.row);
                wrong.push(format!(
                    "worker {worker} began row {next} of epoch {after} before row {row} of epoch {before} had ended"
                ));
            }
        }
    }
}

fn look_at_report(
    result: &RunResult,
    scenario: &Scenario,
    counted: &BTreeMap<RowId, Vec<(Epoch, Sample)>>,
    executions: &[Execution],
    wrong: &mut Vec<String>,
) {
    let queries = &result.queries;
    let mut claim = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{what}: {queries:?}"));
        }
    };
    let rows = scenario.rows.len() as u64;
    claim(queries.total == rows, "the rows are not those of the file");
    claim(queries.completed + queries.failed + queries.unaccounted == rows, "the books do not close");
    claim(queries.completed + queries.failed == counted.len() as u64, "the journal has other results");
    let is_complete = result.ending == Ending::Completed;
    claim(
        !is_complete || queries.unaccounted == queries.quarantined_rows.len() as u64,
        "a complete run lacks rows that are not quarantined",
    );
    claim(is_complete || result.ending == Ending::AgentsLost, "the run ended otherwise");
    let listed: u64 = queries.unaccounted_rows.iter().map(|[first, last]| last - first + 1).sum();
    claim(listed == queries.unaccounted, "not every unaccounted row is listed");
    let digest = counted.keys().filter(|row| !scenario.rows[row.index()].fails);
    let digest = digest.fold(0u64, |sum, row| sum.wrapping_add(answer(*row).digest_of(row.get().into())));
    claim(result.result.digest == format!("{digest:016x}"), "the answers are not those of the rows");
    let mut finished: BTreeMap<RowId, u64> = BTreeMap::new();
    for execution in executions.iter().filter(|execution| execution.is_finished) {
        *finished.entry(execution.row).or_default() += 1;
    }
    let twice: u64 = finished.values().map(|times| times - 1).sum();
    let told = queries.retried + queries.duplicates + queries.stale;
    // What a coordinator dropped before it was killed is not written down.
    let was_resumed = result.events.iter().any(|event| event.what.contains("an earlier coordinator"));
    claim(twice <= told || was_resumed, "rows ran twice, and nobody says so");
    let timed = result.service_time_ms.as_ref().map_or(0, |latency| latency.count);
    let once = counted
        .values()
        .flatten()
        .filter(|(_, sample)| sample.attempt == 1 && matches!(sample.outcome, Outcome::Completed(_)));
    claim(timed == once.count() as u64, "the latencies are not those of the rows that ran once");
}
