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

use muster_core::ids::{RowId, WorkerId};
use muster_core::passes::Passes;
use muster_core::sample::Sample;
use parquet::errors::ParquetError;

use super::write;
use crate::journal::{CountedSample, JournalError};
use crate::workload::HostTable;
use csv_file::CsvFile;
use parquet_file::ParquetFile;

/// One record: a counted row. The columns are row, host, slot, worker, attempt, pass, those of [`visit`](muster_core::sample::columns::visit)
/// and sqlstate, in this order. The columns of an answer are empty for a failed query, and `sqlstate` for a
/// completed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRow<'s, 'h> {
    /// Position of the record among the data records, from 0.
    pub record: RowId,
    pub host: &'h str,
    pub worker: WorkerId,
    /// 1, plus the number of lost sessions that had the row before.
    pub attempt: u32,
    /// The pass over the workload, from 1.
    pub pass: u32,
    pub sample: &'s Sample,
}

impl<'s, 'h> SampleRow<'s, 'h> {
    /// Adds the names of host and worker to a counted sample; `None` if there is no such host or worker.
    pub fn of(
        counted: &'s CountedSample,
        passes: &Passes,
        hosts: &'h HostTable,
        workers: &[WorkerId],
    ) -> Option<Self> {
        let CountedSample { host, worker, attempt, sample } = counted;
        Some(Self {
            record: passes.record_of(sample.row),
            host: (host.index() < hosts.len()).then(|| hosts.name(*host))?,
            worker: *workers.get(usize::try_from(*worker).ok()?)?,
            attempt: *attempt,
            pass: passes.pass_of(sample.row) + 1,
            sample,
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

    /// Writes the samples for which `row` returns a row, and returns their number. The file is written completely or not at all.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written or `samples` yields an error.
    pub fn write<'h>(
        &self,
        samples: impl IntoIterator<Item = Result<CountedSample, JournalError>>,
        row: impl for<'s> Fn(&'s CountedSample) -> Option<SampleRow<'s, 'h>>,
    ) -> Result<u64, SamplesError> {
        let mut count = 0;
        let written = write::write_file(&self.path, |file| {
            let mut writer: Box<dyn RowWriter> = match self.format {
                Format::Csv => Box::new(CsvFile::create(file)?),
                Format::Parquet => Box::new(ParquetFile::create(file)?),
            };
            for counted in samples {
                if let Some(row) = row(&counted?) {
                    writer.write(&row)?;
                    count += 1;
                }
            }
            writer.finish()
        });
        written.map(|()| count).map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> SamplesError {
        match failure {
            Failure::Read(error) => SamplesError::Journal(error),
            Failure::Write(source) => SamplesError::Write { path: self.path.clone(), source },
        }
    }
}

/// Writes one format.
trait RowWriter {
    fn write(&mut self, row: &SampleRow<'_, '_>) -> Result<(), Failure>;

    /// Called once, after the last row.
    fn finish(&mut self) -> Result<(), Failure>;
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
