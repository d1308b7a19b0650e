//! The workload: which queries to run, from a CSV of their parameters.
//!
//! Two passes, and the text is never held. [`open`] reads every record once, checks it and hashes the file. It keeps 8 bytes for each row,
//! its offset and its host, and a checksum for each KiB of the file. [`Workload::by_worker`] adds the rows of each worker, 4 bytes a row. A
//! [`RowReader`] then reads each row again when it is about to be sent. Nothing here knows of agents, of gRPC or of what the statement is.

mod check;
mod column;
mod csv_file;
mod error;
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

use muster_common::ids::RowId;
use serde::{Deserialize, Serialize};

pub(crate) use csv_file::CsvFile;
pub use error::{BadRow, Fault, MissingColumn, WorkloadError};
pub use hosts::{HostIndex, HostTable};
pub use mix::{Mix, MixStatement, QUERY_COLUMN};
pub use reader::RowReader;
pub(crate) use source::Wanted;
pub use source::{Packing, Written};
pub(crate) use time::microseconds_since_2000;

/// The column that names the host, unless `--host-column` names another.
pub const HOST_COLUMN: &str = "hostname";

/// What is needed of the file, and what to do with rows that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub host_column: String,
    /// The columns that the statement's placeholders name, in the order of `$1`, `$2`, …; a name may come twice.
    /// Of a mix: all columns that any statement needs.
    pub parameters: Vec<String>,
    /// `None` for a single statement.
    #[serde(default)]
    pub mix: Option<Mix>,
    pub checks: Checks,
    pub on_bad_row: OnBadRow,
    /// Only so many good rows from the beginning, at least 1. The rest of the file is hashed and neither parsed nor checked.
    pub limit: Option<u64>,
}

/// What is known about the values before the database sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checks {
    /// The default query: two columns hold times, the second not before the first.
    DemoWindow {
        start_time: String,
        end_time: String,
        /// The time zone of the sessions, which applies to times without an offset. `None` where it is not known.
        #[serde(default)]
        timezone: Option<String>,
    },
    /// A statement of the user's own, with parameters of any type.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// Name the bad rows and run nothing.
    #[default]
    Fail,
    /// Run the others and report which were left out.
    Skip,
}

/// The size of one read in the first pass. A multiple of the size of a checksummed piece.
const VERIFIED_BYTES: usize = 256 << 10;

/// How far [`open`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub bytes: u64,
    /// `None` while standard input is spooled.
    pub bytes_total: Option<u64>,
    /// Good rows so far.
    pub rows: u32,
}

/// Called after every 256 KiB or so, which is some hundred times a second: the callee decides how often to draw.
pub type ProgressFn<'a> = &'a mut dyn FnMut(Progress);

/// Reads and checks all of a CSV file; `-` is standard input. Blocks, for a second per few million rows.
///
/// # Errors
/// When the file cannot be read or is no workload, and for bad rows unless they are to be skipped.
pub fn open(path: &Path, options: &Options, progress: ProgressFn<'_>) -> Result<Workload, WorkloadError> {
    let source = source::Source::open(path, progress)?;
    index::read(source, options, progress)
}

/// A file of good rows, read and checked, with its handle still open.
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
    /// As typed; `-` for standard input.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// Of the whole file's bytes, 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// True when the file is not what it was when it was opened, or its path names another file. Rows are not affected: each was checked.
    pub fn has_changed(&self) -> bool {
        self.source.has_changed()
    }

    /// A value that changes when the file is written to. `None` for a copy of standard input.
    pub fn written(&self) -> Option<Written> {
        self.source.written()
    }

    pub fn written_when_opened(&self) -> Option<Written> {
        self.source.written_when_opened()
    }

    /// Reads all of the file again. Blocks.
    ///
    /// # Errors
    /// When the bytes are not those that were read at first. Bytes that were added after them are ignored.
    pub fn verify(&self) -> Result<(), WorkloadError> {
        let mut block = vec![0; VERIFIED_BYTES];
        let mut offset = 0;
        while offset < self.checksums.bytes() {
            offset += self.source.read_again(&self.checksums, &mut block, offset)? as u64;
        }
        Ok(())
    }

    /// Good rows; their ids are 0 to `rows - 1`. Bad records have no id.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    pub fn hosts(&self) -> &HostTable {
        &self.hosts
    }

    /// Bad records that were left out.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The first of the records that were left out, at most `BAD_ROWS_SHOWN`.
    pub fn bad(&self) -> &[BadRow] {
        &self.bad
    }

    /// `None` when there is no such row.
    pub fn host_of(&self, row: RowId) -> Option<HostIndex> {
        self.host_of_row.get(row).map(HostIndex::new)
    }

    /// Position of the statement that a record is run with.
    pub fn statement_of(&self, record: RowId) -> u16 {
        self.choice.of(record)
    }

    /// The rows of each of `workers` workers, in file order. `worker_of_host` has the worker of every host, by the host's index.
    ///
    /// # Panics
    /// When `worker_of_host` is of another workload or names a worker that there is not, as indexing does.
    pub fn by_worker(&self, worker_of_host: &[u32], workers: usize) -> Vec<Vec<RowId>> {
        assert_eq!(worker_of_host.len(), self.hosts.len(), "every host has one worker");
        let mut rows_of_worker = vec![0; workers];
        for (host, _, rows) in self.hosts.iter() {
            rows_of_worker[worker_of_host[host.index()] as usize] += rows as usize;
        }
        // Made to measure: growing by doubling would cost as much again as the rows themselves.
        let mut queues: Vec<Vec<RowId>> = rows_of_worker.into_iter().map(Vec::with_capacity).collect();
        for (row, host) in (0..self.rows).zip(self.host_of_row.iter()) {
            queues[worker_of_host[host as usize] as usize].push(RowId::new(row));
        }
        queues
    }
}
