//! The second pass: any row again, by its id, when it is about to be sent. Neighbouring rows come out of one block of the file with
//! no system call. A row that is not what the first pass saw is an error: running it would count a query that nobody checked.

use std::sync::Arc;

use muster_common::ids::RowId;
use muster_common::parameters::PackedParameters;

use super::Workload;
use super::blocks::Block;
use super::error::WorkloadError;
use super::hosts::HostIndex;
use super::records::{Records, Step};

/// Reads rows of a workload; one for each task that sends rows.
#[derive(Debug)]
pub struct RowReader {
    workload: Arc<Workload>,
    record: Records,
    /// The latest one.
    block: Option<Block>,
}

impl RowReader {
    pub fn new(workload: Arc<Workload>) -> Self {
        Self { workload, record: Records::new(), block: None }
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
        if !self.is_line_end(offset.saturating_sub(1))? || self.is_line_end(offset)? {
            return Ok(false);
        }
        let mut at = offset;
        loop {
            let bytes = block_at(&mut self.block, at, &self.workload)?.from(at);
            let (taken, step) = self.record.feed(bytes);
            at += taken as u64;
            match step {
                Step::More => {}
                Step::Record => return Ok(true),
                Step::End | Step::TooLong => return Ok(false),
            }
        }
    }

    fn is_line_end(&mut self, offset: u64) -> Result<bool, WorkloadError> {
        let bytes = block_at(&mut self.block, offset, &self.workload)?.from(offset);
        Ok(matches!(bytes, [b'\r' | b'\n', ..]))
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

/// The block that `offset` is in, which most of the time is the one that is held.
fn block_at<'a>(
    held: &'a mut Option<Block>,
    offset: u64,
    workload: &Workload,
) -> Result<&'a Block, WorkloadError> {
    let block = match held.take().filter(|block| block.has(offset)) {
        Some(block) => block,
        None => workload.blocks.at(offset, &workload.source)?,
    };
    Ok(held.insert(block))
}
