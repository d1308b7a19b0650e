//! Where the bytes come from: one file handle that stays open for the whole run, so that a file replaced on disk does no harm.
//! What cannot be read twice (standard input, a pipe) goes into an anonymous temporary file first, which vanishes with the process.
//! Nothing here knows what a CSV is.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::WorkloadError;
use super::{Progress, ProgressFn};

#[derive(Debug)]
pub(super) struct Source {
    /// As typed.
    pub(super) name: String,
    file: File,
    /// When it was opened.
    pub(super) bytes: u64,
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
        Ok(Self { name, file, bytes: metadata.len() })
    }

    /// Copies all of `input` into a temporary file.
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
            let length = retried(|| input.read(&mut block)).map_err(|source| WorkloadError::Read {
                file: name.clone(),
                offset: bytes,
                source,
            })?;
            if length == 0 {
                return Ok(Self { name, file, bytes });
            }
            file.write_all_at(&block[..length], bytes).map_err(spool_failed)?;
            bytes += length as u64;
            progress(Progress { bytes, bytes_total: None, rows: 0 });
        }
    }

    /// Reads at `offset`; 0 is the end of the file.
    pub(super) fn read_at(&self, block: &mut [u8], offset: u64) -> Result<usize, WorkloadError> {
        retried(|| self.file.read_at(block, offset)).map_err(|source| WorkloadError::Read {
            file: self.name.clone(),
            offset,
            source,
        })
    }
}

fn retried(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A file that is not text in UTF-8, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Zip,
    Utf16,
}

impl Packing {
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Packing); 7] = [
            (b"\x1f\x8b", Packing::Gzip),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"PK\x03\x04", Packing::Zip),
            (b"\xff\xfe", Packing::Utf16),
            (b"\xfe\xff", Packing::Utf16),
            // `BZh`, a level and the digits of pi: the first three alone may begin a header.
            (b"BZh91AY&SY", Packing::Bzip2),
        ];
        let (_, packing) = MAGIC.iter().find(|(magic, _)| first.starts_with(magic))?;
        Some(*packing)
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Gzip => {
                "compressed (gzip); unpack it first, or pipe it in: gzip -dc FILE | coordinator run -"
            }
            Self::Zstd => {
                "compressed (zstd); unpack it first, or pipe it in: zstd -dc FILE | coordinator run -"
            }
            Self::Xz => "compressed (xz); unpack it first, or pipe it in: xz -dc FILE | coordinator run -",
            Self::Bzip2 => {
                "compressed (bzip2); unpack it first, or pipe it in: bzip2 -dc FILE | coordinator run -"
            }
            Self::Zip => "a ZIP archive or a spreadsheet; unpack it, or export it as CSV in UTF-8",
            Self::Utf16 => {
                "UTF-16; convert it first, or pipe it in: iconv -f UTF-16 -t UTF-8 FILE | coordinator run -"
            }
        }
    }
}
