//! The outer form of a journal: a header, then frames. Nothing here knows what is in a frame.
//!
//! | header, 16 bytes | | frame | |
//! |---|---|---|---|
//! | 8 | `MSTRJRNL` | 4 | length of kind and payload |
//! | 4 | version | 4 | CRC-32C of kind and payload |
//! | 4 | CRC-32C of the 12 bytes before | 1 | kind |
//! | | | … | payload |
//!
//! All numbers are little-endian. A length of 0 is no frame: where a file system lost what it was given, zeros stand.

use muster_common::limits;

pub(super) const MAGIC: &[u8; 8] = b"MSTRJRNL";
/// Of everything in the file. What an older reader would take for something else makes a new version.
pub(super) const VERSION: u32 = 3;
pub(super) const HEADER_BYTES: usize = 16;
pub(super) const FRAME_HEAD_BYTES: usize = 8;

/// What is wrong where a journal ends before its file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the header is incomplete")]
    Header,
    #[error("a record of {wanted} bytes is cut off after {found}")]
    Incomplete { wanted: u64, found: u64 },
    #[error("a record says that it has {0} bytes; it can have 1 to {max}", max = limits::JOURNAL_RECORD_BYTES_MAX)]
    Length(u32),
    #[error("a record does not match its checksum")]
    Checksum,
    #[error("a record is of kind {0}, which this program does not know; use the one that wrote it")]
    Kind(u8),
    #[error("a record of kind {0} does not hold what its kind should")]
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

/// What the first bytes of a file are; all of them, or [`HEADER_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Ours,
    /// The file ends within the header, and what there is of it is right.
    Torn,
    Version(u32),
    Damaged,
    Foreign,
}

pub(super) fn look_at_header(first: &[u8]) -> Header {
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

/// Appends a frame whose payload `payload` writes. The buffer is left as it was when the frame would be too long.
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

/// A frame's first bytes: length and checksum.
pub(super) fn frame_head([a, b, c, d, e, f, g, h]: [u8; FRAME_HEAD_BYTES]) -> (u32, u32) {
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_known_from_every_other_beginning() {
        let ours = header();
        for length in 0..HEADER_BYTES {
            assert_eq!(look_at_header(&ours[..length]), Header::Torn, "{length}");
        }
        assert_eq!(look_at_header(&ours), Header::Ours);
        assert_eq!(look_at_header(&header_of(7)), Header::Version(7));
        assert_eq!(look_at_header(b"{\"sche"), Header::Foreign);
        assert_eq!(look_at_header(&[0; HEADER_BYTES]), Header::Foreign);
        for position in 0..HEADER_BYTES {
            let mut damaged = ours;
            damaged[position] ^= 1;
            let expected = if position < MAGIC.len() { Header::Foreign } else { Header::Damaged };
            assert_eq!(look_at_header(&damaged), expected, "{position}");
        }
    }

    #[test]
    fn a_frame_that_no_reader_would_take_is_not_written() {
        let mut out = vec![1, 2];
        let bytes = limits::JOURNAL_RECORD_BYTES_MAX;
        let written = put_frame(&mut out, 3, |out| out.resize(out.len() + bytes, 0));
        assert_eq!(written, Err(FrameTooLong { bytes: bytes + 1 }));
        assert_eq!(out, [1, 2]);
    }
}
