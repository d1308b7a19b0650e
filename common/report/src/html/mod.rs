//! One HTML file for a result: readable without JavaScript and without a network, printable, light and dark. Charts are SVG made here, text
//! comes from the report model, and the template escapes everything that is not markup made here.

mod chart;
mod charts;
mod page;
mod scale;
mod sections;
mod svg;
#[cfg(test)]
mod tests;

use page::Body;

use crate::report;
use crate::report::model::{Note, NoteKind};
use crate::result::comparison::Comparison;
use crate::result::{RunResult, VerdictStatus};

/// The report of a run as a page.
pub fn run(result: &RunResult) -> String {
    body(result).page()
}

/// A comparison as a page.
pub fn comparison(comparison: &Comparison) -> String {
    let report = report::comparison::report(comparison);
    Body::new(&report, Vec::new(), charts::of_comparison(comparison)).page()
}

/// The page that follows a run: it loads `/body` from its server whenever `/events` says so.
pub fn live_page() -> String {
    page::live()
}

/// What the live page shows while a run goes on. `stage` says what the run does, and the result has what is known so far.
pub fn in_progress(result: &RunResult, stage: &str) -> String {
    let mut report = report::run::report(result);
    let verdict = &result.verdict;
    report.notes.retain(|note| note.kind != NoteKind::Partial);
    // Agents report their health after some seconds.
    let has_evidence = result.agents.iter().any(|agent| agent.health.is_some());
    if verdict.status == VerdictStatus::Valid && has_evidence {
        report.notes.insert(0, Note::new(NoteKind::Observation, "no problem was detected so far"));
    }
    let status = if verdict.status == VerdictStatus::Valid { "RUNNING" } else { verdict.status.name() };
    let body = Body::new(&report, charts::headline(result), charts::of_run(result));
    Body { status: status.to_owned(), summary: sections::text(stage), ..body }.render()
}

/// What the live page shows when the run has finished: the report, with links to its files.
pub fn finished(result: &RunResult) -> String {
    Body { has_files: true, ..body(result) }.render()
}

fn body(result: &RunResult) -> Body {
    let report = report::run::report(result);
    Body::new(&report, charts::headline(result), charts::of_run(result))
}
