//! How fast a workload of ten million rows is read, placed and read again, and in how much memory.
//! `cargo bench -p muster-coordinator --bench workload [-- ROWS [HOSTS [WORKERS]]]`; the file is written to the temporary directory first.
#![allow(clippy::print_stdout, reason = "a benchmark's report goes to stdout")]

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use muster_common::ids::{RowId, SlotId, WorkerId};
use muster_common::limits::BATCH_ROWS_MAX;
use muster_common::parameters::PackedParameters;
use muster_common::placement::{self, Method};
use muster_coordinator::demo::generate::{Shape, Windows, windows, write_windows};
use muster_coordinator::workload::{Checks, HOST_COLUMN, OnBadRow, Options, RowReader, Workload, open};

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds `--bench`.
    let mut numbers = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let mut number = |default: u32| numbers.next().map_or(Ok(default), |text| text.parse());
    let (rows, hosts, workers) = (number(10_000_000)?, number(1_000)?, u16::try_from(number(10)?)?);
    let file = tempfile::NamedTempFile::new()?;
    write(file.path(), rows, hosts)?;
    println!("{rows} rows, {hosts} hosts, {workers} workers; peak before {}", peak()?);

    let began = Instant::now();
    let start = began;
    let workload = open(file.path(), &options(), &mut |_| {})?;
    report("open: read, check, hash, index", rows, start.elapsed())?;

    let start = Instant::now();
    let ids: Vec<WorkerId> = (0..workers).map(|slot| WorkerId::new(SlotId::new(slot), 0)).collect();
    let placed = workload.hosts().iter().map(|(_, name, rows)| (name, u64::from(rows)));
    let assignment = placement::place(Method::Rendezvous, placed, &ids);
    let queues = workload.by_worker(assignment.workers(), ids.len());
    report("place, and queue each worker's rows", rows, start.elapsed())?;
    report("together", rows, began.elapsed())?;

    let start = Instant::now();
    let bytes = read_all(Arc::new(workload), queues)?;
    report("read again, workers in turn", rows, start.elapsed())?;
    println!("{bytes} bytes of parameters");
    Ok(())
}

fn write(path: &Path, rows: u32, hosts: u32) -> anyhow::Result<()> {
    let shape = Shape { hosts, ..Shape::default() };
    let queries = Windows { rows: rows.into(), hosts, ..Windows::default() };
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    write_windows(windows(&shape, &queries)?, &mut out)?;
    Ok(out.flush()?)
}

fn options() -> Options {
    let [hostname, start_time, end_time] = [HOST_COLUMN, "start_time", "end_time"].map(str::to_owned);
    Options {
        host_column: hostname.clone(),
        parameters: vec![hostname, start_time.clone(), end_time.clone()],
        mix: None,
        checks: Checks::DemoWindow { start_time, end_time },
        on_bad_row: OnBadRow::Fail,
        limit: None,
    }
}

/// As sessions do: each worker has its reader and takes a batch when it is its turn.
fn read_all(workload: Arc<Workload>, queues: Vec<Vec<RowId>>) -> anyhow::Result<u64> {
    let mut left = workload.rows();
    let mut workers: Vec<(VecDeque<RowId>, RowReader)> =
        queues.into_iter().map(|queue| (queue.into(), RowReader::new(Arc::clone(&workload)))).collect();
    let mut packed = PackedParameters::new();
    let mut bytes = 0;
    while left > 0 {
        for (queue, reader) in &mut workers {
            packed.clear();
            for _ in 0..BATCH_ROWS_MAX.min(queue.len()) {
                let row = queue.pop_front().context("the queue was not empty")?;
                reader.read(row, &mut packed)?;
                left -= 1;
            }
            bytes += packed.len() as u64;
        }
    }
    Ok(bytes)
}

fn report(pass: &str, rows: u32, elapsed: Duration) -> anyhow::Result<()> {
    let rate = f64::from(rows) / elapsed.as_secs_f64() / 1e6;
    println!("{pass}: {:.2} s, {rate:.1} M rows/s; peak {}", elapsed.as_secs_f64(), peak()?);
    Ok(())
}

/// The most memory that the process has had so far.
fn peak() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status").context("read the peak of memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.context("find VmHWM")?.trim().to_owned())
}
