//! The first pass reads every record once, in file order, and hashes the bytes. It stores two numbers per row, the host table, and a
//! checksum for each piece of the file. The text is dropped when the next block is read. The pass stops at the first fault of the file as a
//! whole; faults of single rows are counted.

use muster_core::limits::{BAD_ROWS_SHOWN, ROWS_MAX};
use sha2::{Digest, Sha256};

use super::column::{Column, Offsets};
use super::error::{BadRow, Fault, WorkloadError};
use super::file_format::FileFormat;
use super::header::Columns;
use super::hosts::HostTable;
use super::lines::Lines;
use super::mix::Choice;
use super::quotes::BadQuote;
use super::records::{self, Records, Step};
use super::source::{CHECKED_BYTES, Checksums, Source};
use super::{OnBadRow, Options, Progress, ProgressFn, Workload, check};

/// Large enough that the system call and the progress callback are negligible compared with the parsing.
const BLOCK_BYTES: usize = 256 << 10;
const _: () =
    assert!(BLOCK_BYTES.is_multiple_of(CHECKED_BYTES), "each piece with a checksum lies in one block");
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    let mut blocks = Blocks::new(source);
    let mut record = Records::new();
    let file = blocks.file().to_owned();
    let bytes = blocks.source.bytes;
    match blocks.next(&mut record)? {
        None => return Err(WorkloadError::Empty { file }),
        Some((place, Err(fault))) => {
            return Err(WorkloadError::Header(Box::new(BadRow { file, line: place.line(), fault })));
        }
        Some((_, Ok(()))) => {}
    }
    let columns = Columns::find(&file, &record, options)?;
    let mut index = Index::default();
    let mut reported = 0;
    while u64::from(index.rows) < limit {
        let Some((place, found)) = blocks.next(&mut record)? else {
            break;
        };
        let checked = found
            .and_then(|()| check::host(&record, &columns))
            .and_then(|host| Ok((host, check::statement(&record, &columns)?)));
        match checked {
            Ok((host, statement)) => index.add(host, statement, place, &file)?,
            Err(fault) => index.bad(fault, place, &file),
        }
        if blocks.offset > reported {
            reported = blocks.offset;
            progress(Progress { bytes: reported, bytes_total: Some(bytes), rows: index.rows });
        }
    }
    index.check_counts(&file, options.on_bad_row)?;
    let (source, sha256, checksums) = blocks.finish()?;
    index.shrink();
    let choice = match (&options.mix, &columns.query) {
        (None, _) => Choice::Single,
        (Some(_), Some(_)) => Choice::Named(index.statements),
        (Some(mix), None) => Choice::weighted(mix),
    };
    Ok(Workload {
        source,
        sha256,
        checksums,
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
    /// The statement of each row, if the file has a query column.
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
        let sparse = || WorkloadError::Sparse { file: file.to_owned(), line: place.line() };
        self.offsets.push(place.offset).ok_or_else(sparse)?;
        self.host_of_row.push(self.hosts.count_row(host).get());
        self.statements.extend(statement);
        self.rows += 1;
        Ok(())
    }

    fn bad(&mut self, fault: Fault, place: Place, file: &str) {
        self.bad += 1;
        if self.shown.len() < BAD_ROWS_SHOWN {
            self.shown.push(BadRow { file: file.to_owned(), line: place.line(), fault });
        }
    }

    /// Returns an error if there is no row to run, or if there are bad rows that must not be skipped.
    fn check_counts(&mut self, file: &str, on_bad_row: OnBadRow) -> Result<(), WorkloadError> {
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

/// The position where a record begins.
#[derive(Clone, Copy)]
pub(super) struct Place {
    offset: u64,
    lines: Lines,
}

impl Place {
    /// The line number, from 1.
    pub(super) fn line(&self) -> u64 {
        self.lines.line
    }
}

/// `Ok` when a record was read, or the fault that prevented it.
pub(crate) type Found = Result<(), Fault>;

/// Reads the file in blocks and hashes each block when it is first read.
pub(super) struct Blocks {
    source: Source,
    hash: Sha256,
    checksums: Checksums,
    /// The number of bytes that were hashed. The bytes after them have not been read yet.
    hashed: u64,
    block: Vec<u8>,
    len: usize,
    at: usize,
    /// The offset of the end of the block. A multiple of `BLOCK_BYTES` except at the end of the file.
    offset: u64,
    /// Counts the lines up to `at`.
    lines: Lines,
}

impl Blocks {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            hash: Sha256::new(),
            checksums: Checksums::default(),
            hashed: 0,
            block: vec![0; BLOCK_BYTES],
            len: 0,
            at: 0,
            offset: 0,
            lines: Lines::new(),
        }
    }

    /// The name of the file.
    pub(super) fn file(&self) -> &str {
        &self.source.name
    }

    /// Reads the next record into `record`, or finds a fault and moves on to the next record. `None` at the end of the file.
    pub(super) fn next(&mut self, record: &mut Records) -> Result<Option<(Place, Found)>, WorkloadError> {
        self.skip_blank_lines()?;
        let place = self.place();
        loop {
            let (taken, step) = record.feed(&self.block[self.at..self.len]);
            self.advance(taken);
            match step {
                Step::Record => return Ok(Some((place, Ok(())))),
                Step::End => return Ok(None),
                Step::More => self.fill()?,
                Step::TooLong => return Ok(Some((place, Err(Fault::TooLong)))),
                Step::BadQuote(BadQuote { at, is_closed }) => {
                    record.restart();
                    let quote = self.skip_line_of(place, place.offset + at)?;
                    let fault = if is_closed { Fault::TextAfterQuote } else { Fault::UnclosedQuote };
                    return Ok(Some((quote, Err(fault))));
                }
            }
        }
    }

    /// Goes back to the line of a quote that is not closed properly and skips only that line, because the lines after it were not meant to
    /// be quoted. Returns the position of the quote. Lines are read again at most once, because a quote that opens in one of them would
    /// have closed this one.
    fn skip_line_of(&mut self, record: Place, quote: u64) -> Result<Place, WorkloadError> {
        self.go_back(record)?;
        while self.place().offset < quote {
            let wanted = usize::try_from(quote - self.place().offset).unwrap_or(usize::MAX);
            self.advance(wanted.min(self.len - self.at));
            self.fill_if_used_up()?;
        }
        let place = self.place();
        while self.len > 0 {
            let rest = &self.block[self.at..self.len];
            let end = rest.iter().position(|&byte| byte == b'\r' || byte == b'\n');
            self.advance(end.unwrap_or(rest.len()));
            if end.is_some() {
                break;
            }
            self.fill()?;
        }
        Ok(place)
    }

    fn go_back(&mut self, place: Place) -> Result<(), WorkloadError> {
        let begin = self.offset - self.len as u64;
        if self.len == 0 || place.offset < begin {
            self.offset = place.offset - place.offset % BLOCK_BYTES as u64;
            self.fill()?;
        }
        self.at = (place.offset % BLOCK_BYTES as u64) as usize;
        self.lines = place.lines;
        Ok(())
    }

    fn place(&self) -> Place {
        Place { offset: self.offset - (self.len - self.at) as u64, lines: self.lines }
    }

    fn advance(&mut self, bytes: usize) {
        self.lines.advance(&self.block[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn skip_blank_lines(&mut self) -> Result<(), WorkloadError> {
        loop {
            self.advance(records::blank_lines(&self.block[self.at..self.len]));
            if self.at < self.len {
                return Ok(());
            }
            self.fill()?;
            if self.len == 0 {
                return Ok(());
            }
        }
    }

    fn fill_if_used_up(&mut self) -> Result<(), WorkloadError> {
        if self.at < self.len { Ok(()) } else { self.fill() }
    }

    /// Reads the next block when this one is used up. The block is empty at the end of the file, as it was when the file was first read.
    fn fill(&mut self) -> Result<(), WorkloadError> {
        (self.len, self.at) = (0, 0);
        if !self.offset.is_multiple_of(BLOCK_BYTES as u64) {
            return Ok(());
        }
        if self.offset < self.hashed {
            self.len = self.source.read_again(&self.checksums, &mut self.block, self.offset)?;
        } else {
            self.len = self.source.read_at(&mut self.block, self.offset)?;
            self.hash.update(&self.block[..self.len]);
            self.checksums.push(&self.block[..self.len]);
            self.hashed += self.len as u64;
            if self.offset == 0 {
                self.check_beginning()?;
            }
        }
        self.offset += self.len as u64;
        Ok(())
    }

    fn check_beginning(&mut self) -> Result<(), WorkloadError> {
        let mut first = &self.block[..self.len];
        if let Some(format) = FileFormat::of(first) {
            return Err(WorkloadError::WrongFormat { file: self.source.name.clone(), format });
        }
        // Some programs add a byte order mark to a file that already has one.
        while let Some(rest) = first.strip_prefix(BYTE_ORDER_MARK) {
            first = rest;
        }
        self.at = self.len - first.len();
        Ok(())
    }

    /// Reads the rest of the file. Returns the file, its SHA-256 (including rows beyond `--limit`), and the checksums of its pieces.
    fn finish(mut self) -> Result<(Source, String, Checksums), WorkloadError> {
        self.offset = self.hashed;
        self.fill()?;
        while self.len > 0 {
            self.fill()?;
        }
        self.checksums.shrink();
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((self.source, sha256, self.checksums))
    }
}
