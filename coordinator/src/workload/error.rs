//! The errors of a workload file and their messages. This module renders messages; the checks are made elsewhere.

use std::fmt;
use std::io;

use muster_core::ids::RowId;
use muster_core::limits::{RECORD_BYTES_MAX, ROWS_MAX};

use super::file_format::{ExpectedContent, FileFormat};

/// The maximum number of characters of a value in a message.
const SHOWN_CHARS_MAX: usize = 60;
/// The maximum number of header columns in a message.
const SHOWN_COLUMNS_MAX: usize = 20;

/// Column separators that other programs use.
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
        "cannot spool '{file}' into a temporary file in '{directory}': {source}; set TMPDIR to another directory"
    )]
    Spool { file: String, directory: String, source: io::Error },
    #[error("workload file '{file}' is {}", format.hint(ExpectedContent::Workload))]
    WrongFormat { file: String, format: FileFormat },
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
    #[error(
        "workload file '{file}' has more than {ROWS_MAX} rows; split the file, or use --limit to run a part of it"
    )]
    TooManyRows { file: String },
    #[error("{file}:{line}: more than 4 GiB of blank lines or bad records lie before this row; remove them")]
    Sparse { file: String, line: u64 },
    #[error("a limit of 0 rows leaves no row to run; omit --limit to run every row")]
    LimitZero,
    #[error("workload file '{file}' has {}", BadRows(*.count, .shown))]
    BadRows { file: String, count: u64, shown: Vec<BadRow> },
    #[error("workload file '{file}' has no valid row to run: {}", BadRows(*.count, .shown))]
    NoGoodRow { file: String, count: u64, shown: Vec<BadRow> },
    #[error(
        "workload file '{file}' changed while the run was reading it; do not modify the file during a run, or pipe it in with '-'"
    )]
    Changed { file: String },
    #[error("workload file '{file}' has no row {row}; its rows are 0 to {}", rows.saturating_sub(1))]
    NoSuchRow { file: String, row: RowId, rows: u32 },
}

/// A column that the run needs, and the most similar name in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingColumn {
    pub name: String,
    pub nearest: Option<String>,
    /// True for the host column, which `--host-column` can change.
    pub is_host: bool,
}

/// A record that cannot be run; shown as `query_params.csv:17: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {fault}")]
pub struct BadRow {
    pub file: String,
    /// The number of the record's first line, from 1, including blank lines and the header.
    pub line: u64,
    pub fault: Fault,
}

/// The reason why a record cannot be run. Messages shorten values and escape their control characters.
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
    #[error("field count is {found} where the header has {expected}{}", if *.spans_lines { "; it spans several lines: check for a quote that is closed too late" } else { "" })]
    FieldCount {
        expected: usize,
        found: usize,
        /// True when the record contains a line break within quotes, which is the effect of a quote that is closed too late.
        spans_lines: bool,
    },
    #[error("{column} is empty; every row needs a host")]
    EmptyHost { column: String },
    #[error("{column} is not UTF-8; save the file as UTF-8")]
    NotUtf8 { column: String },
    #[error("{column} has a NUL byte, which PostgreSQL's text cannot hold")]
    Nul { column: String },
    #[error("{column} {} is not a query of this run; its queries are {}", Quoted(.value), list(.known.iter().map(String::as_str)))]
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
        write!(f, "{count} bad {rows} (use --on-bad-row skip to run the others):")?;
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
            write!(f, "; use --host-column to name another host column")?;
        }
        match present {
            [only] => match only.chars().find(|c| SEPARATORS.contains(c)) {
                Some(separator) => {
                    write!(f, "; columns must be separated by ',' instead of {separator:?}")
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
