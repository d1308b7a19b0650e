//! The measurements of a run as a table for other programs, one record per counted row, as CSV or Parquet, in bounded memory. Names are the
//! same as in the JSON result, so that the two can be joined. Nothing is computed.

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

/// The columns of both formats, in this order. Times are in nanoseconds; `start_ns` counts from the start of the run. `result_rows` and
/// `result_bytes` are empty for a failed query, and `sqlstate` for a completed one.
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

/// One record: a counted row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRow<'a> {
    /// Position of the record among the data records, from 0.
    pub row: RowId,
    pub host: &'a str,
    pub worker: WorkerId,
    /// 1, plus the number of lost sessions that had the row before.
    pub attempt: u32,
    /// The pass over the workload, from 1.
    pub pass: u32,
    /// Position among the run's statements, from 0.
    pub statement: u16,
    /// The number of the execution of the statement on its connection, from 1; 0 if unknown.
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
        /// Total size of the column values.
        bytes: u64,
    },
    Failed(SqlState),
}

impl<'a> SampleRow<'a> {
    /// Adds the names of host and worker to a sample of the journal; `None` if there is no such host or worker.
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

/// The file of `--samples`. Its extension determines the format.
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
    type Err = UnknownExtension;

    fn from_str(text: &str) -> Result<Self, UnknownExtension> {
        let path = PathBuf::from(text);
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        let format = match extension.as_deref().and_then(|extension| extension.to_str()) {
            Some("csv") => Format::Csv,
            Some("parquet") => Format::Parquet,
            _ => return Err(UnknownExtension(text.to_owned())),
        };
        Ok(Self { path, format })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--samples: '{0}' has no known extension; use .csv or .parquet")]
pub struct UnknownExtension(String);

impl SamplesFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file can be written. Leaves no files behind.
    ///
    /// # Errors
    /// Returns the reason why it cannot be written.
    pub fn check_writable(&self) -> Result<(), SamplesError> {
        write::check_file(&self.path).map_err(|error| self.error(Failure::Write(error)))
    }

    /// Writes all rows and returns their number. The file is written completely or not at all.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written or `rows` yields an error.
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
            Err(failure) => Err(self.error(failure)),
        }
    }

    fn error(&self, failure: Failure) -> SamplesError {
        match failure {
            Failure::Read(error) => SamplesError::Journal(error),
            Failure::Write(source) => SamplesError::Write { path: self.path.clone(), source },
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

/// An error of the source of the rows or of the file.
#[derive(Debug)]
enum Failure {
    Read(JournalError),
    Write(io::Error),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        Self::Write(match error {
            // The original I/O error is returned, so that a full disk is reported as such.
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(other) => io::Error::other(other),
            },
            other => io::Error::other(other),
        })
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        Self::Write(error.into())
    }
}

impl fmt::Display for SamplesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
