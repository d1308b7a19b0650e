//! Renders a report as Markdown, for a pull request or a wiki. Long lists of agents and hosts are left out. External text is put into code
//! spans, in which Markdown has no meaning.

use muster_core::printable::{harmless, printable};

use crate::result::Error;

use super::report::model::{
    Block, Check, Field, Listing, Note, NoteKind, Report, Section, SectionKind, Span, Title,
};
use super::report::table::{Cell, ColumnKind, Table};
use super::text::page::shorten;
use super::units::{NONE, count};

const MESSAGE_CHARS_MAX: usize = 200;

pub fn render(report: &Report) -> String {
    let mut blocks = Vec::new();
    if let Some(Title { status, subject, summary }) = &report.title {
        blocks.push(format!("## Muster: {status} · {}", plain(summary)));
        blocks.push(plain(subject));
    }
    blocks.push(notes(&report.notes));
    for section in report.sections.iter().filter(|section| section.kind != SectionKind::Detail) {
        blocks.push(heading(section));
        blocks.extend(section.blocks.iter().map(block));
    }
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

fn heading(section: &Section) -> String {
    let of = section.of.as_ref().map_or(String::new(), |of| format!(" of {of}"));
    let about = section.about.as_ref().map_or(String::new(), |about| format!(" · {}", span(about)));
    format!("### {}{of}{about}", section.name)
}

fn block(block: &Block) -> String {
    match block {
        Block::Fields(fields) => self::fields(fields),
        Block::Table(table) => self::table(table),
        Block::Notes(notes) => self::notes(notes),
        Block::Checks(checks) => self::checks(checks),
        Block::Failures(errors) => failures(errors),
        Block::Listing(listing) => self::listing(listing),
    }
}

fn fields(fields: &[Field]) -> String {
    let shown = fields.iter().filter(|field| !field.parts.is_empty());
    let row = |field: &Field| {
        let parts: Vec<String> = field.parts.iter().map(span).collect();
        [capitalized(field.label), parts.join(", ")]
    };
    grid(["", ""].map(|heading| (heading, ColumnKind::Label)), shown.map(row))
}

fn span(span: &Span) -> String {
    match span {
        Span::Words(text) => plain(text),
        Span::Name(text) | Span::Path(text) | Span::Code(text) => code(text),
    }
}

fn table(Table { columns, rows }: &Table) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Name(name) => code(name),
        // Only at the start of a line # is markup.
        Cell::Bar(_) => cell.to_string(),
        other => plain(&other.to_string()),
    };
    let rows = rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>());
    grid(columns.iter().map(|column| (column.heading, column.kind)), rows)
}

/// A table of cells that are Markdown already; empty without rows.
fn grid(
    columns: impl IntoIterator<Item = (&'static str, ColumnKind)>,
    rows: impl IntoIterator<Item = impl AsRef<[String]>>,
) -> String {
    let mut lines = [String::from("|"), String::from("|")];
    for (heading, kind) in columns {
        lines[0] += &format!(" {heading} |");
        lines[1] += if kind == ColumnKind::Number { "--:|" } else { "---|" };
    }
    let rows: Vec<String> =
        rows.into_iter().map(|cells| format!("| {} |", cells.as_ref().join(" | "))).collect();
    if rows.is_empty() { String::new() } else { format!("{}\n{}", lines.join("\n"), rows.join("\n")) }
}

fn notes(notes: &[Note]) -> String {
    let note = |note: &Note| {
        let text = plain(&note.text);
        match &note.kind {
            NoteKind::Sentence => text,
            NoteKind::Problem => format!("- {text}"),
            NoteKind::Partial => format!("- **Partial result**: {text}"),
            NoteKind::Observation => format!("- **Note**: {text}"),
            NoteKind::Finding(finding) => format!("- **{finding}**: {text}"),
            NoteKind::About(what) | NoteKind::Labelled(what) => format!("- {}: {text}", plain(what)),
            NoteKind::At(ms) => format!("- {:.3} s: {text}", ms / 1e3),
        }
    };
    notes.iter().map(note).collect::<Vec<_>>().join("\n")
}

fn checks(checks: &[Check]) -> String {
    let row = |check: &Check| {
        let passed = if check.passed { "passed" } else { "**missed**" };
        let note = check.note.as_ref().map_or(String::new(), |note| format!(": {}", plain(note)));
        let value = check.value.as_deref().unwrap_or(NONE);
        [code(&check.expression), plain(value), format!("{passed}{note}")]
    };
    let columns = [("threshold", ColumnKind::Label), ("value", ColumnKind::Number), ("", ColumnKind::Label)];
    grid(columns, checks.iter().map(row))
}

fn failures(errors: &[Error]) -> String {
    let short = |text: &str| code(&shorten(text, MESSAGE_CHARS_MAX));
    let row = |error: &Error| {
        let named = |name: &str, text: &Option<String>| {
            text.as_ref().map_or(String::new(), |text| format!(" {name}: {}", short(text)))
        };
        let (detail, hint) = (named("detail", &error.detail), named("hint", &error.hint));
        let message = short(&error.message) + &detail + &hint;
        let example = format!("row {}, host {}", error.row, code(&error.host));
        [code(&error.sqlstate), count(error.count), message, example]
    };
    let label = |heading| (heading, ColumnKind::Label);
    let columns = [label("SQLSTATE"), ("count", ColumnKind::Number), label("message"), label("example")];
    grid(columns, errors.iter().map(row))
}

fn listing(Listing { title, lines, problem }: &Listing) -> String {
    let content = match problem {
        Some(problem) => format!("No plan: {}", plain(problem)),
        None => {
            let fence = fence(lines);
            let lines: Vec<String> = lines.iter().map(|line| printable(line)).collect();
            format!("{fence}\n{}\n{fence}", lines.join("\n"))
        }
    };
    format!("<details><summary>{}</summary>\n\n{content}\n\n</details>", html(title))
}

fn capitalized(label: &str) -> String {
    let mut chars = label.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Puts external text into a code span. The fence has more backticks than any run of backticks in the text, so the text cannot close the
/// span. The `|` of a table must be escaped even in a code span.
fn code(text: &str) -> String {
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
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        if matches!(c, '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '~') {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

/// Returns a fence with more backticks than any run of backticks in the lines.
fn fence(lines: &[String]) -> String {
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max();
    "`".repeat(longest.unwrap_or(0).max(2) + 1)
}

fn html(text: &str) -> String {
    harmless(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{code, fence, plain};
    use crate::{Format, fixtures, render};

    #[test]
    fn markdown_of_a_run_with_failures() {
        insta::assert_snapshot!(render(Format::Markdown, &fixtures::failures()), @r#"
        ## Muster: VALID · 187 queries, median 3.21 ms

        run 20261123-7f3a · started 2026-11-23T10:00:00Z

        - **Note**: slot-1 (db2/4712) takes 2.00× as long as the other agents, median 6.42 ms against 3.21 ms: its machine or network may be slow, or its hosts cost more

        ### Run

        |  |  |
        |---|---|
        | Workload | `data/query_params.csv`, 200 rows, 10 hosts, sha256 9f86d081884c |
        | Load | closed loop |
        | Queries | 200 total, 187 completed, 13 failed, 0 unaccounted, 3 bad rows skipped |
        | Total processing time | 1.04 s |
        | Wall time | 312 ms, 641 queries/s, start skew 412 µs |
        | Result | 12,162 rows, 291,888 bytes, digest 0123456789abcdef |
        | Connect | 2 connections, median 6.42 ms, max 25.0 ms |
        | Prepare | 2 connections, median 321 µs, max 1.25 ms |

        ### Latency of 187 queries

        |  | service | 95 % interval |
        |---|--:|---|
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

        | threshold | value |  |
        |---|--:|---|
        | `p95 < 10 ms` | 8.20 ms | passed |
        | `failed = 0` | 13 queries | **missed** |

        ### Placement

        |  |  |
        |---|---|
        | Placement | rendezvous, 4 workers, 1 idle, skew 2.90×, uneven: too few hosts for even hashing, try --placement balanced |

        ### Errors · by SQLSTATE and message; row ids count from 0

        | SQLSTATE | count | message | example |
        |---|--:|---|---|
        | `22007` | 12 | `invalid input syntax for type timestamp with time zone: "yester\|day"` | row 17, host `host_000008` |
        | `57014` | 1 | `canceling statement due to statement timeout` | row 199, host `host_000008` |

        ### Environment

        |  |  |
        |---|---|
        | Database | PostgreSQL 16.4, TimescaleDB 2.17.1 |
        | Settings | `jit=on`, `shared_buffers=128MB`, `work_mem=4MB` |
        | Query | `default`, prepared protocol, binary results, buckets by time\_bucket, `SELECT time_bucket('1 minute', ts) AS minute, max(usage), min(usage) FROM cpu_usage WHERE host = $1` |
        | Muster | 0.1.0 |
        | Command | `coordinator run data/query_params.csv --agents 2` |
        "#);
    }

    #[test]
    fn a_partial_result_is_marked_at_the_top() {
        let markdown = render(Format::Markdown, &fixtures::agent_lost());
        let head: Vec<&str> = markdown.lines().filter(|line| !line.is_empty()).take(4).collect();
        assert_eq!(
            head,
            [
                "## Muster: DEGRADED · 150 queries, median 3.21 ms",
                "run 20261123-7f3a · started 2026-11-23T10:00:00Z",
                "- slot-1 was lost and not replaced; keep its machine running, or use --on-agent-loss reassign",
                "- **Partial result**: agents were lost: 50 of 200 queries have no result",
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

    #[test]
    fn a_plan_cannot_close_its_fence() {
        assert_eq!(fence(&["a".to_owned()]), "```");
        assert_eq!(fence(&["Filter: (a = '````')".to_owned()]), "`````");
    }
}
