//! What can be wrong with a workload, in sentences for the person who wrote the file. Rendering only; nothing is decided here.

use std::fmt;
use std::io;

use muster_common::ids::RowId;
use muster_common::limits::{RECORD_BYTES_MAX, ROWS_MAX};

use super::source::{Packing, Wanted};

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 60;
/// Columns of a header that a message shows.
const SHOWN_COLUMNS_MAX: usize = 20;

/// What other programs put between columns.
pub(super) const SEPARATORS: [char; 3] = [';', '\t', '|'];

#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("cannot open workload file '{file}': {source}")]
    Open { file: String, source: io::Error },
    #[error("workload file '{file}' is a directory; name a CSV file in it")]
    Directory { file: String },
    #[error("cannot read workload file '{file}' at byte {offset}: {source}")]
    Read { file: String, offset: u64, source: io::Error },
    #[error(
        "cannot spool '{file}' into a temporary file in '{directory}': {source}; TMPDIR names another directory"
    )]
    Spool { file: String, directory: String, source: io::Error },
    #[error("workload file '{file}' is {}", packing.advice(Wanted::Workload))]
    Packed { file: String, packing: Packing },
    #[error(
        "workload file '{file}' is empty; it needs a header line with the names of the columns, then one row per query"
    )]
    Empty { file: String },
    #[error("workload file '{file}' has a header and no rows; each row after the header is one query")]
    HeaderOnly { file: String },
    #[error("workload file '{file}' has no column {}", MissingColumns(.missing, .present))]
    MissingColumns { file: String, missing: Vec<MissingColumn>, present: Vec<String> },
    #[error(
        "workload file '{file}' has more than one column '{column}', so it is unclear which one is meant; rename the others"
    )]
    DuplicateColumn { file: String, column: String },
    #[error("{}:{}: the header cannot be read: {}", .0.file, .0.line, .0.fault)]
    Header(Box<BadRow>),
    #[error("workload file '{file}' has more than {ROWS_MAX} rows; split it, or take a part with --limit")]
    TooManyRows { file: String },
    #[error("{file}:{line}: more than 4 GiB of blank lines or bad records lie before this row; remove them")]
    Sparse { file: String, line: u64 },
    #[error("a limit of 0 rows leaves nothing to run; leave --limit out to run every row")]
    LimitZero,
    #[error("workload file '{file}' has {}", BadRows(*.count, .shown))]
    BadRows { file: String, count: u64, shown: Vec<BadRow> },
    #[error("workload file '{file}' has no good row left to run: {}", BadRows(*.count, .shown))]
    NoGoodRow { file: String, count: u64, shown: Vec<BadRow> },
    #[error(
        "workload file '{file}' changed while the run was reading it; leave the file alone during a run, or pipe it in with '-'"
    )]
    Changed { file: String },
    #[error("workload file '{file}' has no row {row}; its rows are 0 to {}", rows.saturating_sub(1))]
    NoSuchRow { file: String, row: RowId, rows: u32 },
}

/// A column that the run needs, and the name in the header that looks most like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingColumn {
    pub name: String,
    pub nearest: Option<String>,
    /// It was to name the hosts, which any column can.
    pub is_host: bool,
}

/// A record that cannot be run; shown as `query_params.csv:17: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {fault}")]
pub struct BadRow {
    pub file: String,
    /// Of the record's first line, from 1, blank lines and the header counted.
    pub line: u64,
    pub fault: Fault,
}

/// Why a record cannot be run. Values are shortened when shown and their control characters escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the quote that opens in this line is never closed")]
    UnclosedQuote,
    #[error(
        "the quote that opens in this line closes before other text: the end of its field is missing, or a quote within it is not written twice"
    )]
    TextAfterQuote,
    #[error("the record is longer than {RECORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("field count is {found} where the header has {expected}{}", if *.spans_lines { "; it spans several lines: is a quote closed too late?" } else { "" })]
    FieldCount {
        expected: usize,
        found: usize,
        /// A line break within quotes: a quote that is closed too late has this effect.
        spans_lines: bool,
    },
    #[error("{column} is empty; every row needs a host")]
    EmptyHost { column: String },
    #[error("{column} is not UTF-8; save the file as UTF-8")]
    NotUtf8 { column: String },
    #[error("{column} has a NUL byte, which PostgreSQL's text cannot hold")]
    Nul { column: String },
    #[error("{column} {} names no query of this run: {}", Quoted(.value), list(.known.iter().map(String::as_str)))]
    UnknownQuery { column: String, value: String, known: Vec<String> },
    #[error("{column} {} is not a time; write it like 2017-01-01 08:59:22", Quoted(.value))]
    UnreadableTime { column: String, value: String },
    #[error("{end_column} {} is before {start_column} {}", Quoted(.end), Quoted(.start))]
    EndBeforeStart { start_column: String, start: String, end_column: String, end: String },
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        let shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
        let rest = if chars.next().is_some() { "…" } else { "" };
        write!(f, "'{}{rest}'", shown.escape_debug())
    }
}

struct BadRows<'a>(u64, &'a [BadRow]);

impl fmt::Display for BadRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, shown) = *self;
        let rows = if count == 1 { "row" } else { "rows" };
        write!(f, "{count} bad {rows} (--on-bad-row skip runs the others):")?;
        for row in shown {
            write!(f, "\n  {row}")?;
        }
        match count.saturating_sub(shown.len() as u64) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

struct MissingColumns<'a>(&'a [MissingColumn], &'a [String]);

impl fmt::Display for MissingColumns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(missing, present) = *self;
        write!(f, "{}", list(missing.iter().map(|column| column.name.as_str())))?;
        write!(f, "; its header has {}", list(present.iter().take(SHOWN_COLUMNS_MAX).map(String::as_str)))?;
        if let Some(more) = present.len().checked_sub(SHOWN_COLUMNS_MAX + 1) {
            write!(f, " and {} more", more + 1)?;
        }
        for column in missing {
            if let Some(nearest) = &column.nearest {
                write!(f, "; is {} meant for '{}'?", Quoted(nearest), column.name)?;
            }
        }
        if missing.iter().any(|column| column.is_host) {
            write!(f, "; --host-column names another column for the hosts")?;
        }
        match present {
            [only] => match only.chars().find(|c| SEPARATORS.contains(c)) {
                Some(separator) => {
                    write!(f, "; columns are separated by ',' and not by {separator:?}")
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|name| Quoted(name).to_string()).collect();
    quoted.join(", ")
}
