//! Renders results and other tables as text, JSON, CSV and Markdown. Rendering is a pure function from a value to a string; only `write`
//! and `samples` access files. Statistics are computed elsewhere.

pub(crate) mod compare;
mod csv;
mod csv_cell;
mod generator;
mod json;
mod load;
mod markdown;
pub(crate) mod page;
pub mod plan;
pub(crate) mod runs;
pub mod samples;
mod search;
mod server_side;
mod spec;
mod table;
mod text;
mod thresholds;
mod uneven;
pub(crate) mod units;
mod write;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use muster_common::result::RunResult;

pub use spec::{Format, Output, OutputSpec, OutputSpecError, Target};
pub use write::{WriteError, check_writable, write};

/// Renders the whole report in one format, with a trailing newline.
pub fn render(format: Format, result: &RunResult) -> String {
    match format {
        Format::Text => text::render(result),
        Format::Json => json::render(result),
        Format::Csv => csv::render(result),
        Format::Markdown => markdown::render(result),
    }
}
