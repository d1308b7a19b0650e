//! The source of the bytes: one file handle that stays open for the whole run, so that replacing the file on disk has no effect.
//! Input that cannot be read twice (standard input, a pipe) is first copied into an anonymous temporary file, which is deleted when the
//! process ends. A changed file is detected by its modification time, its size and the inode of its path. [`Checksums`] detect changed
//! bytes. This module does not interpret the bytes as CSV.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use xxhash_rust::xxh3::xxh3_64;

use super::error::WorkloadError;
use super::{Progress, ProgressFn};

#[derive(Debug)]
pub(super) struct Source {
    /// The file's name as typed; `-` for standard input.
    pub(super) name: String,
    file: File,
    /// The size of the file when it was opened.
    pub(super) bytes: u64,
    /// `None` for a spooled copy, which only this process can change.
    opened: Option<Opened>,
}

/// The state of the file when it was opened.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    inode: (u64, u64),
    stamp: FileStamp,
}

/// Size and modification time, which nearly always change when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

const SPOOL_BLOCK_BYTES: usize = 256 << 10;

impl Source {
    pub(super) fn open(path: &Path, progress: ProgressFn<'_>) -> Result<Self, WorkloadError> {
        let name = path.display().to_string();
        if path.as_os_str() == "-" {
            return Self::spool(name, io::stdin().lock(), progress);
        }
        let failed = |source| WorkloadError::Open { file: name.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(WorkloadError::Directory { file: name });
        }
        if !metadata.is_file() {
            return Self::spool(name, file, progress);
        }
        let opened = Opened {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
            stamp: FileStamp::of(&metadata),
        };
        Ok(Self { name, file, bytes: metadata.len(), opened: Some(opened) })
    }

    /// `None` for a copy, and when the metadata of the file cannot be read.
    pub(super) fn stamp(&self) -> Option<FileStamp> {
        self.opened.as_ref()?;
        self.file.metadata().ok().as_ref().map(FileStamp::of)
    }

    pub(super) fn opened_stamp(&self) -> Option<FileStamp> {
        self.opened.as_ref().map(|opened| opened.stamp)
    }

    /// True when the file was written to since it was opened, or its path names another file. A missing path is not a change, because the
    /// open file is still complete.
    pub(super) fn has_changed(&self) -> bool {
        let is_other = |opened: &Opened| {
            std::fs::metadata(&opened.path).is_ok_and(|now| (now.dev(), now.ino()) != opened.inode)
        };
        self.stamp() != self.opened_stamp() || self.opened.as_ref().is_some_and(is_other)
    }

    /// Copies `input` into a temporary file.
    pub(super) fn spool(
        name: String,
        mut input: impl Read,
        progress: ProgressFn<'_>,
    ) -> Result<Self, WorkloadError> {
        let spool_failed = |source| WorkloadError::Spool {
            file: name.clone(),
            directory: std::env::temp_dir().display().to_string(),
            source,
        };
        let file = tempfile::tempfile().map_err(spool_failed)?;
        let mut block = vec![0; SPOOL_BLOCK_BYTES];
        let mut bytes = 0;
        loop {
            let length = retry_interrupted(|| input.read(&mut block))
                .map_err(|source| WorkloadError::Read { file: name.clone(), offset: bytes, source })?;
            if length == 0 {
                return Ok(Self { name, file, bytes, opened: None });
            }
            file.write_all_at(&block[..length], bytes).map_err(spool_failed)?;
            bytes += length as u64;
            progress(Progress { bytes, bytes_total: None, rows: 0 });
        }
    }

    /// Fills `block` with the bytes from `offset` on. Reads fewer bytes only at the end of the file.
    pub(super) fn read_at(&self, block: &mut [u8], offset: u64) -> Result<usize, WorkloadError> {
        let mut len = 0;
        while len < block.len() {
            let at = offset + len as u64;
            let read = retry_interrupted(|| self.file.read_at(&mut block[len..], at));
            match read.map_err(|source| WorkloadError::Read {
                file: self.name.clone(),
                offset: at,
                source,
            })? {
                0 => break,
                bytes => len += bytes,
            }
        }
        Ok(len)
    }

    /// Like `read_at`, for a part of the file that was read before. Fails when the bytes have changed. `offset` must be a multiple of
    /// [`CHECKED_BYTES`].
    pub(super) fn read_again(
        &self,
        checksums: &Checksums,
        block: &mut [u8],
        offset: u64,
    ) -> Result<usize, WorkloadError> {
        let rest = usize::try_from(checksums.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let expected = rest.min(block.len());
        let len = self.read_at(&mut block[..expected], offset)?;
        if len == expected && checksums.match_bytes(&block[..len], offset) {
            return Ok(len);
        }
        Err(WorkloadError::Changed { file: self.name.clone() })
    }
}

/// The number of bytes per checksum. A checksum takes 8 bytes of memory, for about 20 rows. To read one row, a reader must read and verify
/// this many bytes.
pub(super) const CHECKED_BYTES: usize = 1 << 10;

/// One checksum per piece of a file, so that only bytes that are covered by the file's SHA-256 are run. They also detect a change within
/// the granularity of the modification time, and a change by a program that resets this time.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    sums: Vec<u64>,
    /// The size of the file.
    bytes: u64,
}

impl Checksums {
    /// Adds the next bytes of the file. Their number must be a multiple of [`CHECKED_BYTES`], except at the end of the file.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sums.extend(bytes.chunks(CHECKED_BYTES).map(xxh3_64));
    }

    /// The size of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn shrink(&mut self) {
        self.sums.shrink_to_fit();
    }

    /// True when the bytes at `offset` have the stored checksums.
    fn match_bytes(&self, bytes: &[u8], offset: u64) -> bool {
        let first = usize::try_from(offset / CHECKED_BYTES as u64).unwrap_or(usize::MAX);
        let sums = self.sums.get(first..).unwrap_or_default();
        bytes.chunks(CHECKED_BYTES).zip(sums).all(|(bytes, sum)| xxh3_64(bytes) == *sum)
    }
}

/// Repeats a read that was interrupted by a signal.
fn retry_interrupted(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
