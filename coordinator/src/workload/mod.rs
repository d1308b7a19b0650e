//! The workload: the queries of a run, as a CSV file of their parameters.
//!
//! The file is read in two passes and its text is not kept in memory. [`open`] reads and checks every record once and hashes the file. It
//! stores 8 bytes per row (offset and host) and one checksum per KiB of the file. [`Workload::by_worker`] adds 4 bytes per row for the row
//! list of each worker. A [`RowReader`] reads a row again just before it is sent. This module does not depend on agents, gRPC or the
//! statement's text.

mod check;
mod column;
mod csv_file;
mod error;
mod file_format;
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod hosts;
mod index;
mod lines;
mod mix;
mod quotes;
mod reader;
mod records;
mod source;
mod time;

#[cfg(test)]
mod tests;

use std::path::Path;

use muster_core::ids::RowId;
use serde::{Deserialize, Serialize};

pub(crate) use csv_file::CsvFile;
pub use error::{BadRow, Fault, MissingColumn, WorkloadError};
pub(crate) use file_format::ExpectedContent;
pub use file_format::FileFormat;
pub use hosts::{HostIndex, HostTable};
pub use mix::{Mix, MixStatement, QUERY_COLUMN};
pub use reader::RowReader;
pub use source::FileStamp;
pub(crate) use time::microseconds_since_2000;

/// The default of `--host-column`.
pub const HOST_COLUMN: &str = "hostname";

/// Which columns to read, how to check them, and what to do with rows that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub host_column: String,
    /// The columns that the statement's placeholders name, in the order of `$1`, `$2`, …; a name may occur more than once.
    /// For a mix, all columns that any statement needs.
    pub parameters: Vec<String>,
    /// `None` for a single statement.
    #[serde(default)]
    pub mix: Option<Mix>,
    pub checks: Checks,
    pub on_bad_row: OnBadRow,
    /// Reads at most this many valid rows, at least 1. The rest of the file is hashed but neither parsed nor checked.
    pub limit: Option<u64>,
}

/// The checks of the values that are made before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checks {
    /// The default query: two columns hold times, and the second must not be before the first.
    DemoWindow {
        start_time: String,
        end_time: String,
        /// The time zone of the sessions, which applies to times without an offset. `None` if it is not known.
        #[serde(default)]
        timezone: Option<String>,
    },
    /// A user-defined statement, with parameters of any type.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// Report the bad rows and run nothing.
    #[default]
    Fail,
    /// Run the other rows and report which were skipped.
    Skip,
}

/// The size of one read of [`Workload::verify`]. A multiple of the size of a checksummed piece.
const VERIFIED_BYTES: usize = 256 << 10;

/// The progress of [`open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub bytes: u64,
    /// `None` while standard input is spooled.
    pub bytes_total: Option<u64>,
    /// Valid rows so far.
    pub rows: u32,
}

/// Called about every 256 KiB, some hundred times a second: the callee decides how often to draw.
pub type ProgressFn<'a> = &'a mut dyn FnMut(Progress);

/// Reads and checks a whole CSV file; `-` is standard input. Blocks for about one second per few million rows.
///
/// # Errors
/// Fails when the file cannot be read or is not a valid workload, and when it has bad rows unless `on_bad_row` is `Skip`.
pub fn open(path: &Path, options: &Options, progress: ProgressFn<'_>) -> Result<Workload, WorkloadError> {
    let source = source::Source::open(path, progress)?;
    index::read(source, options, progress)
}

/// The index of a file whose rows were read and checked. The file stays open.
#[derive(Debug)]
pub struct Workload {
    source: source::Source,
    sha256: String,
    checksums: source::Checksums,
    columns: header::Columns,
    hosts: HostTable,
    host_of_row: column::Column,
    choice: mix::Choice,
    offsets: column::Offsets,
    rows: u32,
    skipped: u64,
    bad: Vec<BadRow>,
}

impl Workload {
    /// The file's name as typed; `-` for standard input.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The SHA-256 of the whole file, as 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// True when the file was written to since it was opened, or when its path names another file. Rows stay valid: a reader verifies the
    /// bytes that it reads.
    pub fn has_changed(&self) -> bool {
        self.source.has_changed()
    }

    /// The file's current size and modification time. `None` for a copy of standard input.
    pub fn file_stamp(&self) -> Option<FileStamp> {
        self.source.stamp()
    }

    /// The file's size and modification time when it was opened. `None` for a copy of standard input.
    pub fn opened_file_stamp(&self) -> Option<FileStamp> {
        self.source.opened_stamp()
    }

    /// Reads the whole file again and verifies its checksums. Blocks.
    ///
    /// # Errors
    /// Fails when the bytes differ from those of the first pass. Bytes that were appended later are ignored.
    pub fn verify(&self) -> Result<(), WorkloadError> {
        let mut block = vec![0; VERIFIED_BYTES];
        let mut offset = 0;
        while offset < self.checksums.bytes() {
            offset += self.source.read_again(&self.checksums, &mut block, offset)? as u64;
        }
        Ok(())
    }

    /// The number of valid rows; their ids are 0 to `rows - 1`. Bad records have no id.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn hosts(&self) -> &HostTable {
        &self.hosts
    }

    /// The number of bad records that were skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The first skipped records, at most `BAD_ROWS_SHOWN`.
    pub fn bad(&self) -> &[BadRow] {
        &self.bad
    }

    /// The host of a row. `None` when the row does not exist.
    pub fn host_of(&self, row: RowId) -> Option<HostIndex> {
        self.host_of_row.get(row).map(HostIndex::new)
    }

    /// The position of the statement that a row runs.
    pub fn statement_of(&self, row: RowId) -> u16 {
        self.choice.of(row)
    }

    /// The rows of each of `workers` workers, in file order. `worker_of_host` maps each host index to its worker.
    ///
    /// # Panics
    /// Panics when `worker_of_host` belongs to another workload or contains a worker that does not exist.
    pub fn by_worker(&self, worker_of_host: &[u32], workers: usize) -> Vec<Vec<RowId>> {
        assert_eq!(worker_of_host.len(), self.hosts.len(), "every host has one worker");
        let mut rows_of_worker = vec![0; workers];
        for (host, _, rows) in self.hosts.iter() {
            rows_of_worker[worker_of_host[host.index()] as usize] += rows as usize;
        }
        // The exact capacity: growing by doubling could take twice the memory of the rows.
        let mut queues: Vec<Vec<RowId>> = rows_of_worker.into_iter().map(Vec::with_capacity).collect();
        for (row, host) in (0..self.rows).zip(self.host_of_row.iter()) {
            queues[worker_of_host[host as usize] as usize].push(RowId::new(row));
        }
        queues
    }
}
