//! Who may write a journal: one process at a time, told by a lock on the file that ends with the process however that ends.
//! What is to be continued is read under the lock, or two processes could both read and the slower one cut off what the other wrote.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use muster_common::limits;

use super::{JournalError, Reader, Writer};

const TRY_EVERY: Duration = Duration::from_millis(10);

/// The right to write an existing journal.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Blocks for [`limits::JOURNAL_LOCK_PATIENCE`] at most.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another process writes the journal.
    pub fn take(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(JournalError::open(path))?;
        lock(&file, path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Reads from the beginning.
    pub fn reader(&self) -> Result<Reader, JournalError> {
        Reader::open(&self.path)
    }

    /// Writes behind the first `end` bytes and drops what lies there: `end` is [`Reader::end`], found by reading under this lock.
    pub fn append(self, end: u64) -> Result<Writer, JournalError> {
        Writer::append(self.file, self.path, end)
    }
}

/// Whether somebody writes this journal now, this process included.
pub fn is_locked(path: &Path) -> Result<bool, JournalError> {
    let file = File::open(path).map_err(JournalError::open(path))?;
    // Shared, so that two who look do not take each other for a writer.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(JournalError::Lock { path: path.to_owned(), source }),
    }
}

/// Tries for a moment: whoever only looks holds the lock as well. Waiting without an end would wait for a whole run.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    let until = Instant::now() + limits::JOURNAL_LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => {
                return Err(JournalError::Lock { path: path.to_owned(), source });
            }
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(JournalError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY_EVERY),
        }
    }
}
