//! Two runs side by side, as text, JSON, CSV or Markdown. Rendering is pure and computes nothing: every change, interval and word was found
//! before. What both forms for people say, and how they say it, is here.

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

/// The whole comparison in one format, its last newline included.
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
        .expect("a comparison is numbers, strings and lists, and has no maps");
    json + "\n"
}

/// What all of it comes to, in a word or two.
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

/// The same in a sentence.
fn sentence(comparison: &Comparison) -> String {
    let margin = percent_of(comparison.margin);
    match comparison.finding {
        Finding::Slower => format!("new takes longer: {}", named(comparison, Finding::Slower)),
        Finding::Faster => format!("new takes less time: {}", named(comparison, Finding::Faster)),
        Finding::Mixed => format!(
            "new takes longer: {}; and less time: {}",
            named(comparison, Finding::Slower),
            named(comparison, Finding::Faster)
        ),
        Finding::Negligible => format!("there is a difference, and it is below the margin of {margin}"),
        Finding::Noise => "no figure differs by more than noise".to_owned(),
        Finding::Unsupported => "there are too few queries to tell a difference from noise".to_owned(),
    }
}

/// The figures of which something was found, each with its change.
fn named(comparison: &Comparison, wanted: Finding) -> String {
    let rows = comparison.row_by_row.iter().filter(|rows| rows.finding == wanted);
    let mut parts: Vec<String> =
        rows.map(|rows| format!("row by row {}", percent(Some(rows.change)))).collect();
    let response = comparison.response_time.as_ref().map(|table| ("response ", table));
    for (of, table) in std::iter::once(("", &comparison.service_time)).chain(response) {
        let figures = table.figures.iter().filter(|figure| figure.finding == wanted);
        parts.extend(figures.map(|figure| format!("{of}{} {}", figure.name, percent(figure.change))));
    }
    parts.join(", ")
}

/// The word beside an interval.
fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Slower => "slower",
        Finding::Faster => "faster",
        Finding::Mixed => "slower and faster",
        Finding::Negligible => "negligible",
        Finding::Noise => "within noise",
        Finding::Unsupported => "",
    }
}

/// The interval of a figure, or what it lacks.
fn interval(figure: &Figure) -> String {
    match (figure.base_ms, figure.change_ci) {
        (_, Some(ends)) => percent_range(ends),
        (None, None) => format!("(needs {} each)", counted(figure.count_min, "query")),
        (Some(_), None) => "(needs more queries)".to_owned(),
    }
}

/// Which rows are compared, and which are not.
fn rows(comparison: &Comparison) -> Vec<String> {
    let Rows { method, base, new, only_base, only_new } = comparison.rows;
    let mut parts = match method {
        Method::Paired => vec![format!("{} paired by row id", count(base))],
        Method::TwoSample => vec![format!("{} and {}, not paired", count(base), count(new))],
        Method::Summaries => vec![format!("{} and {}, by their summaries", count(base), count(new))],
    };
    for (only, lacks) in [(only_base, "new"), (only_new, "base")] {
        if only > 0 {
            parts.push(format!("{} left out, {lacks} has no time of them", count(only)));
        }
    }
    match (&comparison.row_by_row, comparison.service_time.worth) {
        (Some(rows), _) => parts.push(format!("worth {} independent ones", whole(rows.worth))),
        (None, Some([base, new])) => {
            parts.push(format!("worth {} and {} independent ones", whole(base), whole(new)));
        }
        (None, None) => {}
    }
    parts
}

/// How many queries the figures of a table are of.
fn queries(comparison: &Comparison) -> String {
    let Rows { base, new, .. } = comparison.rows;
    match base == new {
        true => counted(base, "query"),
        false => format!("{} and {}", count(base), counted(new, "query")),
    }
}

/// The tables, with what each is of.
fn tables(comparison: &Comparison) -> impl Iterator<Item = (&'static str, &Table)> {
    let response = comparison.response_time.as_ref().map(|table| ("Response time", table));
    std::iter::once(("Service time", &comparison.service_time)).chain(response)
}

/// What the intervals mean.
fn about_intervals(comparison: &Comparison) -> String {
    let (all, each) = (percent_of(comparison.confidence), percent_of(comparison.confidence_each));
    format!("all intervals hold at once with {all} confidence, each with {each}")
}

fn percent_of(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") }
}

fn whole(number: f64) -> String {
    // Never negative and no larger than a count of rows.
    count(number.round() as u64)
}
