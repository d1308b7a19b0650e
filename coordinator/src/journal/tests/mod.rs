//! Tests of the whole journal: a reader returns what was written, and nothing else, even from a damaged file.

mod damage;
mod round_trip;
mod writing;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use muster_core::ids::{Epoch, RowId};
use muster_core::sample::{Answer, Execution, Outcome, QueryError, Sample, SqlState};
use tempfile::TempDir;

use super::{CountedSample, Entry, JournalError, Reader, Tail, Writer};
use crate::workload::HostIndex;

fn temporary_path() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    (directory, path)
}

fn write(writer: &mut Writer, entries: &[Entry]) {
    for entry in entries {
        match entry {
            Entry::Results { epoch, samples } => writer.results(*epoch, samples),
            Entry::Sent { epoch, worker, rows } => writer.sent(*epoch, *worker, rows),
            Entry::Fact(json) => {
                writer.fact(&serde_json::from_slice::<serde_json::Value>(json).unwrap()).unwrap();
            }
        }
    }
}

/// The bytes of a journal with these entries.
fn journal(entries: &[Entry]) -> Vec<u8> {
    let (_directory, path) = temporary_path();
    let mut writer = Writer::create(&path).unwrap();
    write(&mut writer, entries);
    writer.commit().unwrap();
    fs::read(path).unwrap()
}

/// Reads all entries and the tail.
fn read(bytes: &[u8]) -> Result<(Vec<Entry>, Tail), JournalError> {
    let mut reader = Reader::over(Cursor::new(bytes), bytes.len() as u64, Path::new("journal"))?;
    let entries = reader.by_ref().collect::<Result<_, _>>()?;
    Ok((entries, reader.tail().unwrap()))
}

fn sample(row: u32, outcome: Outcome) -> CountedSample {
    CountedSample {
        host: HostIndex::new(row % 1_000),
        worker: row % 4,
        attempt: 1,
        sample: Sample {
            start_ns: 3_600_000_000_000 + u64::from(row) * 250_000,
            service_time_ns: 1_000_000 + u64::from(row.wrapping_mul(2_654_435_761) >> 12),
            execution: Execution { number: 1, ..Execution::default() },
            outcome,
            ..Sample::zero(RowId::new(row))
        },
    }
}

fn completed(row: u32) -> CountedSample {
    let digest = u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    sample(row, Outcome::Completed(Answer { rows: 60, bytes: 1_440 + u64::from(row % 7), digest }))
}

fn failed(row: u32, message: &str) -> CountedSample {
    let sqlstate = SqlState::try_new("57014").unwrap();
    sample(row, Outcome::Failed(QueryError::new(sqlstate, message)))
}

/// Sample entries that cover every kind.
fn some_entries() -> Vec<Entry> {
    let rows = [4, 2, 3].map(RowId::new).to_vec();
    let samples = vec![completed(2), failed(4, "timed out"), failed(5, "timed out"), completed(3)];
    vec![
        Entry::Fact(br#"{"granted":{"epoch":7,"slot":0}}"#.to_vec()),
        Entry::Sent { epoch: Epoch::new(7), worker: 1, rows },
        Entry::Results { epoch: Epoch::new(7), samples },
        Entry::Results { epoch: Epoch::new(300), samples: vec![failed(9, "")] },
        Entry::Fact(b"null".to_vec()),
    ]
}
