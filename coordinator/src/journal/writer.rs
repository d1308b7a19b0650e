//! Appends records to a journal, buffered in memory until [`Writer::commit`]. After a failed write the writer refuses all further
//! records, because no reader could find a record that follows an incomplete one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use muster_core::ids::{Epoch, RowId};
use muster_core::limits::{
    ADVICE_CHARS_MAX, JOURNAL_BUFFER_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX, JOURNAL_RECORD_ROWS_MAX,
    MESSAGE_CHARS_MAX,
};
use serde::Serialize;

use super::format::{self, put_frame};
use super::record::{self, CountedSample};
use super::{JournalError, lock};

/// The only writer of a journal. It holds the file lock until it is dropped.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Offset of the end of the records written to the file.
    end: u64,
    /// A write error that has not been returned to the caller yet.
    pending_error: Option<JournalError>,
    /// True after a failed write.
    is_broken: bool,
}

/// Upper bound of a record of samples. Each has up to 4 bytes per character of message, detail and hint, 12 numbers and a digest.
const SAMPLES_BYTES_MAX: usize =
    64 + JOURNAL_RECORD_ROWS_MAX * ((MESSAGE_CHARS_MAX + 2 * ADVICE_CHARS_MAX) * 4 + 12 * 10 + 10);
const _: () = assert!(SAMPLES_BYTES_MAX <= JOURNAL_RECORD_BYTES_MAX, "a batch of samples always fits");

impl Writer {
    /// Creates a journal that only its owner can read, because server messages can quote data from the database.
    ///
    /// # Errors
    /// If the file already exists, or cannot be created, locked or written.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|source| JournalError::Create { path: path.to_owned(), source })?;
        lock::lock(&file, path)?;
        let mut writer = Self::over(file, path.to_owned(), 0);
        writer.buffer.extend(format::header());
        writer.commit()?;
        Ok(writer)
    }

    pub(super) fn append(file: File, path: PathBuf, end: u64) -> Result<Self, JournalError> {
        let length = file.metadata().map_err(JournalError::open(&path))?.len();
        if length < end {
            return Err(JournalError::Shrunk { path, end });
        }
        if let Err(source) = file.set_len(end) {
            return Err(JournalError::Write { path, offset: end, source });
        }
        let mut writer = Self::over(file, path, end);
        if end == 0 {
            writer.buffer.extend(format::header());
            writer.commit()?;
        }
        Ok(writer)
    }

    pub(super) fn over(file: File, path: PathBuf, end: u64) -> Self {
        Self { file, path, buffer: Vec::new(), end, pending_error: None, is_broken: false }
    }

    /// Changes the path used in error messages, after the directory has been renamed.
    pub(crate) fn moved_to(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Adds any number of counted rows of one session, split into records of at most [`JOURNAL_RECORD_ROWS_MAX`] rows.
    pub fn results(&mut self, epoch: Epoch, samples: &[CountedSample]) {
        for samples in samples.chunks(JOURNAL_RECORD_ROWS_MAX) {
            self.put(record::RESULTS, |out| record::put_results(out, epoch, samples));
        }
    }

    /// Adds rows that are about to be sent to `worker`, a position in the placement's list of workers. Call [`commit`](Self::commit)
    /// before sending them.
    pub fn sent(&mut self, epoch: Epoch, worker: u32, rows: &[RowId]) {
        for rows in rows.chunks(JOURNAL_RECORD_ROWS_MAX) {
            self.put(record::SENT, |out| record::put_sent(out, epoch, worker, rows));
        }
    }

    /// Adds any other event as JSON.
    ///
    /// # Errors
    /// If the event cannot be serialized or exceeds the record limit. The journal is unchanged then.
    pub fn fact(&mut self, fact: &impl Serialize) -> Result<(), JournalError> {
        let json = serde_json::to_vec(fact).map_err(JournalError::Fact)?;
        let put = put_frame(&mut self.buffer, record::FACT, |out| out.extend(&json));
        put.map_err(|format::FrameTooLong { bytes }| JournalError::TooLong { bytes })?;
        self.write_when_full();
        Ok(())
    }

    /// Passes all buffered records to the operating system with one write. Does nothing if the buffer is empty.
    ///
    /// # Errors
    /// If this write fails, or an earlier one failed when the buffer was full. All later records are refused; records that were
    /// committed before stay readable.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        if let Some(error) = self.pending_error.take() {
            return Err(error);
        }
        self.write()
    }

    /// Commits and syncs the file to disk.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.commit()?;
        self.file.sync_all().map_err(|source| self.broken(source))
    }

    fn put(&mut self, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
        put_frame(&mut self.buffer, kind, payload).expect("samples and rows are split to fit a record");
        self.write_when_full();
    }

    /// Bounds the memory used if the caller never commits. The next commit returns the error.
    fn write_when_full(&mut self) {
        if self.buffer.len() >= JOURNAL_BUFFER_BYTES_MAX
            && let Err(error) = self.write()
        {
            self.pending_error.get_or_insert(error);
        }
    }

    fn write(&mut self) -> Result<(), JournalError> {
        if self.is_broken {
            self.buffer.clear();
            return Err(JournalError::Refused { path: self.path.clone() });
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all_at(&self.buffer, self.end);
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        written.map_err(|source| self.broken(source))?;
        self.end += bytes;
        Ok(())
    }

    fn broken(&mut self, source: io::Error) -> JournalError {
        self.is_broken = true;
        JournalError::Write { path: self.path.clone(), offset: self.end, source }
    }
}
