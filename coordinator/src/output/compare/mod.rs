//! Renders a comparison of two runs as text, JSON, CSV or Markdown. Rendering is pure and computes no statistics. This module contains the
//! wording that text and Markdown share.

mod csv;
mod markdown;
mod text;

pub(super) use markdown::versus as versus_markdown;
pub(super) use text::versus;

#[cfg(test)]
pub(super) mod fixtures;
#[cfg(test)]
mod tests;

use muster_common::compare::{Comparison, Figure, Finding, Method, Rows, Table};

use super::spec::Format;
use super::units::{count, counted, percent, percent_range};

/// Renders the whole comparison in one format, with a trailing newline.
pub(crate) fn render(format: Format, comparison: &Comparison) -> String {
    match format {
        Format::Text => text::render(comparison),
        Format::Json => json(comparison),
        Format::Csv => csv::render(comparison),
        Format::Markdown => markdown::render(comparison),
    }
}

fn json(comparison: &Comparison) -> String {
    let json = serde_json::to_string_pretty(comparison)
        .expect("a comparison contains only numbers, strings and lists");
    json + "\n"
}

/// The overall finding in a few words.
fn headline(finding: Finding) -> &'static str {
    match finding {
        Finding::Slower => "SLOWER",
        Finding::Faster => "FASTER",
        Finding::Mixed => "SLOWER AND FASTER",
        Finding::Negligible => "NEGLIGIBLE",
        Finding::Noise => "NO DIFFERENCE",
        Finding::Unsupported => "TOO FEW QUERIES",
    }
}

/// The overall finding in a sentence.
fn summary(comparison: &Comparison) -> String {
    let margin = percent_of(comparison.margin);
    match comparison.finding {
        Finding::Slower => format!("new takes longer: {}", figures_with(comparison, Finding::Slower)),
        Finding::Faster => format!("new takes less time: {}", figures_with(comparison, Finding::Faster)),
        Finding::Mixed => format!(
            "new takes longer: {}; and less time: {}",
            figures_with(comparison, Finding::Slower),
            figures_with(comparison, Finding::Faster)
        ),
        Finding::Negligible => {
            format!("there is a significant difference, but it is below the margin of {margin}")
        }
        Finding::Noise => "no significant difference in any figure".to_owned(),
        Finding::Unsupported => "too few queries to distinguish a difference from noise".to_owned(),
    }
}

/// The figures with this finding, each with its change.
fn figures_with(comparison: &Comparison, finding: Finding) -> String {
    let rows = comparison.row_by_row.iter().filter(|rows| rows.finding == finding);
    let mut parts: Vec<String> =
        rows.map(|rows| format!("row by row {}", percent(Some(rows.change)))).collect();
    let response = comparison.response_time.as_ref().map(|table| ("response ", table));
    for (of, table) in std::iter::once(("", &comparison.service_time)).chain(response) {
        let figures = table.figures.iter().filter(|figure| figure.finding == finding);
        parts.extend(figures.map(|figure| format!("{of}{} {}", figure.name, percent(figure.change))));
    }
    parts.join(", ")
}

/// The finding beside an interval.
fn finding_word(finding: Finding) -> &'static str {
    match finding {
        Finding::Slower => "slower",
        Finding::Faster => "faster",
        Finding::Mixed => "slower and faster",
        Finding::Negligible => "negligible",
        Finding::Noise => "within noise",
        Finding::Unsupported => "",
    }
}

/// The interval of a figure, or what is missing for one.
fn interval(figure: &Figure) -> String {
    match (figure.base_ms, figure.change_ci) {
        (_, Some(ends)) => percent_range(ends),
        (None, None) => format!("(needs {} each)", counted(figure.count_min, "query")),
        (Some(_), None) => "(needs more queries)".to_owned(),
    }
}

/// The numbers of compared and excluded rows.
fn rows(comparison: &Comparison) -> Vec<String> {
    let Rows { method, base, new, only_base, only_new } = comparison.rows;
    let mut parts = match method {
        Method::Paired => vec![format!("{} paired by row id", count(base))],
        Method::TwoSample => vec![format!("{} and {}, not paired", count(base), count(new))],
        Method::Summaries => vec![format!("{} and {}, compared by their summaries", count(base), count(new))],
    };
    for (only, other) in [(only_base, "new"), (only_new, "base")] {
        if only > 0 {
            parts.push(format!("{} excluded, not measured in {other}", count(only)));
        }
    }
    match (&comparison.row_by_row, comparison.service_time.worth) {
        (Some(rows), _) => parts.push(format!("effective sample size {}", rounded(rows.worth))),
        (None, Some([base, new])) => {
            parts.push(format!("effective sample sizes {} and {}", rounded(base), rounded(new)));
        }
        (None, None) => {}
    }
    parts
}

/// The number of queries that a table covers.
fn queries(comparison: &Comparison) -> String {
    let Rows { base, new, .. } = comparison.rows;
    match base == new {
        true => counted(base, "query"),
        false => format!("{} and {}", count(base), counted(new, "query")),
    }
}

/// The tables with their titles.
fn tables(comparison: &Comparison) -> impl Iterator<Item = (&'static str, &Table)> {
    let response = comparison.response_time.as_ref().map(|table| ("Response time", table));
    std::iter::once(("Service time", &comparison.service_time)).chain(response)
}

/// The confidence of the intervals.
fn confidence_note(comparison: &Comparison) -> String {
    let (all, each) = (percent_of(comparison.confidence), percent_of(comparison.confidence_each));
    format!("all intervals hold simultaneously with {all} confidence, each with {each}")
}

fn percent_of(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") }
}

fn rounded(number: f64) -> String {
    // The number is not negative and not larger than a number of rows, so the cast is lossless.
    count(number.round() as u64)
}
