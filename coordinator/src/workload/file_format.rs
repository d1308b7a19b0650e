//! Recognizes files that are not CSV in UTF-8 by their first bytes, so that an error names the format and how to convert it.

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
