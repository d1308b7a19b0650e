//! The measurements of a run as a table for other programs, one line a counted row: CSV or Parquet, in bounded memory.
//! Names are those of the JSON result, so that the two can be joined; nothing is computed.

mod csv_file;
mod parquet_file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use muster_common::ids::{RowId, WorkerId};
use muster_common::measurement::{Lag, Outcome, SqlState};
use muster_common::passes::Passes;
use parquet::errors::ParquetError;

use super::write;
use crate::journal::{JournalError, Sample};
use crate::workload::HostTable;

/// In this order in both formats. Times in nanoseconds, `start_ns` since the start of the run; of a failed query `result_rows` and
/// `result_bytes` are empty, of a completed one `sqlstate`.
const COLUMNS: [&str; 16] = [
    "row",
    "host",
    "slot",
    "worker",
    "attempt",
    "pass",
    "statement",
    "execution",
    "start_ns",
    "lag_ns",
    "queueing_ns",
    "generator_delay_ns",
    "service_time_ns",
    "result_rows",
    "result_bytes",
    "sqlstate",
];

/// One line: a counted row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRow<'a> {
    /// Position of the record among the data records, from 0.
    pub row: RowId,
    pub host: &'a str,
    pub worker: WorkerId,
    /// 1 unless lost sessions had the row before.
    pub attempt: u32,
    /// Which time the record is run, from 1.
    pub pass: u32,
    /// Position among the run's statements, from 0.
    pub statement: u16,
    /// Which execution of its statement on its connection, from 1; 0 where that is not known.
    pub execution: u32,
    pub start_ns: u64,
    pub lag: Lag,
    pub service_time_ns: u64,
    pub outcome: RowOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    Completed {
        rows: u64,
        /// Of column values.
        bytes: u64,
    },
    Failed(SqlState),
}

impl<'a> SampleRow<'a> {
    /// A sample of the journal with its names; `None` when there is no such host or worker.
    pub fn of(sample: &Sample, passes: &Passes, hosts: &'a HostTable, workers: &[WorkerId]) -> Option<Self> {
        Some(Self {
            row: passes.record_of(sample.row),
            host: (sample.host.index() < hosts.len()).then(|| hosts.name(sample.host))?,
            worker: *workers.get(usize::try_from(sample.worker).ok()?)?,
            attempt: sample.attempt,
            pass: passes.pass_of(sample.row) + 1,
            statement: sample.statement,
            execution: sample.execution,
            start_ns: sample.start_ns,
            lag: sample.lag,
            service_time_ns: sample.service_time_ns,
            outcome: match &sample.outcome {
                Outcome::Completed(answer) => {
                    RowOutcome::Completed { rows: answer.rows, bytes: answer.bytes }
                }
                Outcome::Failed(error) => RowOutcome::Failed(error.sqlstate),
            },
        })
    }
}

/// What `--samples` names: a file whose ending tells the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplesFile {
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Parquet,
}

impl FromStr for SamplesFile {
    type Err = UnknownEnding;

    fn from_str(text: &str) -> Result<Self, UnknownEnding> {
        let path = PathBuf::from(text);
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        let format = match ending.as_deref().and_then(|ending| ending.to_str()) {
            Some("csv") => Format::Csv,
            Some("parquet") => Format::Parquet,
            _ => return Err(UnknownEnding(text.to_owned())),
        };
        Ok(Self { path, format })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--samples: '{0}' does not tell its format; end it in .csv or .parquet")]
pub struct UnknownEnding(String);

impl SamplesFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file can be written, asked before a run rather than after it. Leaves nothing behind.
    pub fn check_writable(&self) -> Result<(), SamplesError> {
        write::check_file(&self.path).map_err(|error| self.error(Broken::Write(error)))
    }

    /// Writes all rows and returns how many they were. The file is there whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written, and when `rows` ends with an error.
    pub fn write<'a>(
        &self,
        rows: impl IntoIterator<Item = Result<SampleRow<'a>, JournalError>>,
    ) -> Result<u64, SamplesError> {
        let mut count = 0;
        let rows = rows.into_iter().inspect(|row| count += u64::from(row.is_ok()));
        let written = write::write_file(&self.path, |file| match self.format {
            Format::Csv => csv_file::write(file, rows),
            Format::Parquet => parquet_file::write(file, rows),
        });
        match written {
            Ok(()) => Ok(count),
            Err(broken) => Err(self.error(broken)),
        }
    }

    fn error(&self, broken: Broken) -> SamplesError {
        match broken {
            Broken::Read(error) => SamplesError::Journal(error),
            Broken::Write(source) => SamplesError::Write { path: self.path.clone(), source },
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    #[error("cannot write the samples to '{}': {}", path.display(), write::reason(source))]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Journal(JournalError),
}

/// What ended the writing: the place that the rows come from or the one that they go to.
#[derive(Debug)]
enum Broken {
    Read(JournalError),
    Write(io::Error),
}

impl From<JournalError> for Broken {
    fn from(error: JournalError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<ParquetError> for Broken {
    fn from(error: ParquetError) -> Self {
        Self::Write(match error {
            // What the disk said, so that a full one is told as such.
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(other) => io::Error::other(other),
            },
            other => io::Error::other(other),
        })
    }
}

impl From<csv::Error> for Broken {
    fn from(error: csv::Error) -> Self {
        Self::Write(error.into())
    }
}

impl fmt::Display for SamplesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
