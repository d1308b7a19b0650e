//! What holds for the reader whatever a file holds: for the fuzzer, and for the tests that replay what it found.

use std::io::Cursor;
use std::path::Path;

use super::format::{self, put_frame};
use super::{Entry, Reader, Tail, record};

/// The first byte tells what the rest is: 0 a file as it is; else what is in records, whose header and checksums are made right, so
/// that the fuzzer gets beyond them.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, file)) => check_file(file),
        Some((_, records)) => check_file(&framed(records)),
        None => {}
    }
}

/// How many entries a seed has that is a whole journal of this version, as a run that ended leaves it; `None` for any other.
pub fn whole(data: &[u8]) -> Option<usize> {
    let (0, file) = data.split_first().map(|(form, file)| (*form, file))? else { return None };
    let (entries, _, tail) = read(file)?;
    (tail == Tail::Clean).then_some(entries.len())
}

/// A kind, a length of two bytes and so many bytes, as often as they come.
fn framed(mut records: &[u8]) -> Vec<u8> {
    let mut file = format::header().to_vec();
    while let [kind, low, high, rest @ ..] = records {
        let length = rest.len().min(u16::from_le_bytes([*low, *high]).into());
        let (payload, further) = rest.split_at(length);
        put_frame(&mut file, *kind, |out| out.extend(payload)).expect("64 KiB are no long record");
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
    // Up to the fault it is a journal; without a whole header it is none.
    if end > 0 {
        assert_eq!(read(&file[..end]), Some((entries.clone(), end, Tail::Clean)));
    }
    // What was read is what a writer writes.
    let again = written(&entries);
    assert_eq!(read(&again), Some((entries.clone(), again.len(), Tail::Clean)));
    let counted = open(&again).and_then(|mut reader| reader.count_samples().ok());
    let samples = entries.iter().map(|entry| match entry {
        Entry::Results { samples, .. } => samples.len() as u64,
        Entry::Sent { .. } | Entry::Fact(_) => 0,
    });
    assert_eq!(counted, Some(samples.sum()));
}

fn open(file: &[u8]) -> Option<Reader<Cursor<&[u8]>>> {
    Reader::over(Cursor::new(file), file.len() as u64, Path::new("journal")).ok()
}

/// The entries, where they end, and how. `None` for a file that is no journal.
fn read(file: &[u8]) -> Option<(Vec<Entry>, usize, Tail)> {
    let mut reader = open(file)?;
    let entries = reader.by_ref().collect::<Result<_, _>>().expect("memory can be read");
    let end = usize::try_from(reader.end()).expect("it is within the file");
    Some((entries, end, reader.tail().expect("all was read")))
}

fn written(entries: &[Entry]) -> Vec<u8> {
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
        put.expect("what was read is not too long");
    }
    file
}
