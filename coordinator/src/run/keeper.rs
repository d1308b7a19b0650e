//! The ledger keeper: the one task that counts. settle → (journal) → ack, in this order.
//! Owns the ledger and the tally, so nothing about counting needs a lock.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use muster_common::ledger::{Ledger, Settled, Settlement};
use muster_common::limits;
use muster_common::measurement::{Measurement, Outcome};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::tally::Tally;
use crate::workload::HostIndex;

/// How often the figures for the display are renewed.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// An hour: for the display, longer is as long.
const DISPLAYED_NS_MAX: u64 = 3_600_000_000_000;

/// One result, with what the coordinator knows of its row.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Position in the placement's list of workers.
    pub(crate) worker: usize,
    pub(crate) host: HostIndex,
    pub(crate) measurement: Measurement,
}

/// One message of results, and where its acknowledgement goes.
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) results: Vec<Executed>,
    pub(crate) acks: watch::Sender<u64>,
}

/// The run so far. Percentiles are estimates (3 digits) for the display; the report's are exact.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) p50: Option<Duration>,
    pub(crate) p95: Option<Duration>,
    pub(crate) is_closed: bool,
}

/// What is left when the run is over.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) ledger: Ledger,
    pub(crate) tally: Tally,
    pub(crate) duplicates: u64,
    pub(crate) last_result: Option<Instant>,
}

/// The way to the keeper.
#[derive(Debug, Clone)]
pub(crate) struct KeeperHandle {
    batches: mpsc::Sender<Batch>,
}

impl KeeperHandle {
    /// Waits while the keeper is busy; false when the run is over.
    pub(crate) async fn settle(&self, batch: Batch) -> bool {
        self.batches.send(batch).await.is_ok()
    }
}

/// The running keeper. It ends when every handle is gone.
pub(crate) struct Keeper {
    task: JoinHandle<Books>,
    progress: watch::Receiver<Progress>,
}

impl Keeper {
    pub(crate) fn start(rows: u32, rows_of_worker: &[u64], hosts: usize) -> (Self, KeeperHandle) {
        let (sender, batches) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let (progress_sender, progress) = watch::channel(Progress::default());
        let books = Books {
            ledger: Ledger::new(rows),
            tally: Tally::new(rows_of_worker, hosts),
            duplicates: 0,
            last_result: None,
        };
        let task = tokio::spawn(keep(books, batches, progress_sender));
        (Self { task, progress }, KeeperHandle { batches: sender })
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// The books, once every handle is dropped.
    pub(crate) async fn close(self) -> Books {
        match self.task.await {
            Ok(books) => books,
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        }
    }
}

async fn keep(
    mut books: Books,
    mut batches: mpsc::Receiver<Batch>,
    progress: watch::Sender<Progress>,
) -> Books {
    let mut seen =
        Histogram::<u64>::new_with_bounds(1, DISPLAYED_NS_MAX, 3).expect("the bounds are constants in order");
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            batch = batches.recv() => {
                let Some(Batch { number, results, acks }) = batch else { return books };
                books.settle(results, &mut seen);
                acks.send_replace(number);
                if books.ledger.is_closed() {
                    progress.send_replace(books.progress(&seen));
                }
            }
            _ = ticks.tick() => {
                progress.send_replace(books.progress(&seen));
            }
        }
    }
}

impl Books {
    fn settle(&mut self, results: Vec<Executed>, seen: &mut Histogram<u64>) {
        self.last_result = Some(Instant::now());
        for Executed { worker, host, measurement } in results {
            let settled = match measurement.outcome {
                Outcome::Completed(_) => Settled::Completed,
                Outcome::Failed(_) => Settled::Failed,
            };
            match self.ledger.settle(measurement.row, settled) {
                Settlement::Counted => {
                    if settled == Settled::Completed {
                        seen.saturating_record(measurement.service_time_ns);
                    }
                    self.tally.add(worker, host, measurement);
                }
                Settlement::Duplicate | Settlement::Unknown => self.duplicates += 1,
            }
        }
    }

    fn progress(&self, seen: &Histogram<u64>) -> Progress {
        let quantile = |q| (!seen.is_empty()).then(|| Duration::from_nanos(seen.value_at_quantile(q)));
        Progress {
            completed: self.ledger.completed().into(),
            failed: self.ledger.failed().into(),
            p50: quantile(0.5),
            p95: quantile(0.95),
            is_closed: self.ledger.is_closed(),
        }
    }
}
