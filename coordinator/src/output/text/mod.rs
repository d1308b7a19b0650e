//! The text report: plain text of 80 columns, identical in a terminal and in a file. [`render`] defines the order of the sections: verdict,
//! totals, latency, server, thresholds, placement, agents, hosts, errors, events and environment. It computes no statistics.

mod notes;
#[cfg(test)]
mod snapshots;
mod tables;

pub(super) use notes::{connections, products, ranges, results};
pub(super) use tables::{FIGURES, OpenLoop, interval, open_loop};

use muster_common::result::{Ending, Placement, RunResult, VerdictStatus};

use super::generator;
use super::page::{Page, shorten_path};
use super::uneven::uneven;
use super::units::{count, counted, duration, figure, times};
use super::{compare, load, search, server_side};

/// Maximum number of columns of a path in a field.
const PATH_WIDTH: usize = 57;
/// Number of characters shown of the workload's SHA-256, enough for people to distinguish two files.
const SHA256_SHOWN: usize = 12;
/// Maximum number of lines of a reason, a message or a command; the JSON contains the full text.
const LINES_MAX: usize = 6;

pub(super) fn render(result: &RunResult) -> String {
    let mut page = Page::default();
    verdict(&mut page, result);
    page.line("");
    totals(&mut page, result);
    preparation(&mut page, result);
    page.field("load generator", &generator::parts(result));
    search::text(&mut page, result);
    tables::latency(&mut page, result);
    for (name, figures) in load::passes(result) {
        page.field(name, &figures);
    }
    if let Some(versus) = &result.versus {
        compare::versus(&mut page, versus);
    }
    tables::statements(&mut page, &result.statements);
    server_side::text(&mut page, result);
    notes::thresholds(&mut page, &result.thresholds);
    generator::table(&mut page, result);
    page.line("");
    placement(&mut page, &result.placement, result.workload.hosts);
    tables::agents(&mut page, &result.agents);
    tables::workers(&mut page, result);
    tables::hosts(&mut page, &result.hosts, result.workload.hosts);
    notes::errors(&mut page, &result.errors);
    notes::unaccounted(&mut page, &result.queries);
    server_side::plans_text(&mut page, result);
    notes::events(&mut page, &result.events);
    page.line("");
    notes::environment(&mut page, result);
    page.finish()
}

fn verdict(page: &mut Page, result: &RunResult) {
    let started = match &result.started_at {
        Some(at) => format!("started {at}"),
        None => "never started".to_owned(),
    };
    page.line(&format!("{}   run {} · {started}", status(result.verdict.status), result.run_id));
    for reason in &result.verdict.reasons {
        page.hanging("  - ", reason, LINES_MAX);
    }
    if let Some(ended) = partial(result) {
        page.hanging("PARTIAL   ", &ended, LINES_MAX);
    }
    for note in &result.notes {
        page.hanging("NOTE   ", note, LINES_MAX);
    }
}

pub(in crate::output) fn status(status: VerdictStatus) -> &'static str {
    match status {
        VerdictStatus::Valid => "VALID",
        VerdictStatus::Degraded => "DEGRADED",
        VerdictStatus::Void => "VOID",
    }
}

/// Describes how an incomplete run ended; `None` if every row has a result.
pub(in crate::output) fn partial(result: &RunResult) -> Option<String> {
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

fn totals(page: &mut Page, result: &RunResult) {
    let workload = &result.workload;
    page.field(
        "workload",
        &[
            shorten_path(&workload.file, PATH_WIDTH),
            counted(workload.rows, "row"),
            counted(workload.hosts, "host"),
            format!("sha256 {}", workload.sha256.chars().take(SHA256_SHOWN).collect::<String>()),
        ],
    );
    page.field("load", &load::load(&result.load));
    page.field("queries", &accounting(result));
    page.field("total processing time", &[duration(result.total_processing_time_ms)]);
    let mut wall =
        vec![duration(result.wall_time_ms), format!("{} queries/s", figure(result.throughput_qps))];
    if let Some(skew) = result.start_skew_ms {
        wall.push(format!("start skew {}", duration(skew)));
    }
    page.field("wall time", &wall);
    let rows = &result.result;
    page.field(
        "result",
        &[counted(rows.rows, "row"), counted(rows.bytes, "byte"), format!("digest {}", rows.digest)],
    );
}

/// The accounting of queries. Zeros are included, because an omitted count could be mistaken for an unknown one.
pub(in crate::output) fn accounting(result: &RunResult) -> Vec<String> {
    let queries = &result.queries;
    let mut accounting = vec![
        format!("{} total", count(queries.total)),
        format!("{} completed", count(queries.completed)),
        format!("{} failed", count(queries.failed)),
        format!("{} unaccounted", count(queries.unaccounted)),
    ];
    if queries.retried > 0 {
        accounting.push(format!("{} retried", count(queries.retried)));
    }
    if queries.duplicates + queries.stale > 0 {
        let dropped = queries.duplicates.saturating_add(queries.stale);
        accounting.push(format!("{} dropped", counted(dropped, "duplicate result")));
    }
    if result.workload.skipped > 0 {
        accounting.push(format!("{} skipped", counted(result.workload.skipped, "bad row")));
    }
    accounting
}

/// Connection and preparation times, which precede the measurement.
fn preparation(page: &mut Page, result: &RunResult) {
    for (label, latency) in [("connect", &result.connect_ms), ("prepare", &result.prepare_ms)] {
        if let Some(latency) = latency {
            page.field(
                label,
                &[
                    counted(latency.count, "connection"),
                    format!("median {}", duration(latency.median)),
                    format!("max {}", duration(latency.max)),
                ],
            );
        }
    }
}

fn placement(page: &mut Page, placement: &Placement, hosts: u64) {
    page.field(
        "placement",
        &[
            placement.method.clone(),
            counted(placement.workers, "worker"),
            format!("{} idle", count(placement.idle)),
            format!("skew {}", times(placement.skew)),
        ],
    );
    page.field("", &uneven(placement, hosts));
}
