//! A comparison as Markdown for a pull request. The content is the same as that of the text.

use muster_common::compare::{Comparison, Side};

use super::{confidence_note, finding_word, headline, interval, p_value, queries, rows, summary, tables};
use crate::output::markdown::{code, plain, put, section};
use crate::output::text::status;
use crate::output::units::{count, counted, duration_or_none, figure, percent, percent_range};

pub(super) fn render(comparison: &Comparison) -> String {
    let mut page = String::new();
    put(&mut page, &format!("## Muster: {} · {}", headline(comparison.finding), summary(comparison)));
    put(&mut page, "\n| Run | |\n|---|---|");
    put(&mut page, &format!("| Base | {} |", side(&comparison.base)));
    put(&mut page, &format!("| New | {} |", side(&comparison.new)));
    put(&mut page, &format!("| Rows | {} |", rows(comparison).join(", ")));
    let throughput = &comparison.throughput;
    let [base, new] = [throughput.base_qps, throughput.new_qps].map(figure);
    let change = percent(throughput.change);
    put(&mut page, &format!("| Throughput | {base} and {new} queries/s, {change} |"));
    let failed = &comparison.failed;
    put(&mut page, &format!("| Failed | {} and {} |", count(failed.base), count(failed.new)));
    findings(&mut page, comparison);
    warnings(&mut page, comparison);
    page
}

/// Adds the comparison to the report of a run on two databases.
pub(in crate::output) fn versus(page: &mut String, comparison: &Comparison) {
    section(page, &format!("Second database (new) against first (base): {}", headline(comparison.finding)));
    put(page, &format!("\n{}.", capitalized(&summary(comparison))));
    findings(page, comparison);
    warnings(page, comparison);
}

fn findings(page: &mut String, comparison: &Comparison) {
    for (name, table) in tables(comparison) {
        section(page, &format!("{name} of {}", queries(comparison)));
        put(page, "\n|  | base | new | change | interval | |\n|---|--:|--:|--:|--:|---|");
        for figure in &table.figures {
            let [base, new] = [figure.base_ms, figure.new_ms].map(duration_or_none);
            let cells = [&figure.name, &base, &new, &percent(figure.change), &interval(figure)];
            let cells = cells.map(String::as_str).join(" | ");
            put(page, &format!("| {cells} | {} |", finding_word(figure.finding)));
        }
    }
    row_by_row(page, comparison);
    put(page, &format!("\n{}.", capitalized(&confidence_note(comparison))));
}

fn warnings(page: &mut String, comparison: &Comparison) {
    if !comparison.warnings.is_empty() {
        section(page, "Warnings");
        put(page, "");
        for warning in &comparison.warnings {
            put(page, &format!("- {}", plain(warning)));
        }
    }
}

fn side(side: &Side) -> String {
    let (agents, workers) = (counted(side.agents, "agent"), counted(side.workers, "worker"));
    format!("{}, {}, {agents}, {workers}: {}", code(&side.run_id), status(side.verdict), code(&side.command))
}

fn row_by_row(page: &mut String, comparison: &Comparison) {
    if let Some(rows) = &comparison.row_by_row {
        section(page, "Row by row, new ÷ base");
        put(page, "\n|  | change | interval | |\n|---|--:|--:|---|");
        let ends = rows.change_ci.map(percent_range).unwrap_or_default();
        let (change, word) = (percent(Some(rows.change)), finding_word(rows.finding));
        put(page, &format!("| geometric mean | {change} | {ends} | {word} |"));
        put(page, &format!("| median | {} |  | |", percent(Some(rows.median_change))));
        if let Some(test) = &rows.signed_rank {
            put(page, &format!("\nSigned-rank test: {}.", p_value(test.p_value)));
        }
    }
    if let Some(test) = &comparison.rank_test {
        let share = format!("{:.1} %", test.new_longer * 100.0);
        let p = p_value(test.p_value);
        put(
            page,
            &format!(
                "\nIn {share} of all pairs of queries new takes longer than base (Mann-Whitney test, {p})."
            ),
        );
    }
}

fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
