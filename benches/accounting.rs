//! What it costs the coordinator to account for every row: the books in memory, acknowledgements, what whoever watches is told, and whole
//! runs as they are, with the journal and with `--metrics`, in turns.
//! `cargo build --release && cargo bench -p muster-coordinator --bench accounting [-- ROWS [PAIRS]]`
#![allow(clippy::print_stdout, reason = "a benchmark's report goes to stdout")]

mod whole_run;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::ensure;
use muster_common::buckets::Buckets;
use muster_common::dispatch::{Dispatch, Receipt};
use muster_common::ids::{Epoch, RowId};
use muster_common::ledger::{Ledger, Settled};
use muster_common::passes::Passes;
use muster_common::queue::Queue;
use muster_proto::v1;
use muster_proto::work::FromCoordinator;
use prost::Message;
use whole_run::{Bench, Journal};

const HOSTS: u32 = 1_000;
const WORKERS: u32 = 8;
/// Rows in a message, and so to an acknowledgement; small ones are what slow queries give.
const BATCHES: [usize; 2] = [16, 1_024];
/// Enough that the allocator asks the kernel for it alone.
const LEDGER_ROWS: u32 = 200_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let [rows, pairs] = whole_run::numbers([1_000_000, 5])?;
    for batch in BATCHES {
        // The first of each is to warm up.
        let rounds: Vec<[f64; 3]> = (0..=pairs)
            .map(|_| [queues(rows, batch), books(rows, batch), acknowledgements(rows, batch)])
            .collect();
        let cost = |of: usize| median(rounds.iter().skip(1).map(|round| round[of]));
        println!(
            "batches of {batch:>4}: queues alone {:.1} ns a row, with the books {:.1} ns; acknowledgements made {:.1} ns",
            cost(0),
            cost(1),
            cost(2)
        );
    }
    println!("the ledger: {:.2} bytes a row", ledger_bytes());
    let bucketed = median((0..=pairs).map(|_| bucketed(rows)));
    println!("a service time put into its bucket: {bucketed:.1} ns");

    let bench = Bench::prepare(rows, HOSTS).await?;
    let runs = whole_runs(&bench, rows, pairs);
    bench.end().await?;
    let runs = runs?;
    for ((name, ..), figures) in KINDS.iter().zip(&runs) {
        let listed: Vec<String> = figures.iter().map(|ns| format!("{ns:.0}")).collect();
        println!(
            "whole runs, {name}: {:.0} ns of the coordinator's CPU a row ({})",
            median(figures.iter().copied()),
            listed.join(", ")
        );
    }
    for ((name, ..), figures) in KINDS.iter().zip(&runs).skip(1) {
        let differences = figures.iter().zip(&runs[0]).map(|(with, without)| with - without);
        println!("{name}: {:.0} ns a row more, median of the differences", median(differences));
    }
    Ok(())
}

/// Nanoseconds a row of what `work` does to something that `make` makes.
fn measure<T>(rows: u32, make: impl FnOnce() -> T, work: impl FnOnce(&mut T)) -> f64 {
    let mut made = make();
    let start = Instant::now();
    work(&mut made);
    let took = start.elapsed();
    drop(black_box(made));
    per_row(took, rows)
}

fn ledger_bytes() -> f64 {
    let before = resident_bytes();
    let mut ledger = Ledger::new(LEDGER_ROWS);
    for row in (0..LEDGER_ROWS).map(RowId::new) {
        ledger.settle(row, Settled::Completed);
    }
    let bytes = resident_bytes() - before;
    drop(black_box(ledger));
    bytes / f64::from(LEDGER_ROWS)
}

/// Before: every worker's rows are taken and nobody remembers.
fn queues(rows: u32, batch: usize) -> f64 {
    measure(
        rows,
        || made_queues(rows),
        |queues| {
            while queues.iter().any(|queue| !queue.is_empty()) {
                for queue in queues.iter_mut() {
                    let taken: Vec<_> = std::iter::from_fn(|| queue.pop()).take(batch).collect();
                    black_box(taken);
                }
            }
        },
    )
}

/// After: the same rows are in flight until they are settled, each once.
fn books(rows: u32, batch: usize) -> f64 {
    let epoch = Epoch::new(1);
    let make = || {
        let passes = Passes::once(rows);
        let mut dispatch = Dispatch::new(Ledger::new(rows), passes, made_queues(rows));
        dispatch.begin(0..WORKERS as usize, epoch);
        dispatch
    };
    measure(rows, make, |dispatch| {
        while !dispatch.is_finished() {
            for worker in 0..WORKERS as usize {
                for task in dispatch.take(worker, epoch, batch) {
                    let receipt = dispatch.settle(worker, epoch, task.row, Settled::Completed);
                    assert_eq!(receipt, Receipt::Counted { attempt: 1 });
                }
            }
        }
    })
}

/// One message a batch, encoded as for the wire.
fn acknowledgements(rows: u32, batch: usize) -> f64 {
    measure(rows, Vec::new, |buffer: &mut Vec<u8>| {
        for number in 0..u64::from(rows).div_ceil(batch as u64) {
            buffer.clear();
            let message = v1::CoordinatorWork::from(FromCoordinator::Ack(number));
            message.encode(buffer).expect("a vector grows");
            black_box(&buffer);
        }
    })
}

fn made_queues(rows: u32) -> Vec<Queue> {
    let of_worker = |worker: u32| (worker..rows).step_by(WORKERS as usize).map(RowId::new).collect();
    (0..WORKERS).map(|worker| Queue::new(of_worker(worker), Passes::once(rows), None)).collect()
}

/// Times from a few microseconds to a few seconds, in no order.
fn bucketed(rows: u32) -> f64 {
    let times = (0..u64::from(rows)).map(|row| (row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) << (row % 9));
    let times: Vec<u64> = times.collect();
    measure(rows, Buckets::default, |buckets| times.iter().for_each(|time_ns| buckets.record(*time_ns)))
}

/// Whole runs, the first of them with nothing that need not be.
const KINDS: [(&str, Journal, &[&str]); 3] = [
    ("without a journal", Journal::None, &[]),
    ("with the journal", Journal::Kept, &[]),
    ("with --metrics", Journal::None, &["--metrics", "127.0.0.1:0"]),
];

/// Nanoseconds of the coordinator's CPU a row, of all runs of each kind.
fn whole_runs(bench: &Bench, rows: u32, rounds: u32) -> anyhow::Result<[Vec<f64>; KINDS.len()]> {
    let mut figures = [const { Vec::new() }; KINDS.len()];
    for round in 0..rounds as usize {
        // None is always the first.
        for which in (0..KINDS.len()).map(|turn| (round + turn) % KINDS.len()) {
            let (_, journal, more) = KINDS[which];
            let took = bench.run(journal, more)?;
            ensure!(took.result["queries"]["completed"] == rows, "not every row was completed");
            figures[which].push(per_row(took.cpu, rows));
        }
    }
    Ok(figures)
}

fn per_row(took: Duration, rows: u32) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(rows)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Of this process, as the kernel counts pages of 4 KiB.
fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u32>().ok());
    f64::from(pages.unwrap_or_default()) * 4096.0
}
