//! How fast a workload is read, placed and read again, and how much memory that takes. `MUSTER_WORKLOAD_ROWS` sets the number of rows and
//! reduces the rounds to one. The file, about 60 bytes per row, is in the temporary directory and is removed at the end of the section.

use std::collections::VecDeque;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_coordinator::workload::{RowReader, Workload, open};
use muster_core::ids::{RowId, SlotId, WorkerId};
use muster_core::limits::BATCH_ROWS_MAX;
use muster_core::parameters::PackedParameters;
use muster_core::placement::{self, Method};

use crate::figures::median;
use crate::memory::{peak_mb, reset_peak};
use crate::rows;

const ROUNDS: usize = 3;
const ROWS: u32 = 10_000_000;
const HOSTS: u32 = 1_000;
const WORKERS: u16 = 10;
const PASSES: [&str; 4] = [
    "open: read, check, hash, index",
    "place, and queue each worker's rows",
    "both together",
    "read every row again, workers in rotation",
];

/// One round: the time of each pass, and the peak memory above the start in MB, until the rows are queued and in total.
struct Round {
    passes: [Duration; 4],
    queued_mb: f64,
    all_mb: f64,
}

pub(crate) fn section() -> String {
    let (rows, count) = match std::env::var("MUSTER_WORKLOAD_ROWS") {
        Ok(rows) => (rows.parse().unwrap(), 1),
        Err(_) => (ROWS, ROUNDS),
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    rows::write(file.path(), rows, HOSTS).unwrap();
    let bytes = file.as_file().metadata().unwrap().len();
    let rounds: Vec<Round> = (0..count).map(|_| round(file.path())).collect();
    let memory = |of: fn(&Round) -> f64| of(rounds.iter().max_by(|a, b| of(a).total_cmp(&of(b))).unwrap());
    let (queued_mb, all_mb) = (memory(|round| round.queued_mb), memory(|round| round.all_mb));
    let mut text = format!(
        "{rows} rows, {:.1} GB, {HOSTS} hosts, {WORKERS} workers, one thread; median of {count} rounds.\n\n\
         | pass | M rows/s |\n|---|---|\n",
        bytes as f64 / 1e9
    );
    for (pass, name) in PASSES.iter().enumerate() {
        let rates: Vec<f64> =
            rounds.iter().map(|round| f64::from(rows) / round.passes[pass].as_secs_f64() / 1e6).collect();
        writeln!(text, "| {name} | {:.1} |", median(&rates)).unwrap();
    }
    let per_row = |mb: f64| mb * 1e6 / f64::from(rows);
    writeln!(
        text,
        "\nPeak memory above the start: {queued_mb:.0} MB ({:.1} bytes per row) until the rows are queued, {all_mb:.0} MB in total.",
        per_row(queued_mb)
    )
    .unwrap();
    text
}

fn round(file: &Path) -> Round {
    reset_peak();
    let before = peak_mb();
    let start = Instant::now();
    let workload = open(file, &rows::options(), &mut |_| {}).unwrap();
    let opened = start.elapsed();
    let queues = queued(&workload);
    let queued = start.elapsed();
    let queued_mb = peak_mb() - before;
    let start = Instant::now();
    read_all(Arc::new(workload), queues);
    let passes = [opened, queued - opened, queued, start.elapsed()];
    Round { passes, queued_mb, all_mb: peak_mb() - before }
}

fn queued(workload: &Workload) -> Vec<Vec<RowId>> {
    let ids: Vec<WorkerId> = (0..WORKERS).map(|slot| WorkerId::new(SlotId::new(slot), 0)).collect();
    let hosts = workload.hosts().iter().map(|(_, name, rows)| (name, u64::from(rows)));
    let assignment = placement::place(Method::Rendezvous, hosts, &ids);
    workload.by_worker(assignment.workers(), ids.len())
}

/// Reads as sessions do: each worker has its own reader, and the workers take batches in rotation.
fn read_all(workload: Arc<Workload>, queues: Vec<Vec<RowId>>) {
    let mut left = workload.rows();
    let mut workers: Vec<(VecDeque<RowId>, RowReader)> =
        queues.into_iter().map(|queue| (queue.into(), RowReader::new(Arc::clone(&workload)))).collect();
    let mut packed = PackedParameters::new();
    while left > 0 {
        for (queue, reader) in &mut workers {
            packed.clear();
            for _ in 0..BATCH_ROWS_MAX.min(queue.len()) {
                reader.read(queue.pop_front().unwrap(), &mut packed).unwrap();
                left -= 1;
            }
        }
    }
}
