//! File layout of a journal: a header followed by frames. This module does not interpret payloads.
//!
//! | header, 16 bytes | | frame | |
//! |---|---|---|---|
//! | 8 | `MSTRJRNL` | 4 | length of kind and payload |
//! | 4 | version | 4 | CRC-32C of kind and payload |
//! | 4 | CRC-32C of the first 12 bytes | 1 | kind |
//! | | | … | payload |
//!
//! All numbers are little-endian. A length of 0 is invalid, because a file system that lost data may leave zeros.

use muster_core::limits;

pub(super) const MAGIC: &[u8; 8] = b"MSTRJRNL";
/// Format version of the whole file, payloads included. It increases with every change that an older reader would misinterpret.
pub(super) const VERSION: u32 = 3;
pub(super) const HEADER_BYTES: usize = 16;
pub(super) const FRAME_HEAD_BYTES: usize = 8;

/// Why the readable part of a journal ends before the file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the header is incomplete")]
    Header,
    #[error("a record of {wanted} bytes is truncated after {found} bytes")]
    Incomplete { wanted: u64, found: u64 },
    #[error("a record has the invalid length {0}; the valid range is 1 to {max} bytes", max = limits::JOURNAL_RECORD_BYTES_MAX)]
    Length(u32),
    #[error("a record does not match its checksum")]
    Checksum,
    #[error("a record has the unknown kind {0}; use the program version that wrote the journal")]
    Kind(u8),
    #[error("a record of kind {0} has an invalid payload")]
    Content(u8),
}

pub(super) fn header() -> [u8; HEADER_BYTES] {
    header_of(VERSION)
}

pub(super) fn header_of(version: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Classification of the start of a file: its first [`HEADER_BYTES`] bytes, or fewer if the file is shorter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Ours,
    /// The file ends within the header, and the part of the magic that it contains is correct.
    Torn,
    Version(u32),
    Damaged,
    Foreign,
}

pub(super) fn parse_header(first: &[u8]) -> Header {
    let Some(whole) = first.first_chunk::<HEADER_BYTES>() else {
        let known = first.len().min(MAGIC.len());
        return if first[..known] == MAGIC[..known] { Header::Torn } else { Header::Foreign };
    };
    if !whole.starts_with(MAGIC) {
        return Header::Foreign;
    }
    let version = u32::from_le_bytes([whole[8], whole[9], whole[10], whole[11]]);
    match (*whole == header_of(version), version) {
        (false, _) => Header::Damaged,
        (true, VERSION) => Header::Ours,
        (true, other) => Header::Version(other),
    }
}

/// Appends a frame; `payload` writes its payload. Leaves the buffer unchanged if the frame would be too long.
pub(super) fn put_frame(
    out: &mut Vec<u8>,
    kind: u8,
    payload: impl FnOnce(&mut Vec<u8>),
) -> Result<(), FrameTooLong> {
    let start = out.len();
    out.extend([0; FRAME_HEAD_BYTES]);
    out.push(kind);
    payload(out);
    let body = &out[start + FRAME_HEAD_BYTES..];
    let bytes = body.len();
    let checksum = crc32c::crc32c(body);
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= limits::JOURNAL_RECORD_BYTES_MAX);
    let Some(length) = length else {
        out.truncate(start);
        return Err(FrameTooLong { bytes });
    };
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct FrameTooLong {
    pub(super) bytes: usize,
}

/// Parses a frame's head into length and checksum.
pub(super) fn frame_head([a, b, c, d, e, f, g, h]: [u8; FRAME_HEAD_BYTES]) -> (u32, u32) {
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_distinguished_from_any_other_start_of_a_file() {
        let ours = header();
        for length in 0..HEADER_BYTES {
            assert_eq!(parse_header(&ours[..length]), Header::Torn, "{length}");
        }
        assert_eq!(parse_header(&ours), Header::Ours);
        assert_eq!(parse_header(&header_of(7)), Header::Version(7));
        assert_eq!(parse_header(b"{\"sche"), Header::Foreign);
        assert_eq!(parse_header(&[0; HEADER_BYTES]), Header::Foreign);
        for position in 0..HEADER_BYTES {
            let mut damaged = ours;
            damaged[position] ^= 1;
            let expected = if position < MAGIC.len() { Header::Foreign } else { Header::Damaged };
            assert_eq!(parse_header(&damaged), expected, "{position}");
        }
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_not_written() {
        let mut out = vec![1, 2];
        let bytes = limits::JOURNAL_RECORD_BYTES_MAX;
        let written = put_frame(&mut out, 3, |out| out.resize(out.len() + bytes, 0));
        assert_eq!(written, Err(FrameTooLong { bytes: bytes + 1 }));
        assert_eq!(out, [1, 2]);
    }
}
