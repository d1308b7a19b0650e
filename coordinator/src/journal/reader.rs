//! Reads a journal from its beginning to where it ends or goes wrong. Whatever the bytes are: no panic, and memory for one record.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use muster_common::limits::JOURNAL_RECORD_BYTES_MAX;

use super::JournalError;
use super::format::{self, FRAME_HEAD_BYTES, Fault, HEADER_BYTES, Header};
use super::record::{self, Entry};

const BUFFER_BYTES: usize = 256 << 10;

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With a whole record.
    Clean,
    /// With `bytes` from `offset` on that cannot be read: half a record after a crash, or damage. Whole records may lie behind the
    /// damage, but where they would begin is not known.
    Torn { offset: u64, bytes: u64, reason: Fault },
}

/// The entries of a journal in their order. A journal that is being written is read as far as it went when it was opened.
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    input: R,
    path: PathBuf,
    /// Bytes of the file.
    length: u64,
    /// Behind the last good record.
    end: u64,
    tail: Option<Tail>,
    /// The file could not be read: where the next record begins is not known.
    has_failed: bool,
    /// Kind and payload of one record.
    body: Vec<u8>,
}

impl Reader {
    /// # Errors
    /// When the file cannot be opened or is no journal of this version. A journal without a whole header is one without entries.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let file = File::open(path).map_err(JournalError::open(path))?;
        let length = file.metadata().map_err(JournalError::open(path))?.len();
        Self::over(BufReader::with_capacity(BUFFER_BYTES, file), length, path)
    }
}

impl<R: Read> Reader<R> {
    /// Reads from anything that has `length` bytes; `path` is for messages.
    pub fn over(mut input: R, length: u64, path: &Path) -> Result<Self, JournalError> {
        let path = path.to_owned();
        let mut first = Vec::with_capacity(HEADER_BYTES);
        let header_bytes = length.min(HEADER_BYTES as u64);
        if let Err(source) = input.by_ref().take(header_bytes).read_to_end(&mut first) {
            return Err(JournalError::Read { path, offset: 0, source });
        }
        let (end, tail) = match format::look_at_header(&first) {
            Header::Ours => (HEADER_BYTES as u64, None),
            Header::Torn => (0, Some(Tail::Torn { offset: 0, bytes: length, reason: Fault::Header })),
            Header::Version(found) => return Err(JournalError::Version { path, found }),
            Header::Damaged => return Err(JournalError::DamagedHeader { path }),
            Header::Foreign => return Err(JournalError::NotAJournal { path }),
        };
        Ok(Self { input, path, length, end, tail, has_failed: false, body: Vec::new() })
    }

    /// Where the records that were read so far end: the place to go on writing, once there is no further entry.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How the journal ends. `None` while there may be a further entry, and when the file could not be read to its end.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Counts the samples of the rest, several times faster than reading them: their numbers are checked and not decoded.
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

    /// Reads the next record into `body`, its checksum checked; returns its kind. `None` at the end, which `tail` then tells.
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
        let cut_off = |wanted| Stop::Fault(Fault::Incomplete { wanted, found: rest });
        let head_bytes = FRAME_HEAD_BYTES as u64;
        if rest < head_bytes {
            return Err(cut_off(head_bytes));
        }
        let mut head = [0; FRAME_HEAD_BYTES];
        self.input.read_exact(&mut head).map_err(Stop::Read)?;
        let (length, checksum) = format::frame_head(head);
        let bytes =
            usize::try_from(length).ok().filter(|bytes| (1..=JOURNAL_RECORD_BYTES_MAX).contains(bytes));
        let bytes = bytes.ok_or(Stop::Fault(Fault::Length(length)))?;
        let wanted = head_bytes + u64::from(length);
        if rest < wanted {
            return Err(cut_off(wanted));
        }
        // Not `resize` alone: the bytes of the last record need not be zeroed first.
        self.body.truncate(bytes);
        self.body.resize(bytes, 0);
        self.input.read_exact(&mut self.body).map_err(Stop::Read)?;
        if crc32c::crc32c(&self.body) != checksum {
            return Err(Stop::Fault(Fault::Checksum));
        }
        Ok(())
    }

    /// The record in `body` is good.
    fn accept(&mut self) {
        if self.tail.is_none() {
            self.end += (FRAME_HEAD_BYTES + self.body.len()) as u64;
        }
    }

    fn stop(&mut self, reason: Fault) {
        self.tail = Some(Tail::Torn { offset: self.end, bytes: self.length - self.end, reason });
    }
}

/// Why there is no further record.
enum Stop {
    Fault(Fault),
    Read(io::Error),
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, JournalError>;

    /// # Errors
    /// When the file cannot be read, which says nothing about what is in it: there is no tail then, and no further entry.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
