//! A `cpu_usage.csv` of the user's own: columns ts, host and usage, in any order, others ignored.

use std::fs::File;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Microseconds since 1970 in UTC.
    pub ts_us: i64,
    pub host: String,
    pub usage: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    #[error("cannot read '{file}': {source}")]
    Open { file: String, source: io::Error },
    #[error("'{file}' has no column '{column}'; it has: {found}")]
    MissingColumn { file: String, column: &'static str, found: String },
    #[error("{file}:{line}: {problem}")]
    BadRow { file: String, line: u64, problem: String },
}

/// The rows of a file, read as they are asked for.
pub(super) struct SamplesCsv {
    file: String,
    reader: csv::Reader<File>,
    record: csv::StringRecord,
    columns: [usize; 3],
}

impl SamplesCsv {
    pub(super) fn open(path: &Path) -> Result<Self, SamplesError> {
        let file = path.display().to_string();
        let opened = File::open(path).map_err(|source| SamplesError::Open { file: file.clone(), source })?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(opened);
        let header = reader.headers().map_err(|error| bad_row(&file, 1, &error))?.clone();
        let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
        let find = |column: &'static str| {
            names.iter().position(|name| *name == column).ok_or_else(|| SamplesError::MissingColumn {
                file: file.clone(),
                column,
                found: names.join(", "),
            })
        };
        let columns = [find("ts")?, find("host")?, find("usage")?];
        Ok(Self { file, reader, record: csv::StringRecord::new(), columns })
    }

    fn read(&mut self) -> Result<Option<Row>, SamplesError> {
        let line = self.reader.position().line();
        match self.reader.read_record(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let line = self.record.position().map_or(line, csv::Position::line);
                self.row().map(Some).map_err(|problem| bad_row(&self.file, line, &problem))
            }
            Err(error) => Err(bad_row(&self.file, line, &error)),
        }
    }

    fn row(&self) -> Result<Row, String> {
        let [ts, host, usage] = self.columns.map(|column| self.record.get(column).unwrap_or_default());
        if host.is_empty() {
            return Err("the host is empty".to_owned());
        }
        let ts_us =
            microseconds(ts).ok_or_else(|| format!("'{ts}' is not a time such as 2017-01-01 08:59:22"))?;
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

/// With an offset or, without one, in UTC.
fn microseconds(text: &str) -> Option<i64> {
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()?,
    };
    Some(timestamp.as_microsecond())
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
        let start = 1_483_228_800_000_000;
        let row = |host: &str, usage| Row { ts_us: start, host: host.to_owned(), usage };
        assert_eq!(read(text).unwrap(), [row("a", 1.5), row("b", 2.0)]);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let header = "ts,host,usage\n2017-01-01 00:00:00,a,1\n";
        let check =
            |row: &str, expected: &str| assert_eq!(read(&format!("{header}{row}\n")).unwrap_err(), expected);
        check("soon,a,1", "x.csv:3: 'soon' is not a time such as 2017-01-01 08:59:22");
        check("2017-01-01 00:00:00,,1", "x.csv:3: the host is empty");
        check("2017-01-01 00:00:00,a,much", "x.csv:3: usage 'much' is not a number");
    }

    #[test]
    fn a_missing_column_is_named_with_those_that_there_are() {
        assert_eq!(
            read("time,host,usage\n").unwrap_err(),
            "'x.csv' has no column 'ts'; it has: time, host, usage"
        );
    }
}
