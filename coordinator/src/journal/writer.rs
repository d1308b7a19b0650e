//! Appends records. They are gathered in memory until [`Writer::commit`]; after a write that failed nothing more is taken, for a
//! record behind half a record would be lost to every reader.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use muster_common::ids::{Epoch, RowId};
use muster_common::limits::{
    ADVICE_CHARS_MAX, JOURNAL_BUFFER_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX, JOURNAL_RECORD_ROWS_MAX,
    MESSAGE_CHARS_MAX,
};
use serde::Serialize;

use super::format::{self, put_frame};
use super::record::{self, Sample};
use super::{JournalError, lock};

/// The one that writes a journal, which is locked until this is dropped.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Where the records that were written end.
    end: u64,
    /// The error of a write that nobody has been told of yet.
    untold: Option<JournalError>,
    is_broken: bool,
}

/// The longest record of samples: 4 bytes a character of message, detail and hint, and 12 numbers and a digest at the very most.
const SAMPLES_BYTES_MAX: usize =
    64 + JOURNAL_RECORD_ROWS_MAX * ((MESSAGE_CHARS_MAX + 2 * ADVICE_CHARS_MAX) * 4 + 12 * 10 + 10);
const _: () = assert!(SAMPLES_BYTES_MAX <= JOURNAL_RECORD_BYTES_MAX, "a batch of samples always fits");

impl Writer {
    /// A new journal that only its owner may read: messages of the server can quote what is in the database.
    ///
    /// # Errors
    /// Also when there is a file of this name.
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
        Self { file, path, buffer: Vec::new(), end, untold: None, is_broken: false }
    }

    /// The same file under another name, for messages: its directory was renamed.
    pub(crate) fn moved_to(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Adds counted rows that one session ran. Any number; each record takes [`JOURNAL_RECORD_ROWS_MAX`] of them.
    pub fn results(&mut self, epoch: Epoch, samples: &[Sample]) {
        for samples in samples.chunks(JOURNAL_RECORD_ROWS_MAX) {
            self.put(record::RESULTS, |out| record::put_results(out, epoch, samples));
        }
    }

    /// Adds rows that are about to be sent to `worker`, a position in the placement's list. [`commit`](Self::commit) before they go.
    pub fn sent(&mut self, epoch: Epoch, worker: u32, rows: &[RowId]) {
        for rows in rows.chunks(JOURNAL_RECORD_ROWS_MAX) {
            self.put(record::SENT, |out| record::put_sent(out, epoch, worker, rows));
        }
    }

    /// Adds something else that happened, as JSON.
    ///
    /// # Errors
    /// When it is no JSON or longer than a record may be; the journal is as it was.
    pub fn fact(&mut self, fact: &impl Serialize) -> Result<(), JournalError> {
        let json = serde_json::to_vec(fact).map_err(JournalError::Fact)?;
        let put = put_frame(&mut self.buffer, record::FACT, |out| out.extend(&json));
        put.map_err(|format::FrameTooLong { bytes }| JournalError::TooLong { bytes })?;
        self.write_when_full();
        Ok(())
    }

    /// Hands everything added so far to the operating system, with one write; nothing is done when nothing was added.
    ///
    /// # Errors
    /// When it cannot be written, now or when the buffer was full before. From then on everything is refused; what was committed
    /// before stays readable.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        if let Some(error) = self.untold.take() {
            return Err(error);
        }
        self.write()
    }

    /// Commits, and waits until the disk has it.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.commit()?;
        self.file.sync_all().map_err(|source| self.broken(source))
    }

    fn put(&mut self, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
        put_frame(&mut self.buffer, kind, payload).expect("samples and rows are divided so that they fit");
        self.write_when_full();
    }

    /// Bounds the memory of a caller that adds and never commits. The error is kept for the next commit.
    fn write_when_full(&mut self) {
        if self.buffer.len() >= JOURNAL_BUFFER_BYTES_MAX
            && let Err(error) = self.write()
        {
            self.untold.get_or_insert(error);
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
