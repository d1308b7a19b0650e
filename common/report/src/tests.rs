//! Properties of every format for every way in which a run can end.

mod comparison;
mod findings;
#[cfg(feature = "schema")]
mod schema;

use crate::result::{Reconnects, Role, ServerIdentity};

use proptest::prelude::*;

use super::text::page::{WIDTH, columns};
use super::{Format, fixtures, render};

/// Parts of names that are dangerous in one of the formats.
const HOSTILE: [&str; 24] = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\u{1b}[2J",
    "\u{7}",
    "\u{202e}",
    "\u{2028}",
    "\u{200b}",
    "\u{feff}",
    "\u{0}",
    "|",
    "`",
    "```",
    "<script>alert(1)</script>",
    "\"",
    ",",
    "\\",
    "](javascript:x)",
    "日本",
];

/// The structure of a report without the text of its cells, which must not depend on names.
fn structure(format: Format, report: &str) -> Vec<usize> {
    match format {
        // Text is wrapped, so the number of its lines depends on the length of names.
        Format::Text => Vec::new(),
        Format::Json => {
            let json: serde_json::Value = serde_json::from_str(report).expect("it is JSON");
            vec![json.as_object().expect("a report is an object").len()]
        }
        Format::Csv => {
            let mut csv = csv::ReaderBuilder::new().has_headers(false).from_reader(report.as_bytes());
            csv.records().map(|record| record.expect("each row has the same cells").len()).collect()
        }
        Format::Markdown => report.lines().map(table_cells).collect(),
        Format::Html => {
            report.split('<').map(|tag| tag.split([' ', '>']).next().map_or(0, str::len)).collect()
        }
    }
}

/// The number of cells of a table row; 0 outside of a table.
fn table_cells(line: &str) -> usize {
    if line.starts_with('|') { line.replace("\\|", "").matches('|').count() } else { 0 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_name_changes_the_structure_of_a_report(pieces in proptest::collection::vec(0..HOSTILE.len(), 1..6)) {
        let name: String = pieces.iter().map(|piece| HOSTILE[*piece]).collect();
        let (hostile, plain) = (fixtures::hostile_with(&name), fixtures::hostile_with("name"));
        for format in Format::ALL {
            let report = render(format, &hostile);
            prop_assert_eq!(structure(format, &report), structure(format, &render(format, &plain)), "{}: {}", format, report);
            if matches!(format, Format::Text | Format::Markdown | Format::Html) {
                let is_bad = |c: char| c != '\n' && !muster_core::printable::is_printable(c);
                prop_assert!(!report.contains(is_bad), "{}: {:?}", format, report);
            }
            if format == Format::Text {
                prop_assert!(report.lines().all(|line| columns(line) <= WIDTH), "{}", report);
            }
        }
        let report = render(Format::Csv, &hostile);
        let mut csv = csv::Reader::from_reader(report.as_bytes());
        for record in csv.records() {
            let record = record.unwrap();
            let executed = |cell: &str| cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
            prop_assert!(!record.iter().any(executed), "{:?}", record);
        }
        let read: crate::result::RunResult = serde_json::from_str(&render(Format::Json, &hostile)).unwrap();
        prop_assert!(read == hostile);
    }
}

/// Checks that every line of a text report fits into the page.
fn check_lines(name: &str, text: &str) {
    for line in text.lines() {
        assert!(columns(line) <= WIDTH, "{name}: {line}");
        assert_eq!(line, line.trim_end(), "{name}");
        assert!(!line.contains(char::is_control), "{name}: {line:?}");
    }
}

/// Checks that every row of a table has as many cells as its header.
fn check_rows(name: &str, markdown: &str) {
    for table in markdown.split("\n\n") {
        let cells: Vec<usize> = table.lines().map(table_cells).filter(|cells| *cells > 0).collect();
        assert!(cells.iter().all(|count| *count == cells[0]), "{name}: {table}");
    }
}

#[test]
fn no_line_of_the_text_report_is_wider_than_the_page() {
    for (name, result) in fixtures::all() {
        check_lines(name, &render(Format::Text, &result));
    }
}

#[test]
fn no_label_and_no_title_is_truncated() {
    let truncated = |text: &str| {
        let is_label = |line: &&str| line.starts_with(|c: char| c.is_ascii_uppercase());
        text.lines().filter(is_label).find(|line| line.contains('…')).map(str::to_owned)
    };
    for (name, result) in fixtures::all().into_iter().chain([("versus", fixtures::comparisons::versus())]) {
        let text = render(Format::Text, &result);
        if name != "hostile" {
            assert_eq!(truncated(&text), None, "{name}");
        }
        let latency =
            text.split("LATENCY").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
        for label in latency.lines().skip(2).filter_map(|line| line.split_whitespace().next()) {
            assert!(!label.contains('…'), "{name}: {label}");
        }
    }
}

#[test]
fn long_names_are_shortened_and_figures_are_not() {
    let text = render(Format::Text, &fixtures::hostile());
    let agents: Vec<&str> = text.lines().filter(|line| line.contains("4,294,967,295")).collect();
    assert_eq!(agents.len(), 2, "{text}");
    assert!(agents[1].ends_with("25.0 ms"), "{agents:#?}");
}

#[test]
fn every_report_ends_with_one_newline() {
    for (name, result) in fixtures::all() {
        for format in Format::ALL {
            let report = render(format, &result);
            assert!(report.ends_with('\n') && !report.ends_with("\n\n"), "{name}, {format}");
        }
    }
}

#[test]
fn a_markdown_row_has_as_many_cells_as_its_header() {
    for (name, result) in fixtures::all() {
        check_rows(name, &render(Format::Markdown, &result));
    }
}

#[test]
fn measured_servers_and_broken_connections_are_shown() {
    let mut result = fixtures::good();
    let database = result.database.as_mut().unwrap();
    let server = |port: u16| ServerIdentity {
        address: format!("10.0.0.1:{port}"),
        system_identifier: Some("7713975645204319104".to_owned()),
        started_at: Some("2026-11-30T14:45:17.665537Z".to_owned()),
        role: Some(Role::Primary),
        server_version: "16.4".to_owned(),
        database: "metrics".to_owned(),
        timescaledb: None,
    };
    (database.identity, database.other_identities) = (Some(server(5432)), vec![server(5433)]);
    database.reconnects = Reconnects { count: 3, outage_max_ms: Some(1_250.0), disconnected: 1 };
    let text = render(Format::Text, &result);
    let shown = "\
server                 metrics on 10.0.0.1:5432 · primary
                       started 2026-11-30T14:45:17.665537Z
                       system identifier 7713975645204319104
other server or state  metrics on 10.0.0.1:5433 · primary
                       started 2026-11-30T14:45:17.665537Z
                       system identifier 7713975645204319104
connections            3 broken connections reopened · longest outage 1.25 s
                       1 connection broken at the end
";
    assert!(text.contains(shown), "{text}");
    let markdown = render(Format::Markdown, &result);
    for shown in [
        "| Server | metrics on 10.0.0.1:5432, primary, started 2026-11-30T14:45:17.665537Z, system identifier 7713975645204319104 |",
        "| Other server or state | metrics on 10.0.0.1:5433, primary,",
        "| Connections | 3 broken connections reopened, longest outage 1.25 s, 1 connection broken at the end |",
    ] {
        assert!(markdown.contains(shown), "{markdown}");
    }
}
