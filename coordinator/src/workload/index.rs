//! The first pass: every record once, in file order, with its bytes hashed on the way. What stays is two numbers a row and the host
//! table; the text is gone when the next block comes. It stops at the first fault of the file, and counts faults of rows.

use muster_common::limits::{BAD_ROWS_SHOWN, ROWS_MAX};
use sha2::{Digest, Sha256};

use super::column::{Column, Offsets};
use super::error::{BadRow, Fault, WorkloadError};
use super::header::Columns;
use super::hosts::HostTable;
use super::mix::Choice;
use super::records::{self, Records, Step};
use super::source::{Packing, Source};
use super::{OnBadRow, Options, Progress, ProgressFn, Workload, check};

/// Large enough that a system call and a look at the progress cost nothing beside the parsing.
const BLOCK_BYTES: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) fn read(
    source: Source,
    options: &Options,
    progress: ProgressFn<'_>,
) -> Result<Workload, WorkloadError> {
    let limit = match options.limit {
        Some(0) => return Err(WorkloadError::LimitZero),
        Some(rows) => rows,
        None => u64::MAX,
    };
    let mut blocks = Blocks::new(&source);
    let mut record = Records::new();
    if blocks.next(&mut record)?.is_none() {
        return Err(WorkloadError::Empty { file: source.name });
    }
    let columns = Columns::find(&source.name, &record, options)?;
    let mut index = Index::default();
    let mut reported = 0;
    while u64::from(index.rows) < limit {
        let Some(place) = blocks.next(&mut record)? else {
            break;
        };
        let checked =
            check::host(&record, &columns).and_then(|host| Ok((host, check::statement(&record, &columns)?)));
        match checked {
            Ok((host, statement)) => index.add(host, statement, place, &source.name)?,
            Err(fault) => index.bad(fault, place, &source.name),
        }
        if blocks.offset != reported {
            reported = blocks.offset;
            progress(Progress { bytes: reported, bytes_total: Some(source.bytes), rows: index.rows });
        }
    }
    index.judge(&source.name, options.on_bad_row)?;
    let sha256 = blocks.finish()?;
    index.shrink();
    let choice = match (&options.mix, &columns.query) {
        (None, _) => Choice::Single,
        (Some(_), Some(_)) => Choice::Named(index.statements),
        (Some(mix), None) => Choice::weighted(mix),
    };
    Ok(Workload {
        source,
        sha256,
        columns,
        choice,
        hosts: index.hosts,
        host_of_row: index.host_of_row,
        offsets: index.offsets,
        rows: index.rows,
        skipped: index.bad,
        bad: index.shown,
    })
}

#[derive(Default)]
struct Index {
    hosts: HostTable,
    host_of_row: Column,
    /// Of each row, where a column names it.
    statements: Vec<u8>,
    offsets: Offsets,
    rows: u32,
    bad: u64,
    shown: Vec<BadRow>,
}

impl Index {
    fn add(
        &mut self,
        host: &str,
        statement: Option<u8>,
        place: Place,
        file: &str,
    ) -> Result<(), WorkloadError> {
        if self.rows == ROWS_MAX {
            return Err(WorkloadError::TooManyRows { file: file.to_owned() });
        }
        let sparse = || WorkloadError::Sparse { file: file.to_owned(), line: place.line };
        self.offsets.push(place.offset).ok_or_else(sparse)?;
        self.host_of_row.push(self.hosts.count_row(host).get());
        self.statements.extend(statement);
        self.rows += 1;
        Ok(())
    }

    fn bad(&mut self, fault: Fault, place: Place, file: &str) {
        self.bad += 1;
        if self.shown.len() < BAD_ROWS_SHOWN {
            self.shown.push(BadRow { file: file.to_owned(), line: place.line, fault });
        }
    }

    /// Whether what was found can be run.
    fn judge(&mut self, file: &str, on_bad_row: OnBadRow) -> Result<(), WorkloadError> {
        let file = file.to_owned();
        let (count, shown) = (self.bad, self.shown.clone());
        match (self.rows, count, on_bad_row) {
            (0, 0, _) => Err(WorkloadError::HeaderOnly { file }),
            (_, 1.., OnBadRow::Fail) => Err(WorkloadError::BadRows { file, count, shown }),
            (0, _, OnBadRow::Skip) => Err(WorkloadError::NoGoodRow { file, count, shown }),
            _ => Ok(()),
        }
    }

    fn shrink(&mut self) {
        self.hosts.shrink();
        self.host_of_row.shrink();
        self.offsets.shrink();
        self.statements.shrink_to_fit();
    }
}

/// Where a record begins.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    line: u64,
}

/// The file in blocks, each hashed as it comes in.
struct Blocks<'a> {
    source: &'a Source,
    hash: Sha256,
    block: Vec<u8>,
    len: usize,
    at: usize,
    /// Of the end of the block.
    offset: u64,
    /// Newlines of blank lines; the record parser counts the others.
    blank_lines: u64,
}

impl<'a> Blocks<'a> {
    fn new(source: &'a Source) -> Self {
        Self {
            source,
            hash: Sha256::new(),
            block: vec![0; BLOCK_BYTES],
            len: 0,
            at: 0,
            offset: 0,
            blank_lines: 0,
        }
    }

    /// Reads the next record into `record`; `None` at the end of the file.
    fn next(&mut self, record: &mut Records) -> Result<Option<Place>, WorkloadError> {
        self.skip_blank_lines()?;
        let place = Place {
            offset: self.offset - (self.len - self.at) as u64,
            line: 1 + self.blank_lines + record.newlines(),
        };
        loop {
            let (taken, step) = record.feed(&self.block[self.at..self.len]);
            self.at += taken;
            match step {
                Step::Record => return Ok(Some(place)),
                Step::End => return Ok(None),
                Step::More => self.fill()?,
                Step::TooLong => {
                    return Err(WorkloadError::RecordTooLong {
                        file: self.source.name.clone(),
                        line: place.line,
                    });
                }
            }
        }
    }

    fn skip_blank_lines(&mut self) -> Result<(), WorkloadError> {
        loop {
            let (length, newlines) = records::blank(&self.block[self.at..self.len]);
            self.at += length;
            self.blank_lines += newlines;
            if self.at < self.len {
                return Ok(());
            }
            self.fill()?;
            if self.len == 0 {
                return Ok(());
            }
        }
    }

    /// The next block, when this one is used up; an empty one at the end of the file.
    fn fill(&mut self) -> Result<(), WorkloadError> {
        self.len = self.source.read_at(&mut self.block, self.offset)?;
        self.at = 0;
        self.hash.update(&self.block[..self.len]);
        if self.offset == 0 {
            self.look_at_the_beginning()?;
        }
        self.offset += self.len as u64;
        Ok(())
    }

    fn look_at_the_beginning(&mut self) -> Result<(), WorkloadError> {
        let first = &self.block[..self.len];
        if let Some(packing) = Packing::of(first) {
            return Err(WorkloadError::Packed { file: self.source.name.clone(), packing });
        }
        if first.starts_with(BYTE_ORDER_MARK) {
            self.at = BYTE_ORDER_MARK.len();
        }
        Ok(())
    }

    /// The hash of the whole file, those rows included that `--limit` left out.
    fn finish(mut self) -> Result<String, WorkloadError> {
        while self.len > 0 {
            self.fill()?;
        }
        Ok(self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
