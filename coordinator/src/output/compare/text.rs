//! A comparison as plain text of 80 columns.

use muster_common::compare::{Comparison, RankTest, RowByRow, Side, Table};

use super::{confidence_note, finding_word, headline, interval, p_value, queries, rows, summary, tables};
use crate::output::page::Page;
use crate::output::table::{self, Align};
use crate::output::text::status;
use crate::output::units::{count, counted, duration_cell, figure, percent, percent_range};

/// Maximum number of lines of a warning; the JSON contains the full text.
const LINES_MAX: usize = 6;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut page = Page::default();
    page.hanging(&format!("{}   ", headline(comparison.finding)), &summary(comparison), LINES_MAX);
    page.line("");
    page.field("base", &side(&comparison.base));
    page.field("new", &side(&comparison.new));
    page.field("rows", &rows(comparison));
    findings(&mut page, comparison);
    page.line("");
    totals(&mut page, comparison);
    warnings(&mut page, comparison);
    page.finish()
}

/// Adds the comparison to the report of a run on two databases.
pub(in crate::output) fn versus(page: &mut Page, comparison: &Comparison) {
    page.section("VERSUS   second database (new) against first (base), row by row in one run");
    page.hanging(&format!("  {}   ", headline(comparison.finding)), &summary(comparison), LINES_MAX);
    findings(page, comparison);
    warnings(page, comparison);
}

fn findings(page: &mut Page, comparison: &Comparison) {
    for (name, table) in tables(comparison) {
        page.section(&format!("{} of {}", name.to_uppercase(), queries(comparison)));
        figures(page, table);
    }
    if let Some(rows) = &comparison.row_by_row {
        page.section("ROW BY ROW   new ÷ base of each row");
        row_by_row(page, rows);
    }
    if let Some(test) = &comparison.rank_test {
        page.section("ALL QUERIES   of new against all queries of base");
        rank_test(page, test);
    }
    page.line("");
    page.hanging("  ", &confidence_note(comparison), LINES_MAX);
}

fn warnings(page: &mut Page, comparison: &Comparison) {
    if !comparison.warnings.is_empty() {
        page.section("WARNINGS");
        for warning in &comparison.warnings {
            page.hanging("  - ", warning, LINES_MAX);
        }
    }
}

fn side(side: &Side) -> Vec<String> {
    vec![
        side.run_id.clone(),
        status(side.verdict).to_owned(),
        counted(side.agents, "agent"),
        counted(side.workers, "worker"),
    ]
}

fn figures(page: &mut Page, table: &Table) {
    let mut lines = table::Table::new([
        ("", Align::LeftWhole),
        ("base", Align::Right),
        ("new", Align::Right),
        ("change", Align::Right),
        ("interval", Align::LeftWhole),
        ("", Align::LeftWhole),
    ]);
    for figure in &table.figures {
        lines.row([
            figure.name.clone(),
            duration_cell(figure.base_ms),
            duration_cell(figure.new_ms),
            percent(figure.change),
            interval(figure),
            finding_word(figure.finding).to_owned(),
        ]);
    }
    page.table(&lines);
}

fn row_by_row(page: &mut Page, rows: &RowByRow) {
    let mut lines = table::Table::new([
        ("", Align::LeftWhole),
        ("change", Align::Right),
        ("interval", Align::LeftWhole),
        ("", Align::LeftWhole),
    ]);
    let ends = rows.change_ci.map(percent_range).unwrap_or_default();
    let name = |name: &str| name.to_owned();
    lines.row([name("geometric mean"), percent(Some(rows.change)), ends, name(finding_word(rows.finding))]);
    lines.row([name("median"), percent(Some(rows.median_change)), name(""), name("")]);
    page.table(&lines);
    if let Some(test) = &rows.signed_rank {
        page.line(&format!("  signed-rank test  {}", p_value(test.p_value)));
    }
}

fn rank_test(page: &mut Page, test: &RankTest) {
    let share = format!("{:.1} %", test.new_longer * 100.0);
    page.line(&format!("  pairs in which new takes longer  {share}"));
    page.line(&format!("  Mann-Whitney test                {}", p_value(test.p_value)));
}

fn totals(page: &mut Page, comparison: &Comparison) {
    let throughput = &comparison.throughput;
    page.field(
        "throughput",
        &[
            format!("{} and {} queries/s", figure(throughput.base_qps), figure(throughput.new_qps)),
            percent(throughput.change),
            "one value per run, so no interval".to_owned(),
        ],
    );
    let failed = &comparison.failed;
    page.field("failed", &[format!("{} and {}", count(failed.base), counted(failed.new, "query"))]);
}
