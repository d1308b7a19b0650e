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

/// A file format other than UTF-8 text, detected by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
    SevenZip,
    Zip,
    LegacyOffice,
    Parquet,
    Arrow,
    Orc,
    Avro,
    Sqlite,
    Pdf,
    Utf16,
    Utf32,
}

impl FileFormat {
    pub(crate) fn of(first: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], FileFormat); 20] = [
            (b"\x1f\x8b", FileFormat::Gzip),
            (b"\x28\xb5\x2f\xfd", FileFormat::Zstd),
            (b"\xfd7zXZ\0", FileFormat::Xz),
            // `BZh`, a level and the digits of pi. The first three letters alone could be the start of a header.
            (b"BZh91AY&SY", FileFormat::Bzip2),
            (b"\x04\x22\x4d\x18", FileFormat::Lz4),
            (b"7z\xbc\xaf\x27\x1c", FileFormat::SevenZip),
            (b"PK\x03\x04", FileFormat::Zip),
            (b"PK\x05\x06", FileFormat::Zip),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileFormat::LegacyOffice),
            (b"PAR1", FileFormat::Parquet),
            (b"PARE", FileFormat::Parquet),
            (b"ARROW1\0", FileFormat::Arrow),
            (b"ORC\x0a\x03", FileFormat::Orc),
            (b"Obj\x01", FileFormat::Avro),
            (b"SQLite format 3\0", FileFormat::Sqlite),
            (b"%PDF-", FileFormat::Pdf),
            (b"\xff\xfe\0\0", FileFormat::Utf32),
            (b"\0\0\xfe\xff", FileFormat::Utf32),
            (b"\xff\xfe", FileFormat::Utf16),
            (b"\xfe\xff", FileFormat::Utf16),
        ];
        let known = MAGIC.iter().find(|(magic, format)| {
            first.starts_with(magic) && (*format != Self::Parquet || Self::is_parquet(first))
        });
        known.map(|(_, format)| *format).or_else(|| Self::of_wide_text(first))
    }

    /// A CSV header may start with the magic number of Parquet, as in `PARENT`. A Parquet file also ends with it and has binary data in
    /// between.
    fn is_parquet(first: &[u8]) -> bool {
        let (magic, rest) = first.split_at(4);
        rest.ends_with(magic)
            || rest.iter().take(64).any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
    }

    /// Detects UTF-16 and UTF-32 without a byte order mark: in an ASCII header every second byte, or three of four bytes, are 0.
    fn of_wide_text(first: &[u8]) -> Option<Self> {
        let zeros = first.first_chunk::<8>()?.map(|byte| byte == 0);
        match zeros {
            [false, true, false, true, false, true, false, true]
            | [true, false, true, false, true, false, true, false] => Some(Self::Utf16),
            [false, true, true, true, false, true, true, true]
            | [true, true, true, false, true, true, true, false] => Some(Self::Utf32),
            _ => None,
        }
    }

    /// The format's name in messages.
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "compressed (gzip)",
            Self::Zstd => "compressed (zstd)",
            Self::Xz => "compressed (xz)",
            Self::Bzip2 => "compressed (bzip2)",
            Self::Lz4 => "compressed (lz4)",
            Self::SevenZip => "a 7-Zip archive",
            Self::Zip => "a ZIP archive or a spreadsheet",
            Self::LegacyOffice => "a legacy Excel spreadsheet or other Microsoft Office document",
            Self::Parquet => "a Parquet file",
            Self::Arrow => "an Arrow (Feather) file",
            Self::Orc => "an ORC file",
            Self::Avro => "an Avro file",
            Self::Sqlite => "an SQLite database",
            Self::Pdf => "a PDF document",
            Self::Utf16 => "UTF-16",
            Self::Utf32 => "UTF-32",
        }
    }

    /// The format's name and how to convert the file so that `expected` can be read from it.
    pub(crate) fn hint(self, expected: ExpectedContent) -> String {
        let (action, command) = match self {
            Self::Gzip => ("unpack", "gzip -dc"),
            Self::Zstd => ("unpack", "zstd -dc"),
            Self::Xz => ("unpack", "xz -dc"),
            Self::Bzip2 => ("unpack", "bzip2 -dc"),
            Self::Lz4 => ("unpack", "lz4 -dc"),
            Self::Utf16 => ("convert", "iconv -f UTF-16 -t UTF-8"),
            Self::Utf32 => ("convert", "iconv -f UTF-32 -t UTF-8"),
            other => {
                let what = if expected == ExpectedContent::Sql {
                    "save the text in UTF-8"
                } else {
                    "export it as CSV in UTF-8"
                };
                return format!("{}; {what}", other.name());
            }
        };
        let name = self.name();
        match expected {
            ExpectedContent::Workload => {
                format!("{name}; {action} it first, or pipe it in: {command} FILE | coordinator run -")
            }
            ExpectedContent::Data | ExpectedContent::Sql => {
                format!("{name}; {action} it first: {command} FILE")
            }
        }
    }
}

/// The content that a file should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpectedContent {
    /// Query parameters as CSV. Can also be read from a pipe.
    Workload,
    /// Table rows as CSV.
    Data,
    Sql,
}
