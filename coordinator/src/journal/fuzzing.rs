//! Invariants of the reader for arbitrary input, used by the fuzzer and by the tests that replay its corpus.

use std::io::Cursor;
use std::path::Path;

use super::format::{self, put_frame};
use super::{Entry, Reader, Tail, record};

/// Checks the invariants. If the first byte is 0, the rest is a journal file. Otherwise the rest is a list of records; the header and
/// the checksums are added here, so that the fuzzer gets past them.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, file)) => check_file(file),
        Some((_, records)) => check_file(&framed(records)),
        None => {}
    }
}

/// Returns the number of entries if the seed is a complete, undamaged journal of this version; otherwise `None`.
pub fn whole(data: &[u8]) -> Option<usize> {
    let (0, file) = data.split_first().map(|(form, file)| (*form, file))? else { return None };
    let (entries, _, tail) = read(file)?;
    (tail == Tail::Clean).then_some(entries.len())
}

/// Builds a journal from a sequence of records, each made of a kind (1 byte), a length (2 bytes) and a payload of that length.
fn framed(mut records: &[u8]) -> Vec<u8> {
    let mut file = format::header().to_vec();
    while let [kind, low, high, rest @ ..] = records {
        let length = rest.len().min(u16::from_le_bytes([*low, *high]).into());
        let (payload, further) = rest.split_at(length);
        put_frame(&mut file, *kind, |out| out.extend(payload)).expect("64 KiB is within the record limit");
        records = further;
    }
    file
}

fn check_file(file: &[u8]) {
    let Some((entries, end, tail)) = read(file) else { return };
    match tail {
        Tail::Clean => assert_eq!(end, file.len()),
        Tail::Torn { offset, bytes, .. } => {
            assert_eq!((offset, offset + bytes), (end as u64, file.len() as u64))
        }
    }
    // The part before the fault is itself a valid journal, if the header is complete.
    if end > 0 {
        assert_eq!(read(&file[..end]), Some((entries.clone(), end, Tail::Clean)));
    }
    // Encoding the decoded entries and reading them again gives the same entries.
    let rewritten = encode(&entries);
    assert_eq!(read(&rewritten), Some((entries.clone(), rewritten.len(), Tail::Clean)));
    let counted = open(&rewritten).and_then(|mut reader| reader.count_samples().ok());
    let samples = entries.iter().map(|entry| match entry {
        Entry::Results { samples, .. } => samples.len() as u64,
        Entry::Sent { .. } | Entry::Fact(_) => 0,
    });
    assert_eq!(counted, Some(samples.sum()));
}

fn open(file: &[u8]) -> Option<Reader<Cursor<&[u8]>>> {
    Reader::over(Cursor::new(file), file.len() as u64, Path::new("journal")).ok()
}

/// Returns the entries, the offset of their end and the tail; `None` if the file is not a journal.
fn read(file: &[u8]) -> Option<(Vec<Entry>, usize, Tail)> {
    let mut reader = open(file)?;
    let entries = reader.by_ref().collect::<Result<_, _>>().expect("memory can be read");
    let end = usize::try_from(reader.end()).expect("the end is within the file");
    Some((entries, end, reader.tail().expect("all entries were read")))
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut file = format::header().to_vec();
    for entry in entries {
        let put = match entry {
            Entry::Results { epoch, samples } => {
                put_frame(&mut file, record::RESULTS, |out| record::put_results(out, *epoch, samples))
            }
            Entry::Sent { epoch, worker, rows } => {
                put_frame(&mut file, record::SENT, |out| record::put_sent(out, *epoch, *worker, rows))
            }
            Entry::Fact(json) => put_frame(&mut file, record::FACT, |out| out.extend(json)),
        };
        put.expect("a decoded entry is within the record limit");
    }
    file
}
