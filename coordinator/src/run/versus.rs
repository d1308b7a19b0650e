//! Compares the second database of a run with the first. The same workers run the same rows against both, one after the other in random
//! order, so that external influences affect both equally. The report's main figures are those of the first database.

use std::time::Duration;

use muster_report::compare::{self, Options, Run, Series, Timing};
use muster_report::result::comparison::Comparison;
use muster_report::result::{self, Latency, RunResult};

use super::latencies::{DueTimes, Latencies, Part};
use super::record::Record;
use super::servers;
use super::tally::Tally;

/// Returns `None` for a run against one database. `base` is the result of the run, which is that of the first database.
pub(super) fn compare(
    base: &RunResult,
    latencies: &Latencies,
    tally: &Tally,
    record: &Record,
) -> Option<Comparison> {
    let [first, second] = &tally.compared;
    if first.is_empty() && second.is_empty() {
        return None;
    }
    let [base, new] = [side(base, latencies, tally, record, 0), side(base, latencies, tally, record, 1)];
    let [first, second] = [first, second].map(|timed| Series::new(timed.clone()));
    let run = |result, samples| Run { result, samples: Some(samples) };
    // The runs are interleaved, so only chance separates them, and every significant change counts.
    let options = Options { margin: 0.0, timing: Timing::Interleaved };
    Some(compare::compare(run(&base, &first), run(&new, &second), options))
}

/// The result for one of the databases alone.
fn side(result: &RunResult, latencies: &Latencies, tally: &Tally, record: &Record, target: u32) -> RunResult {
    let of = |part: &Part| part.class.target == target;
    let (completed, failed) = latencies.counted(of);
    let wall = Duration::from_nanos(tally.ran_for_ns).as_secs_f64();
    let mut result = result.clone();
    result.run_id =
        format!("{} {}", result.run_id, if target == 0 { "first database" } else { "second database" });
    (result.queries.total, result.queries.completed, result.queries.failed) =
        (completed + failed, completed, failed);
    // Rows without a result are reported once, for the whole run.
    result.queries.unaccounted = 0;
    result.throughput_qps = if wall > 0.0 { completed as f64 / wall } else { 0.0 };
    result.service_time_ms = latencies.service(of).as_ref().map(Latency::from);
    if let Some(DueTimes { response, lag, queueing, generator_delay }) = latencies.due_times(target) {
        (result.response_time_ms, result.lag_ms) = (Some(response), Some(lag));
        (result.queueing_ms, result.generator_delay_ms) = (Some(queueing), Some(generator_delay));
    } else {
        result.response_time_ms = result.service_time_ms.clone();
    }
    result.result = tally.answers[usize::from(target > 0)].to_result();
    if target > 0 {
        let found = record.sessions.iter().find_map(|session| session.found.as_ref()?.versus.as_ref());
        result.database = found.map(|found| {
            let database = result::Database {
                server_version: found.server_version.clone(),
                timescaledb: found.timescaledb.clone(),
                embedded: None,
                settings: found.settings.clone(),
                identity: None,
                other_identities: Vec::new(),
                reconnects: result::Reconnects::default(),
            };
            servers::describe(database, record, 1)
        });
    }
    result
}
