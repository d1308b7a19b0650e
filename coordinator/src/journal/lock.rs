//! File lock that allows one process at a time to write a journal. The operating system releases it when the process ends for any
//! reason. A journal to be continued is read under the lock; otherwise two processes could both read it, and the slower one would
//! truncate what the other wrote.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use muster_core::limits;

use super::{JournalError, Reader, Writer};

const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// An exclusive lock on an existing journal, which permits writing it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Acquires the lock. Blocks for at most [`limits::JOURNAL_LOCK_TIMEOUT`].
    ///
    /// # Errors
    /// [`JournalError::Locked`] if another process holds the lock.
    pub fn take(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(JournalError::open(path))?;
        lock(&file, path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Returns a reader that starts at the beginning.
    pub fn reader(&self) -> Result<Reader, JournalError> {
        Reader::open(&self.path)
    }

    /// Truncates the journal to `end` bytes and appends after them. `end` is the [`Reader::end`] found by reading under this lock.
    pub fn append(self, end: u64) -> Result<Writer, JournalError> {
        Writer::append(self.file, self.path, end)
    }
}

/// Returns true if any process, including this one, has the journal open for writing.
pub fn is_locked(path: &Path) -> Result<bool, JournalError> {
    let file = File::open(path).map_err(JournalError::open(path))?;
    // A shared lock, so that two concurrent calls do not mistake each other for a writer.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(JournalError::Lock { path: path.to_owned(), source }),
    }
}

/// Retries briefly, because [`is_locked`] holds the lock for a moment. Without a timeout this could block for a whole run.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    let until = Instant::now() + limits::JOURNAL_LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => {
                return Err(JournalError::Lock { path: path.to_owned(), source });
            }
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(JournalError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(RETRY_INTERVAL),
        }
    }
}
