//! Results as plain values and their reports: [`result`] and [`compare`] are the values, [`report`] builds one model of a report from them
//! (sections, tables, notes), and each format is a pure function from the model, or from the result, to a string. Does no I/O.

pub mod compare;
pub mod csv;
pub mod csv_cell;
pub mod csv_comparison;
#[cfg(any(test, feature = "fixtures"))]
#[allow(clippy::unwrap_used, reason = "used by tests only")]
pub mod fixtures;
mod format;
mod health;
pub mod html;
pub mod json;
pub mod markdown;
pub mod report;
pub mod result;
#[cfg(test)]
mod tests;
pub mod text;
pub mod units;

use serde::Serialize;

pub use format::Format;
use report::model::Report;
use result::RunResult;
use result::comparison::Comparison;

/// A result that has every format.
pub trait Reported: Serialize {
    fn report(&self) -> Report;
    fn csv(&self) -> String;
    fn html(&self) -> String;
}

/// Renders the whole report in one format, with a trailing newline.
pub fn render(format: Format, result: &impl Reported) -> String {
    match format {
        Format::Text => text::render(&result.report()),
        Format::Json => json::render(result),
        Format::Csv => result.csv(),
        Format::Markdown => markdown::render(&result.report()),
        Format::Html => result.html(),
    }
}

impl Reported for RunResult {
    fn report(&self) -> Report {
        report::run::report(self)
    }

    fn csv(&self) -> String {
        csv::render(self)
    }

    fn html(&self) -> String {
        html::run(self)
    }
}

impl Reported for Comparison {
    fn report(&self) -> Report {
        report::comparison::report(self)
    }

    fn csv(&self) -> String {
        csv_comparison::render(self)
    }

    fn html(&self) -> String {
        html::comparison(self)
    }
}
