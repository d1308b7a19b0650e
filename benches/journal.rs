//! What a row costs in the journal: bytes, and time to write and to read back.
//! `cargo bench -p muster-coordinator --bench journal [-- ROWS]`; the file is written to the temporary directory.
#![allow(clippy::print_stdout, reason = "a benchmark's report goes to stdout")]

use std::time::{Duration, Instant};

use anyhow::ensure;
use muster_common::ids::{Epoch, RowId};
use muster_common::measurement::{Answer, Outcome};
use muster_coordinator::journal::{Entry, Reader, Sample, Tail, Writer};
use muster_coordinator::workload::HostIndex;

const HOSTS: u32 = 10_000;

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds `--bench`.
    let rows = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let rows: u32 = rows.map_or(Ok(4_000_000), |text| text.parse())?;
    println!("{rows} rows, {HOSTS} hosts");
    for workers in [1, 4] {
        for batch in [256, 16] {
            measure(rows, workers, batch)?;
        }
    }
    Ok(())
}

/// Each batch is written as a run does it: the rows that go out, the results that came back, one commit each.
fn measure(rows: u32, workers: u32, batch: u32) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("journal");
    let samples: Vec<Sample> = (0..rows).map(|row| sample(row, workers)).collect();
    let batch_rows = usize::try_from(batch)?;
    let mut writer = Writer::create(&path)?;

    let mut ids = Vec::new();
    let start = Instant::now();
    for batch in samples.chunks(batch_rows) {
        writer.results(Epoch::new(1), batch);
        writer.commit()?;
    }
    let results = start.elapsed();
    let bytes = std::fs::metadata(&path)?.len();

    let start = Instant::now();
    let mut read = Reader::open(&path)?;
    let mut found = 0;
    for entry in read.by_ref() {
        if let Entry::Results { samples, .. } = entry? {
            found += samples.len();
        }
    }
    let reading = start.elapsed();
    ensure!(
        found == samples.len() && read.tail() == Some(Tail::Clean),
        "the journal is not what was written"
    );

    let start = Instant::now();
    let counted = Reader::open(&path)?.count_samples()?;
    let counting = start.elapsed();
    ensure!(counted == u64::from(rows), "the journal is not what was written");

    let start = Instant::now();
    for batch in samples.chunks(batch_rows) {
        ids.clear();
        ids.extend(batch.iter().map(|sample| sample.row));
        writer.sent(Epoch::new(1), 0, &ids);
        writer.commit()?;
    }
    let sent = start.elapsed();
    let sent_bytes = std::fs::metadata(&path)?.len() - bytes;
    let start = Instant::now();
    writer.sync()?;
    let synced = start.elapsed();

    let per_row = |took: Duration| took.as_secs_f64() * 1e9 / f64::from(rows);
    let size =
        |bytes: u64| f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) * 1024.0 / f64::from(rows);
    println!(
        "batches of {batch:>3} of {workers} workers: results {:.1} bytes and {:.0} ns a row, sent {:.1} bytes and {:.0} ns; \
         read {:.0} ns, counted {:.1} ns; sync at the end {:.0} ms",
        size(bytes),
        per_row(results),
        size(sent_bytes),
        per_row(sent),
        per_row(reading),
        per_row(counting),
        synced.as_secs_f64() * 1e3
    );
    Ok(())
}

/// Every third row of the file or so, as one of a few agents has them; a query of about a millisecond that returns 60 rows.
fn sample(row: u32, workers: u32) -> Sample {
    let random = u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let jitter_ns = (random >> 44) % 500_000;
    let gap = u32::try_from(random >> 62).unwrap_or(0);
    Sample {
        row: RowId::new(row.wrapping_mul(3).wrapping_add(gap)),
        host: HostIndex::new(row % HOSTS),
        worker: row % workers,
        attempt: 1,
        statement: 0,
        execution: 1,
        start_ns: u64::from(row / workers) * 1_100_000 + jitter_ns,
        lag_ns: 0,
        service_time_ns: 800_000 + jitter_ns,
        outcome: Outcome::Completed(Answer { rows: 60, bytes: 1_440, digest: random }),
    }
}
