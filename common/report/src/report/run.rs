//! The report of a run. [`report`] defines the order of its sections: verdict, totals, latency, server, thresholds, placement, agents,
//! hosts, errors, events and environment.

use crate::result::{Ending, Latency, RunResult};

use super::model::{Field, Note, NoteKind, Report, Section, Span, Title};
use super::{comparison, environment, generator, latency, load, placement, problems, search, server, tables};
use crate::units::{count, counted, duration, figure};

/// Number of characters shown of the workload's SHA-256, enough for people to distinguish two files.
const SHA256_SHOWN: usize = 12;

pub fn report(result: &RunResult) -> Report {
    let mut sections = vec![Section::overview("Run", totals(result))];
    sections.extend(search::section(result));
    sections.push(latency::section(result));
    sections.extend(result.versus.iter().flat_map(|versus| comparison::versus(versus)));
    sections.extend(tables::statements(&result.statements));
    sections.extend(server::section(result));
    sections.extend(problems::thresholds(&result.thresholds));
    sections.extend(generator::section(result));
    let placed = placement::field(&result.placement, result.workload.hosts);
    sections.push(Section::overview("Placement", vec![placed]));
    sections.extend(tables::agents(&result.agents));
    sections.extend(tables::workers(result));
    sections.extend(tables::hosts(&result.hosts, result.workload.hosts));
    sections.extend(problems::errors(&result.errors));
    sections.extend(problems::unaccounted(&result.queries));
    sections.extend(server::plans(result));
    sections.extend(problems::events(&result.events));
    sections.push(environment::section(result));
    Report { title: Some(title(result)), notes: notes(result), sections }
}

fn title(result: &RunResult) -> Title {
    let started = match &result.started_at {
        Some(at) => format!("started {at}"),
        None => "never started".to_owned(),
    };
    let queries = counted(result.queries.completed, "query");
    let summary = match &result.service_time_ms {
        Some(latency) => format!("{queries}, median {}", duration(latency.median)),
        None => "no query completed".to_owned(),
    };
    let subject = format!("run {} · {started}", result.run_id);
    Title { status: result.verdict.status.name(), subject, summary }
}

fn notes(result: &RunResult) -> Vec<Note> {
    let reasons = result.verdict.reasons.iter().map(Note::problem);
    let partial = partial(result).map(|ended| Note::new(NoteKind::Partial, ended));
    let observations = result.notes.iter().map(|note| Note::new(NoteKind::Observation, note));
    reasons.chain(partial).chain(observations).collect()
}

/// Describes how an incomplete run ended; `None` if every row has a result.
fn partial(result: &RunResult) -> Option<String> {
    let queries = &result.queries;
    let cause = match result.ending {
        Ending::Completed if queries.unaccounted == 0 => return None,
        Ending::Completed => "the run ended",
        Ending::Interrupted => "the run was interrupted",
        Ending::AgentsLost => "agents were lost",
        Ending::WorkloadUnreadable => "the workload could not be read to its end",
        Ending::CannotWrite => "the journal could not be written",
        Ending::Unfinished => "the run has not ended",
    };
    Some(format!(
        "{cause}: {} of {} have no result",
        count(queries.unaccounted),
        counted(queries.total, "query"),
    ))
}

fn totals(result: &RunResult) -> Vec<Field> {
    let workload = &result.workload;
    let mut wall =
        vec![duration(result.wall_time_ms), format!("{} queries/s", figure(result.throughput_qps))];
    wall.extend(result.start_skew_ms.map(|skew| format!("start skew {}", duration(skew))));
    let rows = &result.result;
    let answers = [counted(rows.rows, "row"), counted(rows.bytes, "byte"), format!("digest {}", rows.digest)];
    let sha256: String = workload.sha256.chars().take(SHA256_SHOWN).collect();
    let workload = [
        Span::Path(workload.file.clone()),
        counted(workload.rows, "row").into(),
        counted(workload.hosts, "host").into(),
        format!("sha256 {sha256}").into(),
    ];
    vec![
        Field::new("workload", workload),
        Field::new("load", load::parts(&result.load)),
        Field::new("queries", accounting(result)),
        Field::new("total processing time", [duration(result.total_processing_time_ms)]),
        Field::new("wall time", wall),
        Field::new("result", answers),
        preparation("connect", &result.connect_ms),
        preparation("prepare", &result.prepare_ms),
        Field::new("load generator", generator::parts(result)),
    ]
}

/// The accounting of queries. Zeros are included, because an omitted count could be mistaken for an unknown one.
fn accounting(result: &RunResult) -> Vec<String> {
    let queries = &result.queries;
    let dropped = queries.duplicates.saturating_add(queries.stale);
    let skipped = result.workload.skipped;
    let certain = [
        format!("{} total", count(queries.total)),
        format!("{} completed", count(queries.completed)),
        format!("{} failed", count(queries.failed)),
        format!("{} unaccounted", count(queries.unaccounted)),
    ];
    let possible = [
        (queries.retried > 0).then(|| format!("{} retried", count(queries.retried))),
        (dropped > 0).then(|| format!("{} dropped", counted(dropped, "duplicate result"))),
        (skipped > 0).then(|| format!("{} skipped", counted(skipped, "bad row"))),
    ];
    certain.into_iter().chain(possible.into_iter().flatten()).collect()
}

/// Connection or preparation times, which precede the measurement.
fn preparation(label: &'static str, latency: &Option<Latency>) -> Field {
    let parts = latency.as_ref().map(|latency| {
        [
            counted(latency.count, "connection"),
            format!("median {}", duration(latency.median)),
            format!("max {}", duration(latency.max)),
        ]
    });
    Field::new(label, parts.into_iter().flatten())
}
