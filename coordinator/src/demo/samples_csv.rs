//! Reads a user-supplied `cpu_usage.csv` with the columns ts, host and usage in any order. Other columns are ignored.

use std::io;
use std::path::Path;

use crate::workload::{CsvFile, ExpectedContent, FileFormat, WorkloadError, microseconds_since_2000};

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Microseconds since 2000 in UTC, as PostgreSQL stores them: the ends of the range are its infinities.
    pub ts_us: i64,
    pub host: String,
    pub usage: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    #[error("cannot read '{file}': {source}")]
    Open { file: String, source: io::Error },
    #[error("'{file}' is {}", format.hint(ExpectedContent::Data))]
    WrongFormat { file: String, format: FileFormat },
    #[error("'{file}' is empty; it needs a header line with the columns ts, host and usage")]
    Empty { file: String },
    #[error("'{file}' has no column '{column}'; it has: {found}")]
    MissingColumn { file: String, column: &'static str, found: String },
    #[error("{file}:{line}: {problem}")]
    BadRow { file: String, line: u64, problem: String },
    #[error(transparent)]
    Unreadable(WorkloadError),
}

impl From<WorkloadError> for SamplesError {
    fn from(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Open { file, source } | WorkloadError::Read { file, source, .. } => {
                Self::Open { file, source }
            }
            WorkloadError::WrongFormat { file, format } => Self::WrongFormat { file, format },
            other => Self::Unreadable(other),
        }
    }
}

/// An iterator over the rows of a file, which are read on demand.
pub(super) struct SamplesCsv {
    file: String,
    csv: CsvFile,
    /// The number of fields in the header.
    fields: usize,
    columns: [usize; 3],
}

impl SamplesCsv {
    pub(super) fn open(path: &Path) -> Result<Self, SamplesError> {
        let file = path.display().to_string();
        let mut csv = CsvFile::open(path)?;
        match csv.read()? {
            None => return Err(SamplesError::Empty { file }),
            Some((line, Err(fault))) => return Err(bad_row(&file, line, &fault)),
            Some((_, Ok(()))) => {}
        }
        let fields = csv.len();
        let names: Vec<_> =
            (0..fields).map(|position| String::from_utf8_lossy(csv.field(position)).into_owned()).collect();
        let find = |column: &'static str| {
            names.iter().position(|name| *name == column).ok_or_else(|| SamplesError::MissingColumn {
                file: file.clone(),
                column,
                found: names.join(", "),
            })
        };
        let columns = [find("ts")?, find("host")?, find("usage")?];
        Ok(Self { file, csv, fields, columns })
    }

    fn read(&mut self) -> Result<Option<Row>, SamplesError> {
        let Some((line, found)) = self.csv.read()? else { return Ok(None) };
        let row = found.map_err(|fault| fault.to_string()).and_then(|()| self.row());
        row.map(Some).map_err(|problem| bad_row(&self.file, line, &problem))
    }

    fn row(&self) -> Result<Row, String> {
        if self.csv.len() != self.fields {
            return Err(format!("field count is {} where the header has {}", self.csv.len(), self.fields));
        }
        let text = |position: usize, name: &str| {
            let text = std::str::from_utf8(self.csv.field(position)).ok().filter(|text| !text.contains('\0'));
            text.ok_or_else(|| format!("{name} is not UTF-8, or has a NUL byte; save the file as UTF-8"))
        };
        let [ts, host, usage] = self.columns;
        let (ts, host, usage) = (text(ts, "ts")?, text(host, "host")?, text(usage, "usage")?);
        if host.is_empty() {
            return Err("the host is empty".to_owned());
        }
        let ts_us = microseconds_since_2000(ts.as_bytes())
            .ok_or_else(|| format!("'{ts}' is not a time such as 2017-01-01 08:59:22"))?;
        let usage = usage.parse().map_err(|_| format!("usage '{usage}' is not a number"))?;
        Ok(Row { ts_us, host: host.to_owned(), usage })
    }
}

impl Iterator for SamplesCsv {
    type Item = Result<Row, SamplesError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn bad_row(file: &str, line: u64, problem: &dyn std::fmt::Display) -> SamplesError {
    SamplesError::BadRow { file: file.to_owned(), line, problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Row>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.csv");
        std::fs::write(&path, text).unwrap();
        let rows = SamplesCsv::open(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        rows.map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn columns_come_in_any_order_and_times_with_or_without_an_offset() {
        let text = "\u{feff}host,extra,usage,ts\r\na,x,1.5,2017-01-01 00:00:00\r\nb,x,2,2017-01-01T01:00:00+01:00\r\n";
        let start = 6_210 * 86_400_000_000;
        let row = |host: &str, usage| Row { ts_us: start, host: host.to_owned(), usage };
        assert_eq!(read(text).unwrap(), [row("a", 1.5), row("b", 2.0)]);
        let others =
            "ts,host,usage\n2016-12-31 24:00:00 UTC,a,1\n2017-01-01 00:00:00.0000004,b,2\ninfinity,c,3\n";
        let infinite = Row { ts_us: i64::MAX, ..row("c", 3.0) };
        assert_eq!(read(others).unwrap(), [row("a", 1.0), row("b", 2.0), infinite]);
    }

    #[test]
    fn an_unclosed_quote_is_reported_by_line() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                read(&format!("ts,host,usage\n2017-01-01 00:00:00,a,1\n{text}\n")).unwrap_err(),
                expected
            );
        };
        check(
            "2017-01-01 00:00:00,\"b,2\n2017-01-01 00:00:00,c,3",
            "x.csv:3: the quote that opens in this line is never closed",
        );
        let problem = read("ts,host,usage\n2017-01-01,\"b,2\n2017-01-01,\"c\",3\n").unwrap_err();
        assert!(
            problem.starts_with("x.csv:2: the quote that opens in this line closes before other text"),
            "{problem}"
        );
        check("2017-01-01 00:00:00,b", "x.csv:3: field count is 2 where the header has 3");
        assert_eq!(
            read("\"ts,host,usage\n").unwrap_err(),
            "x.csv:1: the quote that opens in this line is never closed"
        );
    }

    #[test]
    fn a_file_that_is_not_csv_is_reported_with_its_format() {
        assert_eq!(
            read("").unwrap_err(),
            "'x.csv' is empty; it needs a header line with the columns ts, host and usage"
        );
        assert_eq!(read("PAR1\x15\0").unwrap_err(), "'x.csv' is a Parquet file; export it as CSV in UTF-8");
        assert_eq!(
            read("t\0s\0,\0h\0o\0").unwrap_err(),
            "'x.csv' is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 FILE"
        );
    }

    #[test]
    fn a_bad_row_is_reported_by_line() {
        let header = "ts,host,usage\n2017-01-01 00:00:00,a,1\n";
        let check =
            |row: &str, expected: &str| assert_eq!(read(&format!("{header}{row}\n")).unwrap_err(), expected);
        check("soon,a,1", "x.csv:3: 'soon' is not a time such as 2017-01-01 08:59:22");
        check("2017-01-01 00:00:00,,1", "x.csv:3: the host is empty");
        check("2017-01-01 00:00:00,a,much", "x.csv:3: usage 'much' is not a number");
    }

    #[test]
    fn a_missing_column_is_reported_with_the_present_columns() {
        assert_eq!(
            read("time,host,usage\n").unwrap_err(),
            "'x.csv' has no column 'ts'; it has: time, host, usage"
        );
    }
}
