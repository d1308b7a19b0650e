//! Renders results as text, JSON, CSV and Markdown. [`report`] builds one model of a report, and each format is a pure function from it, or
//! from the result, to a string. Only `write` and `samples` access files. Statistics are computed elsewhere.

mod csv;
mod csv_cell;
mod csv_comparison;
pub(crate) mod json;
mod markdown;
pub(crate) mod report;
pub mod samples;
mod spec;
pub(crate) mod text;
pub(crate) mod units;
mod write;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use muster_report::result::RunResult;
use muster_report::result::comparison::Comparison;
use serde::Serialize;

use report::model::Report;
pub use spec::{Format, Output, OutputSpec, OutputSpecError, Target};
pub use write::{WriteError, check_writable, write};

/// A result that has every format.
pub(crate) trait Reported: Serialize {
    fn report(&self) -> Report;
    fn csv(&self) -> String;
}

/// Renders the whole report in one format, with a trailing newline.
pub(crate) fn render(format: Format, result: &impl Reported) -> String {
    match format {
        Format::Text => text::render(&result.report()),
        Format::Json => json::render(result),
        Format::Csv => result.csv(),
        Format::Markdown => markdown::render(&result.report()),
    }
}

impl Reported for RunResult {
    fn report(&self) -> Report {
        report::run::report(self)
    }

    fn csv(&self) -> String {
        csv::render(self)
    }
}

impl Reported for Comparison {
    fn report(&self) -> Report {
        report::comparison::report(self)
    }

    fn csv(&self) -> String {
        csv_comparison::render(self)
    }
}
