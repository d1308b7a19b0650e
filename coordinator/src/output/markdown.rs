//! The report as Markdown, for a pull request or a wiki: headline, figures, errors and environment. Tables of agents and hosts are only in
//! the other formats. External text is put into code spans, in which Markdown has no meaning.

use std::fmt::Write as _;

use muster_common::printable::harmless;
use muster_common::result::{Error, Latency, Reconnects, RunResult};

use super::generator;
use super::text::{self, OpenLoop, accounting, partial, status};
use super::thresholds::value;
use super::uneven::uneven;
use super::units::{count, counted, duration, duration_or_none, figure, times};
use super::{compare, load, search, server_side};

const ERRORS_MAX: usize = 10;
const MESSAGE_CHARS_MAX: usize = 200;

pub(super) fn render(result: &RunResult) -> String {
    let mut page = String::new();
    headline(&mut page, result);
    totals(&mut page, result);
    for line in search::markdown(result) {
        put(&mut page, &line);
    }
    latency(&mut page, result);
    if let Some(versus) = &result.versus {
        compare::versus_markdown(&mut page, versus);
    }
    statements(&mut page, result);
    server_side::markdown(&mut page, result);
    thresholds(&mut page, result);
    errors(&mut page, &result.errors);
    if result.queries.unaccounted > 0 {
        section(&mut page, "Unaccounted rows (ids count from 0)");
        put(&mut page, "");
        put(&mut page, &text::ranges(&result.queries.unaccounted_rows));
    }
    environment(&mut page, result);
    page
}

fn headline(page: &mut String, result: &RunResult) {
    let status = status(result.verdict.status);
    let queries = counted(result.queries.completed, "query");
    let median = match &result.service_time_ms {
        Some(latency) => format!("{queries}, median {}", duration(latency.median)),
        None => "no query completed".to_owned(),
    };
    put(page, &format!("## Muster: {status} · {median}"));
    if let Some(ended) = partial(result) {
        put(page, &format!("\n**Partial result**: {}.", plain(&ended)));
    }
    if !result.verdict.reasons.is_empty() {
        put(page, "");
    }
    for reason in &result.verdict.reasons {
        put(page, &format!("- {}", plain(reason)));
    }
    for note in &result.notes {
        put(page, &format!("\n**Note**: {}.", plain(note)));
    }
}

fn totals(page: &mut String, result: &RunResult) {
    let workload = &result.workload;
    let placement = &result.placement;
    let mut placed = format!(
        "{}, {}, {} idle, skew {}",
        code(&placement.method),
        counted(placement.workers, "worker"),
        placement.idle,
        times(placement.skew),
    );
    let hint = uneven(placement, workload.hosts);
    if !hint.is_empty() {
        placed = format!("{placed} ({})", plain(&hint.join("; ")));
    }
    table(
        page,
        ["Run", &code(&result.run_id)],
        &[
            [
                "Workload",
                &format!(
                    "{}, {}, {}",
                    code(&workload.file),
                    counted(workload.rows, "row"),
                    counted(workload.hosts, "host")
                ),
            ],
            ["Load", &load::load(&result.load).join(", ")],
            ["Queries", &accounting(result).join(", ")],
            ["Total processing time", &duration(result.total_processing_time_ms)],
            [
                "Wall time",
                &format!("{}, {} queries/s", duration(result.wall_time_ms), figure(result.throughput_qps)),
            ],
            [
                "Result",
                &format!(
                    "{}, {}, digest {}",
                    counted(result.result.rows, "row"),
                    counted(result.result.bytes, "byte"),
                    code(&result.result.digest)
                ),
            ],
            ["Placement", &placed],
        ],
    );
    let generator = generator::parts(result);
    if !generator.is_empty() {
        put(page, &format!("| Load generator | {} |", plain(&generator.join(", "))));
    }
}

fn latency(page: &mut String, result: &RunResult) {
    let Some(service) = &result.service_time_ms else {
        return;
    };
    section(page, "Latency");
    let mut head = vec!["", "service", "95 % interval"];
    let open_loop = text::open_loop(result);
    if let Some(OpenLoop { waits, .. }) = &open_loop {
        head.extend(["response", "95 % interval"]);
        head.extend(waits.iter().map(|(title, _)| *title));
    }
    put(page, &format!("\n| {} |\n|---{}", head.join(" | "), "|--:".repeat(head.len() - 1) + "|"));
    for figure in text::FIGURES {
        let (name, _, value, _) = figure;
        let mut cells =
            vec![name.to_owned(), duration_or_none(value(service)), text::interval(service, figure)];
        if let Some(OpenLoop { response, waits }) = &open_loop {
            cells.extend([duration_or_none(value(response)), text::interval(response, figure)]);
            cells.extend(waits.iter().map(|(_, wait)| duration_or_none(value(wait))));
        }
        put(page, &format!("| {} |", cells.join(" | ")));
    }
    for (name, figures) in load::passes(result) {
        put(page, &format!("\n{name}: {}", figures.join(", ")));
    }
}

fn statements(page: &mut String, result: &RunResult) {
    if result.statements.is_empty() {
        return;
    }
    section(page, "Queries");
    put(page, "\n| query | completed | failed | mean | median | p95 | max |\n|---|--:|--:|--:|--:|--:|--:|");
    for statement in &result.statements {
        let latency = statement.service_time_ms.as_ref();
        let figures: [fn(&Latency) -> Option<f64>; 4] =
            [|l| Some(l.mean), |l| Some(l.median), |l| l.p95, |l| Some(l.max)];
        let figures = figures.map(|figure| duration_or_none(latency.and_then(figure)));
        let (name, completed, failed) =
            (code(&statement.name), count(statement.completed), count(statement.failed));
        put(page, &format!("| {name} | {completed} | {failed} | {} |", figures.join(" | ")));
    }
}

fn thresholds(page: &mut String, result: &RunResult) {
    if result.thresholds.is_empty() {
        return;
    }
    section(page, "Thresholds");
    put(page, "\n| threshold | value | |\n|---|--:|---|");
    for threshold in &result.thresholds {
        let passed = if threshold.passed { "passed" } else { "**missed**" };
        let note = threshold.note.as_ref().map_or_else(String::new, |note| format!(": {}", plain(note)));
        let (expression, value) = (code(&threshold.expression), value(threshold));
        put(page, &format!("| {expression} | {value} | {passed}{note} |"));
    }
}

fn errors(page: &mut String, errors: &[Error]) {
    if errors.is_empty() {
        return;
    }
    section(page, "Errors");
    put(page, "\n| SQLSTATE | count | message | example |\n|---|--:|---|---|");
    let mut shown: Vec<&Error> = errors.iter().collect();
    shown.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.row.cmp(&b.row)));
    for error in shown.iter().take(ERRORS_MAX) {
        put(
            page,
            &format!(
                "| {} | {} | {} | row {}, host {} |",
                code(&error.sqlstate),
                count(error.count),
                message(error),
                error.row,
                code(&error.host)
            ),
        );
    }
    if errors.len() > ERRORS_MAX {
        put(page, &format!("\n… and {} more kinds of error.", errors.len() - ERRORS_MAX));
    }
}

/// The message, with the server's detail and hint.
fn message(error: &Error) -> String {
    let short = |text: &String| code(&super::page::shorten(text, MESSAGE_CHARS_MAX));
    let mut message = short(&error.message);
    for (label, text) in [("detail", &error.detail), ("hint", &error.hint)] {
        if let Some(text) = text {
            message.push_str(&format!(" {label}: {}", short(text)));
        }
    }
    message
}

fn environment(page: &mut String, result: &RunResult) {
    section(page, "Environment");
    let query = &result.query;
    let mut rows: Vec<[&str; 2]> = Vec::new();
    let database = result.database.as_ref().map_or_else(
        || "not reached by any agent".to_owned(),
        |database| plain(&text::products(database).join(", ")),
    );
    rows.push(["Database", &database]);
    let servers: Vec<String> = result
        .database
        .iter()
        .flat_map(|database| database.identity.iter().chain(&database.other_identities))
        .map(|identity| plain(&identity.parts().join(", ")))
        .collect();
    for (position, server) in servers.iter().enumerate() {
        rows.push([if position == 0 { "Server" } else { "Other server or state" }, server]);
    }
    let reconnects = result.database.as_ref().map(|database| &database.reconnects);
    let reconnects = reconnects.filter(|reconnects| **reconnects != Reconnects::default());
    let connections = reconnects.map(|reconnects| text::connections(reconnects).join(", "));
    if let Some(connections) = &connections {
        rows.push(["Connections", connections]);
    }
    let settings = result.database.as_ref().map(|database| {
        let settings = database.settings.iter().map(|(name, value)| code(&format!("{name}={value}")));
        settings.collect::<Vec<_>>().join(", ")
    });
    if let Some(settings) = settings.as_ref().filter(|settings| !settings.is_empty()) {
        rows.push(["Settings", settings]);
    }
    let mut query_words = vec![code(&query.name), format!("{} protocol", plain(&query.protocol))];
    query_words.extend(query.results.as_ref().map(|results| plain(&text::results(results))));
    let query_line = format!("{}: {}", query_words.join(", "), code(&query.sql));
    rows.push(["Query", &query_line]);
    let started = plain(result.started_at.as_deref().unwrap_or("never"));
    rows.push(["Started", &started]);
    let command = code(&result.tool.command);
    rows.push(["Command", &command]);
    let version = plain(&result.tool.version);
    table(page, ["Muster", &version], &rows);
}

pub(super) fn section(page: &mut String, title: &str) {
    put(page, &format!("\n### {title}"));
}

fn table(page: &mut String, head: [&str; 2], rows: &[[&str; 2]]) {
    put(page, &format!("\n| {} | {} |\n|---|---|", head[0], head[1]));
    for [name, value] in rows {
        put(page, &format!("| {name} | {value} |"));
    }
}

pub(super) fn put(page: &mut String, line: &str) {
    writeln!(page, "{line}").expect("writing to a string cannot fail");
}

/// Puts external text into a code span. The fence has more backticks than any run of backticks in the text, so the text cannot close the
/// span. The `|` of a table must be escaped even in a code span.
pub(super) fn code(text: &str) -> String {
    let text = harmless(text).replace('|', "\\|");
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    // A space separates a backtick at either end from the fence; renderers remove it. An empty span would not be a span.
    let pad = if text.is_empty() || text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Escapes Markdown markup in Muster's own sentences, which may quote external text.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        if matches!(c, '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '~') {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixtures;

    #[test]
    fn markdown_of_a_run_with_failures() {
        insta::assert_snapshot!(render(&fixtures::failures()), @r#"
        ## Muster: VALID · 187 queries, median 3.21 ms

        **Note**: slot-1 (db2/4712) takes 2.00× as long as the other agents, median 6.42 ms against 3.21 ms: its machine or network may be slow, or its hosts cost more.

        | Run | `20261123-7f3a` |
        |---|---|
        | Workload | `data/query_params.csv`, 200 rows, 10 hosts |
        | Load | closed loop |
        | Queries | 200 total, 187 completed, 13 failed, 0 unaccounted, 3 bad rows skipped |
        | Total processing time | 1.04 s |
        | Wall time | 312 ms, 641 queries/s |
        | Result | 12,162 rows, 291,888 bytes, digest `0123456789abcdef` |
        | Placement | `rendezvous`, 4 workers, 1 idle, skew 2.90× (uneven: too few hosts for even hashing; try --placement balanced) |

        ### Latency

        |  | service | 95 % interval |
        |---|--:|--:|
        | min | 412 µs |  |
        | median | 3.21 ms | 3.05–3.40 ms |
        | mean | 5.20 ms |  |
        | max | 12.5 ms |  |
        | stddev | 2.25 ms |  |
        | p90 | 7.10 ms | 6.80–7.60 ms |
        | p95 | 8.20 ms | 7.50–9.10 ms |
        | p99 | – | (needs 459 queries) |
        | p99.9 | – | (needs 4,603 queries) |

        ### Thresholds

        | threshold | value | |
        |---|--:|---|
        | `p95 < 10 ms` | 8.20 ms | passed |
        | `failed = 0` | 13 queries | **missed** |

        ### Errors

        | SQLSTATE | count | message | example |
        |---|--:|---|---|
        | `22007` | 12 | `invalid input syntax for type timestamp with time zone: "yester\|day"` | row 17, host `host_000008` |
        | `57014` | 1 | `canceling statement due to statement timeout` | row 199, host `host_000008` |

        ### Environment

        | Muster | 0.1.0 |
        |---|---|
        | Database | PostgreSQL 16.4, TimescaleDB 2.17.1 |
        | Settings | `jit=on`, `shared_buffers=128MB`, `work_mem=4MB` |
        | Query | `default`, prepared protocol, binary results: `SELECT time_bucket('1 minute', ts) AS minute, max(usage), min(usage) FROM cpu_usage WHERE host = $1` |
        | Started | 2026-11-23T10:00:00Z |
        | Command | `coordinator run data/query_params.csv --agents 2` |
        "#);
    }

    #[test]
    fn a_partial_result_is_marked_at_the_top() {
        let markdown = render(&fixtures::agent_lost());
        let head: Vec<&str> = markdown.lines().take(3).collect();
        assert_eq!(
            head,
            [
                "## Muster: DEGRADED · 150 queries, median 3.21 ms",
                "",
                "**Partial result**: agents were lost: 50 of 200 queries have no result.",
            ]
        );
        assert!(markdown.contains("100-139, 150, 190-198"), "{markdown}");
    }

    #[test]
    fn text_cannot_close_its_code_span() {
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`x`"), "`` `x` ``");
        assert_eq!(code("two\nlines"), "`two\\nlines`");
    }

    #[test]
    fn markup_in_a_quoted_name_is_escaped() {
        assert_eq!(plain("host 'a|b' <img> *all*"), "host 'a\\|b' \\<img\\> \\*all\\*");
    }
}
