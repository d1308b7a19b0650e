//! The second pass reads a row again by its id, just before it is sent. Neighbouring rows are read from one window of the file without a
//! system call. A window that differs from the first pass is an error, because its rows were not checked.

use std::sync::Arc;

use muster_core::ids::RowId;
use muster_core::parameters::PackedParameters;

use super::Workload;
use super::error::WorkloadError;
use super::hosts::HostIndex;
use super::records::{Records, Step};
use super::source::CHECKED_BYTES;

/// The limits of the window's size. With a thousand workers the rows of one worker lie far apart, and most of the work is to copy the bytes
/// between them. The window is halved when fewer than `ROWS_FEW` rows were read from it, and doubled when more than `ROWS_MANY` were read
/// or it ended within a record.
const WINDOW_BYTES_MIN: usize = CHECKED_BYTES;
const WINDOW_BYTES_INITIAL: usize = 4 << 10;
const WINDOW_BYTES_MAX: usize = 64 << 10;
const ROWS_FEW: u32 = 4;
const ROWS_MANY: u32 = 16;

/// Reads rows of a workload. Each task that sends rows has its own reader.
#[derive(Debug)]
pub struct RowReader {
    workload: Arc<Workload>,
    record: Records,
    window: Window,
}

impl RowReader {
    pub fn new(workload: Arc<Workload>) -> Self {
        Self { workload, record: Records::new(), window: Window::default() }
    }

    /// Appends the row's parameters in the order of the statement's placeholders and returns the row's host. An empty field is NULL.
    ///
    /// # Errors
    /// Fails when the file cannot be read or has changed. `parameters` is then unchanged.
    pub fn read(
        &mut self,
        row: RowId,
        parameters: &mut PackedParameters,
    ) -> Result<HostIndex, WorkloadError> {
        let no_such_row = || WorkloadError::NoSuchRow {
            file: self.workload.file().to_owned(),
            row,
            rows: self.workload.rows(),
        };
        let offset = self.workload.offsets.get(row).ok_or_else(no_such_row)?;
        let host = self.workload.host_of(row).ok_or_else(no_such_row)?;
        let mark = parameters.len();
        if self.parse(offset)? && self.pack(self.workload.statement_of(row), parameters) {
            return Ok(host);
        }
        // The row was valid in the first pass, and its bytes are the same.
        parameters.truncate(mark);
        Err(WorkloadError::Changed { file: self.workload.file().to_owned() })
    }

    /// Reads the record at `offset`. Returns false when there is none.
    fn parse(&mut self, offset: u64) -> Result<bool, WorkloadError> {
        self.record.restart();
        self.window.served += 1;
        let mut at = offset;
        loop {
            let block = self.window.from(at, &self.workload)?;
            let (taken, step) = self.record.feed(block);
            at += taken as u64;
            match step {
                Step::More => {}
                Step::Record => return Ok(true),
                Step::End | Step::TooLong | Step::BadQuote(_) => return Ok(false),
            }
        }
    }

    /// Appends the parameters. Returns false when a value is not valid UTF-8.
    fn pack(&self, statement: u16, parameters: &mut PackedParameters) -> bool {
        for &column in &self.workload.columns.parameters[usize::from(statement)] {
            match std::str::from_utf8(self.record.field(column)) {
                Ok("") => parameters.push(None),
                Ok(value) => parameters.push(Some(value)),
                Err(_) => return false,
            }
        }
        true
    }
}

/// A buffered part of the file.
#[derive(Debug)]
struct Window {
    bytes: Vec<u8>,
    len: usize,
    offset: u64,
    /// The number of rows that were read since the window was filled.
    served: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { bytes: vec![0; WINDOW_BYTES_INITIAL], len: 0, offset: 0, served: ROWS_FEW }
    }
}

impl Window {
    /// The buffered bytes from `offset` on. Empty only at the end of the file.
    fn from(&mut self, offset: u64, workload: &Workload) -> Result<&[u8], WorkloadError> {
        let end = self.offset + self.len as u64;
        if !(self.offset..end).contains(&offset) {
            self.resize(self.len > 0 && offset == end);
            self.offset = offset - offset % CHECKED_BYTES as u64;
            // The window counts as empty until its bytes are verified.
            self.len = 0;
            self.len = workload.source.read_again(&workload.checksums, &mut self.bytes, self.offset)?;
        }
        let at = (offset - self.offset) as usize;
        Ok(self.bytes[..self.len].get(at..).unwrap_or_default())
    }

    fn resize(&mut self, used_up: bool) {
        let size = if used_up || self.served > ROWS_MANY {
            (self.bytes.len() * 2).min(WINDOW_BYTES_MAX)
        } else if self.served < ROWS_FEW {
            (self.bytes.len() / 2).max(WINDOW_BYTES_MIN)
        } else {
            self.bytes.len()
        };
        self.bytes.resize(size, 0);
        self.served = 0;
    }
}
