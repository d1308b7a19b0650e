//! The figures of a comparison as CSV for a spreadsheet or a data frame, one line each. Times are in milliseconds, changes are shares.
//! A cell is empty if there is no figure.

use crate::result::comparison::{Comparison, Figure, Finding};

const COLUMNS: [&str; 8] =
    ["of", "figure", "base_ms", "new_ms", "change", "change_low", "change_high", "finding"];

pub(super) fn render(comparison: &Comparison) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut put = |line: [String; COLUMNS.len()]| {
        csv.write_record(line)
            .expect("writing to memory cannot fail, and all lines have the same number of columns");
    };
    put(COLUMNS.map(str::to_owned));
    let response = comparison.response_time.as_ref().map(|table| ("response_time", table));
    for (of, table) in std::iter::once(("service_time", &comparison.service_time)).chain(response) {
        table.figures.iter().for_each(|figure| put(line(of, figure)));
    }
    if let Some(rows) = &comparison.row_by_row {
        let figures = [None, None, Some(rows.change)];
        put(cells("row_by_row", "geometric_mean", figures, rows.change_ci, rows.finding));
    }
    let bytes = csv.into_inner().expect("flushing to memory cannot fail");
    String::from_utf8(bytes).expect("only strings were written")
}

fn line(of: &str, figure: &Figure) -> [String; COLUMNS.len()] {
    let Figure { name, base_ms, new_ms, change, change_ci, finding, .. } = figure;
    cells(of, name, [*base_ms, *new_ms, *change], *change_ci, *finding)
}

fn cells(
    of: &str,
    name: &str,
    figures: [Option<f64>; 3],
    interval: Option<[f64; 2]>,
    finding: Finding,
) -> [String; COLUMNS.len()] {
    let cell = |figure: Option<f64>| figure.map_or_else(String::new, |figure| figure.to_string());
    let [low, high] = interval.map_or([None; 2], |ends| ends.map(Some)).map(cell);
    let [base, new, change] = figures.map(cell);
    // The names are those of the JSON.
    let finding = match finding {
        Finding::Slower => "slower",
        Finding::Faster => "faster",
        Finding::Mixed => "mixed",
        Finding::Negligible => "negligible",
        Finding::Noise => "noise",
        Finding::Unsupported => "unsupported",
    };
    [of.to_owned(), name.to_owned(), base, new, change, low, high, finding.to_owned()]
}
