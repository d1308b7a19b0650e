//! One worker: one connection, its rows one after the other. Runs on a current_thread runtime, apart from gRPC.

use std::sync::Arc;
use std::time::Instant;

use muster_common::measurement::Measurement;
use muster_common::parameters::Values;
use muster_proto::control::{PrepareFailed, WorkerReport};
use muster_proto::work::Assign;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::health::Gauges;
use crate::permit::Permit;
use crate::postgres::{Executor, Prepared, Target, no_database};

/// What all workers of a session wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Preparing,
    /// It stood by and has a slot now: its connections take the session's name.
    Placed {
        application_name: Arc<str>,
    },
    Running {
        starts_at: Instant,
    },
    Draining,
}

pub(crate) enum WorkerEvent {
    Prepared(u16, Prepared),
    PrepareFailed(PrepareFailed),
    /// Its connection has the name of the slot that it was given.
    Placed,
    Done(u16, WorkerReport),
    /// A worker broke.
    Lost,
}

/// A worker's ends of the channels.
pub(crate) struct Worker {
    pub(crate) index: u16,
    pub(crate) rows: mpsc::Receiver<Assign>,
    pub(crate) measurements: mpsc::Sender<(u16, Measurement)>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) events: mpsc::Sender<WorkerEvent>,
    pub(crate) cancel: CancellationToken,
    pub(crate) permit: Arc<Permit>,
    pub(crate) gauges: Arc<Gauges>,
}

impl Worker {
    /// Prepares, waits for the start, runs rows until the session drains.
    pub(crate) async fn run(mut self, target: Arc<Target>) {
        let report = self.serve(target).await;
        // The session may be gone already; then nobody asks.
        let _ = self.events.send(WorkerEvent::Done(self.index, report)).await;
    }

    async fn serve(&mut self, target: Arc<Target>) -> WorkerReport {
        let opened = tokio::select! {
            () = self.cancel.cancelled() => return WorkerReport::default(),
            opened = Executor::open(target, self.cancel.clone()) => opened,
        };
        let mut executor = match opened {
            Ok((executor, prepared)) => {
                let _ = self.events.send(WorkerEvent::Prepared(self.index, prepared)).await;
                executor
            }
            Err(failed) => {
                let _ = self.events.send(WorkerEvent::PrepareFailed(failed)).await;
                return WorkerReport::default();
            }
        };
        let mut report = WorkerReport::default();
        if let Some(started_at) = self.wait_for_start(&mut executor).await {
            self.run_rows(&mut executor, started_at, &mut report).await;
        }
        report.reconnects = executor.reconnects();
        report
    }

    /// When the countdown ended; `None` when the session did so first.
    async fn wait_for_start(&mut self, executor: &mut Executor) -> Option<Instant> {
        loop {
            let phase = self.phase.borrow_and_update().clone();
            match phase {
                Phase::Preparing => {}
                Phase::Placed { application_name } => {
                    let event = match executor.rename(&application_name).await {
                        Ok(()) => WorkerEvent::Placed,
                        Err(error) => WorkerEvent::PrepareFailed(no_database(&error.message)),
                    };
                    let _ = self.events.send(event).await;
                }
                Phase::Running { starts_at } => {
                    tokio::select! {
                        () = self.cancel.cancelled() => return None,
                        () = tokio::time::sleep_until(starts_at.into()) => return Some(starts_at),
                    }
                }
                Phase::Draining => return None,
            }
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                changed = self.phase.changed() => if changed.is_err() { return None },
            }
        }
    }

    async fn run_rows(&mut self, executor: &mut Executor, started_at: Instant, report: &mut WorkerReport) {
        loop {
            let waited_since = self.gauges.wants_row(self.rows.is_empty());
            let batch = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                () = drained(&mut self.phase) => return,
                batch = self.rows.recv() => match batch {
                    Some(batch) => batch,
                    None => return,
                },
            };
            self.gauges.got_row(self.index, waited_since);
            let mut packed = Values::new(&batch.parameters);
            let mut values = Vec::with_capacity(executor.parameters());
            for row in batch.rows {
                let must_stop = self.cancel.is_cancelled() || self.permit.has_lapsed(Instant::now());
                if must_stop || *self.phase.borrow() == Phase::Draining {
                    return;
                }
                if let Err(problem) = packed.next_row(executor.parameters(), &mut values) {
                    error!("row {row} cannot be decoded: {problem}");
                    return;
                }
                let measurement = executor.execute(row, &values, started_at).await;
                // What ended after the lapse may have ended because of it: somebody else runs the row.
                let has_lapsed = self.permit.has_lapsed(Instant::now());
                let Some(measurement) = measurement.filter(|_| !has_lapsed) else { return };
                report.executed += 1;
                report.ran_for = started_at.elapsed();
                if self.measurements.send((self.index, measurement)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Returns when the session drains; for ever pending before.
async fn drained(phase: &mut watch::Receiver<Phase>) {
    // An error means that the session is gone: then its rows are nobody's.
    let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
}
