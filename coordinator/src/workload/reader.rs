//! The second pass: any row again, by its id, when it is about to be sent. Neighbouring rows come out of one window of the file with
//! no system call. A row that is not what the first pass saw is an error: running it would count a query that nobody checked.

use std::sync::Arc;

use muster_common::ids::RowId;
use muster_common::parameters::PackedParameters;

use super::Workload;
use super::error::WorkloadError;
use super::hosts::HostIndex;
use super::records::{Records, Step};

/// Bounds of the window. A worker of a thousand has its rows far apart, and copying what lies between them is most of the work:
/// the window halves when it served less than `ROWS_FEW`, and doubles when it served more than `ROWS_MANY` or ended within a record.
const WINDOW_BYTES_MIN: usize = 256;
const WINDOW_BYTES_FIRST: usize = 4 << 10;
const WINDOW_BYTES_MAX: usize = 64 << 10;
const ROWS_FEW: u32 = 4;
const ROWS_MANY: u32 = 16;

/// Reads rows of a workload; one for each task that sends rows.
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

    /// Appends the row's parameters, in the order of the statement's placeholders, an empty field as NULL. Returns its host.
    ///
    /// # Errors
    /// When the file cannot be read or is no longer what it was; `parameters` is then as before.
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
        let statement = self.workload.statement_of(row);
        if self.parse(offset)? && self.is_of(host) && self.pack(statement, parameters) {
            return Ok(host);
        }
        parameters.truncate(mark);
        Err(WorkloadError::Changed { file: self.workload.file().to_owned(), row })
    }

    /// Reads the record at `offset`; false when none begins there. A header comes before every row, so that there is a byte before
    /// it: the end of a line, as blank lines before a record are no part of a record.
    fn parse(&mut self, offset: u64) -> Result<bool, WorkloadError> {
        self.record.restart();
        self.window.served += 1;
        let mut at = offset;
        let mut block = self.window.from(offset.saturating_sub(1), &self.workload)?;
        match block {
            [b'\r' | b'\n', record @ ..] if !matches!(record, [b'\r' | b'\n', ..]) => block = record,
            _ => return Ok(false),
        }
        loop {
            if block.is_empty() {
                block = self.window.from(at, &self.workload)?;
            }
            let (taken, step) = self.record.feed(block);
            at += taken as u64;
            match step {
                Step::More => block = &[],
                Step::Record => return Ok(true),
                Step::End | Step::TooLong => return Ok(false),
            }
        }
    }

    fn is_of(&self, host: HostIndex) -> bool {
        let Workload { columns, hosts, .. } = &*self.workload;
        self.record.len() == columns.names.len()
            && self.record.field(columns.host) == hosts.name(host).as_bytes()
    }

    /// False when a value is no text any more.
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

/// A piece of the file.
#[derive(Debug)]
struct Window {
    bytes: Vec<u8>,
    len: usize,
    offset: u64,
    /// Rows read since it was filled.
    served: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { bytes: vec![0; WINDOW_BYTES_FIRST], len: 0, offset: 0, served: ROWS_FEW }
    }
}

impl Window {
    /// What there is from `offset` on; empty at the end of the file only.
    fn from(&mut self, offset: u64, workload: &Workload) -> Result<&[u8], WorkloadError> {
        let end = self.offset + self.len as u64;
        if !(self.offset..end).contains(&offset) {
            self.resize(self.len > 0 && offset == end);
            self.len = workload.source.read_at(&mut self.bytes, offset)?;
            self.offset = offset;
        }
        let at = (offset - self.offset) as usize;
        Ok(&self.bytes[at..self.len])
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
