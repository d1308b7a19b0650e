//! The parts of the text report that are not tables: thresholds, errors, unaccounted rows, events and the environment.

use muster_common::result::{
    Database, Error, Event, Queries, Reconnects, ResultFormat, RunResult, Threshold,
};

use super::LINES_MAX;
use crate::output::page::{Page, shorten};
use crate::output::thresholds::value;
use crate::output::units::{count, counted, duration};

const ERRORS_MAX: usize = 10;
const MESSAGE_LINES_MAX: usize = 3;
const RANGES_MAX: usize = 10;
const EVENTS_MAX: usize = 20;
/// Maximum number of columns of a host in an error's line.
const HOST_WIDTH: usize = 40;

pub(super) fn thresholds(page: &mut Page, thresholds: &[Threshold]) {
    if thresholds.is_empty() {
        return;
    }
    page.section("THRESHOLDS");
    for threshold in thresholds {
        let lead = if threshold.passed { "  passed  " } else { "  MISSED  " };
        let value = threshold.value.map(|_| format!("is {}", value(threshold)));
        let details: Vec<String> = value.into_iter().chain(threshold.note.clone()).collect();
        page.hanging(lead, &format!("{} ({})", threshold.expression, details.join("; ")), LINES_MAX);
    }
}

pub(super) fn errors(page: &mut Page, errors: &[Error]) {
    if errors.is_empty() {
        return;
    }
    page.section("ERRORS   by SQLSTATE and message; row ids count from 0");
    let mut shown: Vec<&Error> = errors.iter().collect();
    shown.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.row.cmp(&b.row)));
    for error in shown.iter().take(ERRORS_MAX) {
        page.line(&format!(
            "  {}   {} · e.g. row {} of host {}",
            error.sqlstate,
            counted(error.count, "query"),
            error.row,
            shorten(&error.host, HOST_WIDTH),
        ));
        page.hanging("          ", &error.message, MESSAGE_LINES_MAX);
        for (label, text) in [("DETAIL: ", &error.detail), ("HINT: ", &error.hint)] {
            if let Some(text) = text {
                page.hanging(&format!("          {label}"), text, MESSAGE_LINES_MAX);
            }
        }
    }
    if errors.len() > ERRORS_MAX {
        page.line(&format!("  … and {} more kinds (in the JSON: all)", errors.len() - ERRORS_MAX));
    }
}

pub(super) fn unaccounted(page: &mut Page, queries: &Queries) {
    if queries.unaccounted == 0 {
        return;
    }
    page.section(&format!("UNACCOUNTED   {}; row ids count from 0", counted(queries.unaccounted, "row")));
    page.hanging("  ", &ranges(&queries.unaccounted_rows), usize::MAX);
    if !queries.quarantined_rows.is_empty() {
        let rows: Vec<[u64; 2]> = queries.quarantined_rows.iter().map(|row| [*row, *row]).collect();
        page.hanging("  quarantined after three agent losses: ", &ranges(&rows), usize::MAX);
    }
}

/// Formats the first ranges, such as `0-99, 150, 200-300`, and the number of further ranges.
pub(in crate::output) fn ranges(rows: &[[u64; 2]]) -> String {
    let mut text: Vec<String> = rows
        .iter()
        .take(RANGES_MAX)
        .map(|[first, last]| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    if rows.len() > RANGES_MAX {
        let more = count((rows.len() - RANGES_MAX) as u64);
        text.push(format!("… and {more} more ranges (in the JSON: all)"));
    }
    text.join(", ")
}

pub(super) fn events(page: &mut Page, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    let omitted = events.len().saturating_sub(EVENTS_MAX);
    page.section(&if omitted == 0 {
        "EVENTS   time since the coordinator started to listen".to_owned()
    } else {
        format!("EVENTS   the last {EVENTS_MAX} of {} (in the JSON: all)", count(events.len() as u64))
    });
    for event in &events[omitted..] {
        let what = match event.times {
            1 => event.what.clone(),
            times => format!("{} ({times} times)", event.what),
        };
        page.hanging(&format!("{:>10.3} s  ", event.at_ms / 1e3), &what, LINES_MAX);
    }
}

pub(super) fn environment(page: &mut Page, result: &RunResult) {
    match &result.database {
        Some(database) => self::database(page, database),
        None => page.field("database", &["not reached by any agent".to_owned()]),
    }
    let query = &result.query;
    let mut parts = vec![query.name.clone(), format!("{} protocol", query.protocol)];
    parts.extend(query.results.as_ref().map(results));
    if let Some(function) = &query.bucket_function {
        parts.push(format!("buckets by {function}"));
    }
    page.field("query", &parts);
    page.field("muster", std::slice::from_ref(&result.tool.version));
    page.field_text("command", &result.tool.command);
}

/// The format of the result rows, with the reason unless it is the default.
pub(in crate::output) fn results(results: &ResultFormat) -> String {
    match results.reason.as_str() {
        "default" => format!("{} results", results.format),
        reason => format!("{} results ({reason})", results.format),
    }
}

fn database(page: &mut Page, database: &Database) {
    page.field("database", &products(database));
    for (position, identity) in database.identity.iter().chain(&database.other_identities).enumerate() {
        page.field(if position == 0 { "server" } else { "other server or state" }, &identity.parts());
    }
    if database.reconnects != Reconnects::default() {
        page.field("connections", &connections(&database.reconnects));
    }
    let settings: Vec<String> =
        database.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    page.field("settings", &settings);
}

/// The versions of PostgreSQL and TimescaleDB, and the origin of an embedded server.
pub(in crate::output) fn products(database: &Database) -> Vec<String> {
    let mut products = vec![
        format!("PostgreSQL {}", database.server_version),
        match &database.timescaledb {
            Some(version) => format!("TimescaleDB {version}"),
            None => "without TimescaleDB".to_owned(),
        },
    ];
    if let Some(origin) = &database.embedded {
        products.push(format!("embedded: {origin}"));
    }
    products
}

/// The connections that broke.
pub(in crate::output) fn connections(reconnects: &Reconnects) -> Vec<String> {
    let Reconnects { count, outage_max_ms, disconnected } = reconnects;
    let mut parts = vec![format!("{} reopened", counted(*count, "broken connection"))];
    parts.extend(outage_max_ms.map(|outage| format!("longest outage {}", duration(outage))));
    if *disconnected > 0 {
        parts.push(format!("{} broken at the end", counted(*disconnected, "connection")));
    }
    parts
}
