//! The keeper: the one task that adds up what was settled. settle → (journal) → ack, in this order.
//! Owns the tally, so nothing about adding up needs a lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use muster_common::ids::Epoch;
use muster_common::limits;
use muster_common::measurement::{Measurement, Outcome};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::plan::Retried;
use super::rows::Rows;
use super::tally::Tally;
use crate::workload::HostIndex;

/// How often the figures for the display are renewed.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// An hour: for the display, longer is as long.
const DISPLAYED_NS_MAX: u64 = 3_600_000_000_000;

/// One result that counts, with what the coordinator knows of its row.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Position in the placement's list of workers.
    pub(crate) worker: usize,
    pub(crate) host: HostIndex,
    /// Of the session that ran it.
    pub(crate) epoch: Epoch,
    /// Above 1, it may have run before.
    pub(crate) attempt: u32,
    /// Its start is counted from the start of the run.
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
}

/// What is left when the run is over.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) tally: Tally,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
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
    pub(crate) fn start(
        rows: Arc<Rows>,
        rows_of_worker: &[u64],
        hosts: usize,
        retried: Retried,
    ) -> (Self, KeeperHandle) {
        let (sender, batches) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let (progress_sender, progress) = watch::channel(Progress::default());
        let books = Books {
            tally: Tally::new(rows_of_worker, hosts, retried),
            completed: 0,
            failed: 0,
            last_result: None,
        };
        let task = tokio::spawn(keep(books, rows, batches, progress_sender));
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
    rows: Arc<Rows>,
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
                // The conductor waits for the last row, not for the next tick.
                if rows.finished().is_some() {
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
        for executed in results {
            match executed.measurement.outcome {
                Outcome::Completed(_) => {
                    self.completed += 1;
                    seen.saturating_record(executed.measurement.service_time_ns);
                }
                Outcome::Failed(_) => self.failed += 1,
            }
            self.tally.add(executed);
        }
    }

    fn progress(&self, seen: &Histogram<u64>) -> Progress {
        let quantile = |q| (!seen.is_empty()).then(|| Duration::from_nanos(seen.value_at_quantile(q)));
        Progress { completed: self.completed, failed: self.failed, p50: quantile(0.5), p95: quantile(0.95) }
    }
}
