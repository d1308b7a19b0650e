//! Where the bytes come from: one file handle that stays open for the whole run, so that a file replaced on disk does no harm.
//! What cannot be read twice (standard input, a pipe) goes into an anonymous temporary file first, which vanishes with the process.
//! A changed file is detected by its modification time, its size and the inode of its path. [`Checksums`] detect changed bytes.
//! Nothing here knows what a CSV is.

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
    /// As typed.
    pub(super) name: String,
    file: File,
    /// When it was opened.
    pub(super) bytes: u64,
    /// `None` for a copy, which only this process can change.
    opened: Option<Opened>,
}

/// The state of the file when it was opened.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    inode: (u64, u64),
    written: Written,
}

/// Values that nearly always change when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Written {
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
            written: Written::of(&metadata),
        };
        Ok(Self { name, file, bytes: metadata.len(), opened: Some(opened) })
    }

    /// `None` for a copy, and when the metadata of the file cannot be read.
    pub(super) fn written(&self) -> Option<Written> {
        self.opened.as_ref()?;
        self.file.metadata().ok().as_ref().map(Written::of)
    }

    pub(super) fn written_when_opened(&self) -> Option<Written> {
        self.opened.as_ref().map(|opened| opened.written)
    }

    /// True when the file was written to since it was opened, or its path names another file. A missing path is not a change: the open file
    /// is still whole.
    pub(super) fn has_changed(&self) -> bool {
        let is_other = |opened: &Opened| {
            std::fs::metadata(&opened.path).is_ok_and(|now| (now.dev(), now.ino()) != opened.inode)
        };
        self.written() != self.written_when_opened() || self.opened.as_ref().is_some_and(is_other)
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
                return Ok(Self { name, file, bytes, opened: None });
            }
            file.write_all_at(&block[..length], bytes).map_err(spool_failed)?;
            bytes += length as u64;
            progress(Progress { bytes, bytes_total: None, rows: 0 });
        }
    }

    /// Fills `block` from `offset` on. Reads less only at the end of the file.
    pub(super) fn read_at(&self, block: &mut [u8], offset: u64) -> Result<usize, WorkloadError> {
        let mut len = 0;
        while len < block.len() {
            let at = offset + len as u64;
            let read = retried(|| self.file.read_at(&mut block[len..], at));
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

    /// Like `read_at`, for a file that was read before. Fails when the bytes are not those that were read then. `offset` is a multiple of
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
        if len == expected && checksums.are_of(&block[..len], offset) {
            return Ok(len);
        }
        Err(WorkloadError::Changed { file: self.name.clone() })
    }
}

/// Number of bytes with one checksum: 8 bytes of memory for about 20 rows. A reader has to read all of them for one row.
pub(super) const CHECKED_BYTES: usize = 1 << 10;

/// A checksum for every piece of a file, so that only the bytes that belong to its SHA-256 run. Also finds a change within the granularity
/// of the modification time, or by a program that sets this time back.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    sums: Vec<u64>,
    /// The size of the file.
    bytes: u64,
}

impl Checksums {
    /// Adds the next bytes of the file. Only the last ones may be fewer than a multiple of [`CHECKED_BYTES`].
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

    fn are_of(&self, bytes: &[u8], offset: u64) -> bool {
        let first = usize::try_from(offset / CHECKED_BYTES as u64).unwrap_or(usize::MAX);
        let sums = self.sums.get(first..).unwrap_or_default();
        bytes.chunks(CHECKED_BYTES).zip(sums).all(|(bytes, sum)| xxh3_64(bytes) == *sum)
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

/// A file that is not UTF-8 text, recognized by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
    SevenZip,
    Zip,
    OldSpreadsheet,
    Parquet,
    Arrow,
    Orc,
    Avro,
    Sqlite,
    Pdf,
    Utf16,
    Utf32,
}

impl Packing {
    pub(crate) fn of(first: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Packing); 20] = [
            (b"\x1f\x8b", Packing::Gzip),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"\xfd7zXZ\0", Packing::Xz),
            // `BZh`, a level and the digits of pi. The first three alone could be the start of a header.
            (b"BZh91AY&SY", Packing::Bzip2),
            (b"\x04\x22\x4d\x18", Packing::Lz4),
            (b"7z\xbc\xaf\x27\x1c", Packing::SevenZip),
            (b"PK\x03\x04", Packing::Zip),
            (b"PK\x05\x06", Packing::Zip),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Packing::OldSpreadsheet),
            (b"PAR1", Packing::Parquet),
            (b"PARE", Packing::Parquet),
            (b"ARROW1\0", Packing::Arrow),
            (b"ORC\x0a\x03", Packing::Orc),
            (b"Obj\x01", Packing::Avro),
            (b"SQLite format 3\0", Packing::Sqlite),
            (b"%PDF-", Packing::Pdf),
            (b"\xff\xfe\0\0", Packing::Utf32),
            (b"\0\0\xfe\xff", Packing::Utf32),
            (b"\xff\xfe", Packing::Utf16),
            (b"\xfe\xff", Packing::Utf16),
        ];
        let known = MAGIC.iter().find(|(magic, packing)| {
            first.starts_with(magic) && (*packing != Self::Parquet || Self::is_parquet(first))
        });
        known.map(|(_, packing)| *packing).or_else(|| Self::of_wide_text(first))
    }

    /// The magic of Parquet may be the beginning of a header, such as `PARENT`. The file also ends with it, and has no text in between.
    fn is_parquet(first: &[u8]) -> bool {
        let (magic, rest) = first.split_at(4);
        rest.ends_with(magic)
            || rest.iter().take(64).any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
    }

    /// True for UTF-16 or UTF-32 without a byte order mark: in an ASCII header every second byte, or three of four, are 0.
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

    /// The name of this kind of file.
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "compressed (gzip)",
            Self::Zstd => "compressed (zstd)",
            Self::Xz => "compressed (xz)",
            Self::Bzip2 => "compressed (bzip2)",
            Self::Lz4 => "compressed (lz4)",
            Self::SevenZip => "a 7-Zip archive",
            Self::Zip => "a ZIP archive or a spreadsheet",
            Self::OldSpreadsheet => "a spreadsheet or document of an old Microsoft Office",
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

    /// Describes this kind of file, and says what to do with it to read `wanted` from it.
    pub(crate) fn advice(self, wanted: Wanted) -> String {
        let (action, command) = match self {
            Self::Gzip => ("unpack", "gzip -dc"),
            Self::Zstd => ("unpack", "zstd -dc"),
            Self::Xz => ("unpack", "xz -dc"),
            Self::Bzip2 => ("unpack", "bzip2 -dc"),
            Self::Lz4 => ("unpack", "lz4 -dc"),
            Self::Utf16 => ("convert", "iconv -f UTF-16 -t UTF-8"),
            Self::Utf32 => ("convert", "iconv -f UTF-32 -t UTF-8"),
            other => {
                let what = if wanted == Wanted::Sql {
                    "save the text in UTF-8"
                } else {
                    "export it as CSV in UTF-8"
                };
                return format!("{}; {what}", other.name());
            }
        };
        let name = self.name();
        match wanted {
            Wanted::Workload => {
                format!("{name}; {action} it first, or pipe it in: {command} FILE | coordinator run -")
            }
            Wanted::Data | Wanted::Sql => format!("{name}; {action} it first: {command} FILE"),
        }
    }
}

/// What a file should contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The only kind that can also be read from a pipe.
    Workload,
    Data,
    Sql,
}
