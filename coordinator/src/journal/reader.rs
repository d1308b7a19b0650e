//! Reads a journal from its start to its end or to the first damaged record. No input causes a panic, and the memory used is bounded
//! by the size of one record.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use muster_core::limits::JOURNAL_RECORD_BYTES_MAX;

use super::JournalError;
use super::format::{self, FRAME_HEAD_BYTES, Fault, HEADER_BYTES, Header};
use super::record::{self, Entry};

const BUFFER_BYTES: usize = 256 << 10;

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// It ends with a complete record.
    Clean,
    /// The last `bytes` bytes, from `offset` on, cannot be read: an incomplete record after a crash, or damage. Intact records may
    /// follow the damage, but their start is unknown.
    Torn { offset: u64, bytes: u64, reason: Fault },
}

/// Iterates over the entries of a journal in order. If the journal is being written, it reads up to the length it had when opened.
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    input: R,
    path: PathBuf,
    /// File size in bytes.
    length: u64,
    /// Offset of the end of the last valid record.
    end: u64,
    tail: Option<Tail>,
    /// True after a read error: the start of the next record is then unknown.
    has_failed: bool,
    /// Kind and payload of the current record.
    body: Vec<u8>,
}

impl Reader {
    /// # Errors
    /// If the file cannot be opened or is not a journal of this version. A journal with an incomplete header has no entries.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let file = File::open(path).map_err(JournalError::open(path))?;
        let length = file.metadata().map_err(JournalError::open(path))?.len();
        Self::over(BufReader::with_capacity(BUFFER_BYTES, file), length, path)
    }
}

impl<R: Read> Reader<R> {
    /// Reads `length` bytes from any input. `path` is used in error messages only.
    pub fn over(mut input: R, length: u64, path: &Path) -> Result<Self, JournalError> {
        let path = path.to_owned();
        let mut first = Vec::with_capacity(HEADER_BYTES);
        let header_bytes = length.min(HEADER_BYTES as u64);
        if let Err(source) = input.by_ref().take(header_bytes).read_to_end(&mut first) {
            return Err(JournalError::Read { path, offset: 0, source });
        }
        let (end, tail) = match format::parse_header(&first) {
            Header::Ours => (HEADER_BYTES as u64, None),
            Header::Torn => (0, Some(Tail::Torn { offset: 0, bytes: length, reason: Fault::Header })),
            Header::Version(found) => return Err(JournalError::Version { path, found }),
            Header::Damaged => return Err(JournalError::DamagedHeader { path }),
            Header::Foreign => return Err(JournalError::NotAJournal { path }),
        };
        Ok(Self { input, path, length, end, tail, has_failed: false, body: Vec::new() })
    }

    /// Returns the offset of the end of the records read so far. After the last entry, this is the offset to append at.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Returns how the journal ends. `None` while more entries may follow, and after a read error.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Counts the samples in the remaining records. Several times faster than decoding them: only checksums and counts are read.
    pub fn count_samples(&mut self) -> Result<u64, JournalError> {
        let mut count = 0;
        while let Some(kind) = self.next_body()? {
            if kind == record::RESULTS {
                match record::count_of_results(&self.body[1..]) {
                    Ok(samples) => count += samples,
                    Err(reason) => self.stop(reason),
                }
            }
            self.accept();
        }
        Ok(count)
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, JournalError> {
        let Some(kind) = self.next_body()? else { return Ok(None) };
        match Entry::decode(kind, &self.body[1..]) {
            Ok(entry) => {
                self.accept();
                Ok(Some(entry))
            }
            Err(reason) => {
                self.stop(reason);
                Ok(None)
            }
        }
    }

    /// Reads the next record into `body`, verifies its checksum and returns its kind. Returns `None` at the end, after setting `tail`.
    fn next_body(&mut self) -> Result<Option<u8>, JournalError> {
        if self.tail.is_some() || self.has_failed {
            return Ok(None);
        }
        let rest = self.length - self.end;
        if rest == 0 {
            self.tail = Some(Tail::Clean);
            return Ok(None);
        }
        match self.read_body(rest) {
            Ok(()) => Ok(Some(self.body[0])),
            Err(Stop::Fault(reason)) => {
                self.stop(reason);
                Ok(None)
            }
            Err(Stop::Read(source)) => {
                self.has_failed = true;
                Err(JournalError::Read { path: self.path.clone(), offset: self.end, source })
            }
        }
    }

    fn read_body(&mut self, rest: u64) -> Result<(), Stop> {
        let incomplete = |wanted| Stop::Fault(Fault::Incomplete { wanted, found: rest });
        let head_bytes = FRAME_HEAD_BYTES as u64;
        if rest < head_bytes {
            return Err(incomplete(head_bytes));
        }
        let mut head = [0; FRAME_HEAD_BYTES];
        self.input.read_exact(&mut head).map_err(Stop::Read)?;
        let (length, checksum) = format::frame_head(head);
        let bytes =
            usize::try_from(length).ok().filter(|bytes| (1..=JOURNAL_RECORD_BYTES_MAX).contains(bytes));
        let bytes = bytes.ok_or(Stop::Fault(Fault::Length(length)))?;
        let wanted = head_bytes + u64::from(length);
        if rest < wanted {
            return Err(incomplete(wanted));
        }
        // `resize` zeroes only the bytes that are added, not those left from the previous record.
        self.body.truncate(bytes);
        self.body.resize(bytes, 0);
        self.input.read_exact(&mut self.body).map_err(Stop::Read)?;
        if crc32c::crc32c(&self.body) != checksum {
            return Err(Stop::Fault(Fault::Checksum));
        }
        Ok(())
    }

    /// Advances `end` past the record in `body`, which is valid.
    fn accept(&mut self) {
        if self.tail.is_none() {
            self.end += (FRAME_HEAD_BYTES + self.body.len()) as u64;
        }
    }

    fn stop(&mut self, reason: Fault) {
        self.tail = Some(Tail::Torn { offset: self.end, bytes: self.length - self.end, reason });
    }
}

/// Reasons to stop reading.
enum Stop {
    Fault(Fault),
    Read(io::Error),
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, JournalError>;

    /// # Errors
    /// If the file cannot be read. This does not mean that the journal is damaged: no tail is set, and no more entries follow.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
