//! Truncated, damaged and unrelated files: the reader returns the intact records before the damage and nothing that was not written.

use std::fs;

use proptest::prelude::*;

use super::super::format::{self, HEADER_BYTES};
use super::super::{Lock, Reader, Tail};
use super::{journal, read, some_entries, temporary_path, write};

#[test]
fn a_journal_truncated_anywhere_is_read_up_to_the_cut_and_can_be_continued() {
    let written = some_entries();
    let bytes = journal(&written);
    // Where the header and each entry end.
    let ends: Vec<usize> = (0..=written.len()).map(|count| journal(&written[..count]).len()).collect();
    for cut in 0..bytes.len() {
        let whole = ends.iter().rposition(|end| *end <= cut);
        let (found, tail) = read(&bytes[..cut]).unwrap();
        assert_eq!(found, written[..whole.unwrap_or(0)], "cut at {cut}");
        let end = whole.map_or(0, |count| ends[count]);
        match tail {
            Tail::Clean => assert_eq!(cut, end),
            Tail::Torn { offset, bytes, .. } => {
                assert_eq!((offset, bytes), (end as u64, (cut - end) as u64), "cut at {cut}");
            }
        }

        let (_directory, path) = temporary_path();
        fs::write(&path, &bytes[..cut]).unwrap();
        let lock = Lock::take(&path).unwrap();
        let mut reader = lock.reader().unwrap();
        reader.by_ref().for_each(|entry| drop(entry.unwrap()));
        let mut writer = lock.append(reader.end()).unwrap();
        write(&mut writer, &written[whole.unwrap_or(0)..]);
        writer.commit().unwrap();
        assert!(fs::read(&path).unwrap() == bytes, "cut at {cut} and continued");
    }
}

#[test]
fn a_flipped_bit_never_gives_an_entry_that_was_not_written() {
    let written = some_entries();
    let bytes = journal(&written);
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            match read(&damaged) {
                Ok((found, tail)) => {
                    assert!(found.len() < written.len() && tail != Tail::Clean, "{position}.{bit}");
                    assert_eq!(found, written[..found.len()], "{position}.{bit}");
                }
                Err(_) => assert!(position < HEADER_BYTES, "{position}.{bit}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        bytes.splice(0..0, format::header());
        let (found, _) = read(&bytes).unwrap();
        prop_assert!(found.is_empty());
    }

    /// The checksums are valid, so the payload is decoded, too.
    #[test]
    fn no_content_makes_the_reader_panic(
        kind in 0..5_u8,
        content in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..300),
    ) {
        let mut bytes = format::header().to_vec();
        format::put_frame(&mut bytes, kind, |out| out.extend(&content)).unwrap();
        let (found, tail) = read(&bytes).unwrap();
        prop_assert_eq!(found.len() == 1, tail == Tail::Clean);
    }

    #[test]
    fn overwriting_with_zeros_or_noise_gives_no_new_entries(
        start in 0..400_usize,
        noise in prop_oneof![Just(vec![0; 64]), prop::collection::vec(any::<u8>(), 1..64)],
    ) {
        let written = some_entries();
        let mut bytes = journal(&written);
        let start = HEADER_BYTES + start % (bytes.len() - HEADER_BYTES);
        let end = bytes.len().min(start + noise.len());
        bytes[start..end].copy_from_slice(&noise[..end - start]);
        let (found, _) = read(&bytes).unwrap();
        prop_assert_eq!(&found, &written[..found.len()]);
    }
}

#[test]
fn a_fault_is_reported_with_its_offset() {
    let first = journal(&some_entries()[..1]);
    let check = |more: &[u8], expected: &str| {
        let bytes = [first.as_slice(), more].concat();
        let Tail::Torn { offset, bytes, reason } = read(&bytes).unwrap().1 else { panic!("{more:?}") };
        assert_eq!((offset, bytes), (first.len() as u64, more.len() as u64), "{expected}");
        assert_eq!(reason.to_string(), expected);
    };
    let frame = |kind, content: &[u8]| {
        let mut bytes = Vec::new();
        format::put_frame(&mut bytes, kind, |out| out.extend(content)).unwrap();
        bytes
    };
    check(&[1, 0, 0], "a record of 8 bytes is truncated after 3 bytes");
    check(&frame(3, b"{}")[..10], "a record of 11 bytes is truncated after 10 bytes");
    check(&[0; 100], "a record has the invalid length 0; the valid range is 1 to 16777216 bytes");
    check(&[0xff; 100], "a record has the invalid length 4294967295; the valid range is 1 to 16777216 bytes");
    check(&[1, 0, 0, 0, 0, 0, 0, 0, 3], "a record does not match its checksum");
    check(
        &frame(77, b""),
        "a record has the unknown kind 77; use the program version that wrote the journal",
    );
    check(&frame(1, &[0]), "a record of kind 1 has an invalid payload");
}

#[test]
fn a_file_that_is_not_a_journal_of_this_version_is_refused() {
    let (directory, path) = temporary_path();
    let shown = path.display().to_string();
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).unwrap();
        let error = Reader::open(&path).unwrap_err().to_string();
        assert_eq!(error.replace(&shown, "journal"), expected);
    };
    check(b"hostname,start_time\n", "'journal' is not a run journal: it does not start with 'MSTRJRNL'");
    check(b"{", "'journal' is not a run journal: it does not start with 'MSTRJRNL'");
    check(
        &format::header_of(1),
        "journal 'journal' has format version 1, but this program reads version 3; use the program version that wrote it",
    );
    let mut damaged = format::header();
    damaged[15] ^= 0x80;
    check(
        &damaged,
        "the header of journal 'journal' is damaged, so its records cannot be trusted; restore the file",
    );
    let missing = Reader::open(&directory.path().join("none")).unwrap_err().to_string();
    assert!(missing.ends_with("none': No such file or directory (os error 2)"), "{missing}");
}
