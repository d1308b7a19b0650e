//! The journal's cost per row: bytes, and time to write and to read back. The file is in the temporary directory.

use std::fmt::Write;
use std::time::{Duration, Instant};

use muster_coordinator::journal::{CountedSample, Entry, Reader, Tail, Writer};
use muster_coordinator::workload::HostIndex;
use muster_core::ids::{Epoch, RowId};
use muster_core::sample::{Answer, Execution, Outcome, Sample};

use crate::figures::median;

const ROUNDS: usize = 3;
const ROWS: u32 = 2_000_000;
const HOSTS: u32 = 10_000;
const BATCHES: [usize; 3] = [1_024, 256, 16];
const WORKERS: u32 = 4;

/// Costs of one round: bytes and nanoseconds per row, and the time of the final fsync.
struct Costs {
    bytes: f64,
    write_ns: f64,
    read_ns: f64,
    count_ns: f64,
    sent_bytes: f64,
    sent_ns: f64,
    sync_ms: f64,
}

pub(crate) fn section() -> String {
    let mut text = format!(
        "{ROWS} rows, {HOSTS} hosts, {WORKERS} workers, one `write` per batch and one fsync at the end; median of {ROUNDS} rounds.\n\n\
         | rows per batch | bytes per row | write, ns per row | read, ns per row | count, ns per row | record of sent rows, bytes per row | ns per row | final fsync, ms |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    let samples: Vec<CountedSample> = (0..ROWS).map(sample).collect();
    for batch in BATCHES {
        let rounds: Vec<Costs> = (0..ROUNDS).map(|_| round(&samples, batch)).collect();
        let of = |cost: fn(&Costs) -> f64| median(&rounds.iter().map(cost).collect::<Vec<_>>());
        writeln!(
            text,
            "| {batch} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} |",
            of(|costs| costs.bytes),
            of(|costs| costs.write_ns),
            of(|costs| costs.read_ns),
            of(|costs| costs.count_ns),
            of(|costs| costs.sent_bytes),
            of(|costs| costs.sent_ns),
            of(|costs| costs.sync_ms),
        )
        .unwrap();
    }
    text
}

/// Writes each batch as a run does, with one commit per batch: the results first, then the records of sent rows.
fn round(samples: &[CountedSample], batch: usize) -> Costs {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut writer = Writer::create(&path).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len() as f64 / f64::from(ROWS);

    let start = Instant::now();
    for batch in samples.chunks(batch) {
        writer.results(Epoch::new(1), batch);
        writer.commit().unwrap();
    }
    let (write, bytes) = (start.elapsed(), length());

    let start = Instant::now();
    let mut reader = Reader::open(&path).unwrap();
    let found: usize = reader.by_ref().map(|entry| samples_of(&entry.unwrap())).sum();
    let read = start.elapsed();
    assert!(
        found == samples.len() && reader.tail() == Some(Tail::Clean),
        "the journal contains what was written"
    );

    let start = Instant::now();
    assert_eq!(Reader::open(&path).unwrap().count_samples().unwrap(), u64::from(ROWS));
    let count = start.elapsed();

    let start = Instant::now();
    let mut ids: Vec<RowId> = Vec::new();
    for batch in samples.chunks(batch) {
        ids.clear();
        ids.extend(batch.iter().map(|counted| counted.sample.row));
        writer.sent(Epoch::new(1), 0, &ids);
        writer.commit().unwrap();
    }
    let (sent, sent_bytes) = (start.elapsed(), length() - bytes);
    let start = Instant::now();
    writer.sync().unwrap();

    let per_row_ns = |took: Duration| took.as_secs_f64() * 1e9 / f64::from(ROWS);
    Costs {
        bytes,
        write_ns: per_row_ns(write),
        read_ns: per_row_ns(read),
        count_ns: per_row_ns(count),
        sent_bytes,
        sent_ns: per_row_ns(sent),
        sync_ms: start.elapsed().as_secs_f64() * 1e3,
    }
}

fn samples_of(entry: &Entry) -> usize {
    match entry {
        Entry::Results { samples, .. } => samples.len(),
        _ => 0,
    }
}

/// About every third row of the file, as with a few agents. The query takes about a millisecond and returns 60 rows.
fn sample(row: u32) -> CountedSample {
    let random = u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let jitter_ns = (random >> 44) % 500_000;
    let gap = u32::try_from(random >> 62).unwrap_or(0);
    CountedSample {
        host: HostIndex::new(row % HOSTS),
        worker: row % WORKERS,
        attempt: 1,
        sample: Sample {
            start_ns: u64::from(row / WORKERS) * 1_100_000 + jitter_ns,
            service_time_ns: 800_000 + jitter_ns,
            execution: Execution { number: 1, ..Execution::default() },
            outcome: Outcome::Completed(Answer { rows: 60, bytes: 1_440, digest: random }),
            ..Sample::zero(RowId::new(row.wrapping_mul(3).wrapping_add(gap)))
        },
    }
}
