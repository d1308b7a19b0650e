//! Sends the results of a session's workers to the coordinator, and keeps them until they are acknowledged.
//!
//! A result passes three places, each for its own reason:
//! 1. The queue of [`worker_results`](crate::worker_results), because a worker's thread must wake no task for a row. It collects results
//!    until one of them must not wait.
//! 2. The [`Outbox`], because a result must survive the end of its session, and because the acknowledged results of a worker determine its
//!    credit. It makes numbered messages of the results.
//! 3. The channel of the Work stream, which bounds what gRPC has not sent yet.
//!
//! When results are due is decided in one place, `until_due` of the outbox, and handed to the queue as a threshold for each worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::limits;
use muster_core::outbox::Outbox;
use muster_proto::v1;
use muster_proto::work::FromAgent;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::health::Gauges;
use crate::metrics::AgentMetrics;
use crate::session_end::SessionError;
use crate::worker_results::{WorkerResult, WorkerResultReceiver};

/// Where results are counted: for the session's health samples, and for the agent's metrics.
pub(crate) struct Telemetry {
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) metrics: AgentMetrics,
}

pub(crate) struct ResultSender {
    worker_results: WorkerResultReceiver,
    /// Results that were taken from the queue. Empty, but keeps its memory.
    received: Vec<(u16, WorkerResult)>,
    outbox: Outbox,
    telemetry: Telemetry,
    workers: usize,
    /// For each round, the number of workers for which it is over.
    ended: BTreeMap<u32, usize>,
    /// Messages to send after the results that were received before them.
    pending: Vec<FromAgent>,
}

impl ResultSender {
    pub(crate) fn new(
        worker_results: WorkerResultReceiver,
        outbox: Outbox,
        telemetry: Telemetry,
        workers: usize,
    ) -> Self {
        let (received, ended, pending) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { worker_results, received, outbox, telemetry, workers, ended, pending }
    }

    /// Sends credit, and results in batches. Returns when all workers have ended and every result is acknowledged.
    pub(crate) async fn send_all(
        &mut self,
        sender: &mpsc::Sender<v1::AgentWork>,
        mut acked: watch::Receiver<u64>,
    ) -> Result<(), SessionError> {
        for credit in self.outbox.first_credits() {
            send(sender, FromAgent::Credit(credit)).await?;
        }
        let mut linger = interval(limits::RESULT_LINGER);
        linger.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_open = true;
        loop {
            // Received results are sent at once, because they have already waited in the queue. The end of a round is sent after
            // the results of the round.
            while let Some(results) = self.outbox.take_batch() {
                send(sender, FromAgent::Results(results)).await?;
            }
            for message in std::mem::take(&mut self.pending) {
                send(sender, message).await?;
            }
            // Checked after everything is sent. Only results are acknowledged, so there is nothing to wait for after the other messages.
            if !is_open && !self.outbox.has_unacknowledged() {
                return Ok(());
            }
            self.worker_results.set_thresholds(self.outbox.until_due());
            tokio::select! {
                biased;
                // This fails when the task that receives rows has ended, which returns the reason.
                changed = acked.changed() => if changed.is_err() {
                    return Err(SessionError::Closed("work"));
                },
                () = self.worker_results.due(), if is_open => is_open = self.receive(),
                _ = linger.tick(), if is_open => is_open = self.receive(),
            }
            let number = *acked.borrow_and_update();
            let credits = self.outbox.acknowledge(number);
            self.telemetry.metrics.set_unacknowledged(self.outbox.unacknowledged());
            for credit in credits {
                send(sender, FromAgent::Credit(credit)).await?;
            }
        }
    }

    /// Adds results to the outbox until the workers have ended or are abandoned. Sends nothing.
    pub(crate) async fn collect_remaining(&mut self, abandoned: &CancellationToken) {
        while self.receive() && !abandoned.is_cancelled() {
            tokio::select! {
                () = self.worker_results.due() => {}
                () = abandoned.cancelled() => {}
            }
        }
    }

    pub(crate) fn into_outbox(self) -> Outbox {
        self.outbox
    }

    /// Adds the queued results to the outbox. Returns false when no more will come. Has no await point, so that no result is lost between
    /// the queue and the outbox.
    fn receive(&mut self) -> bool {
        let is_open = self.worker_results.take(&mut self.received);
        self.telemetry.metrics.count(&self.received);
        let mut in_flight_ns = 0u64;
        for (worker, result) in self.received.drain(..) {
            match result {
                WorkerResult::Measured(measurement) => {
                    in_flight_ns += measurement.service_time_ns;
                    self.outbox.add(worker, measurement);
                }
                WorkerResult::LeftOut(rows) => {
                    self.pending.extend(self.outbox.note_left_out(worker, rows).map(FromAgent::Credit));
                }
                WorkerResult::RoundOver(round) => {
                    let ended = self.ended.entry(round).or_default();
                    *ended += 1;
                    if *ended == self.workers {
                        self.pending.push(FromAgent::RoundOver { round });
                    }
                }
            }
        }
        self.telemetry.gauges.add_in_flight(in_flight_ns);
        self.telemetry.gauges.record_unacked(self.outbox.unacked());
        is_open
    }
}

async fn send(sender: &mpsc::Sender<v1::AgentWork>, message: FromAgent) -> Result<(), SessionError> {
    sender.send(message.into()).await.map_err(|_| SessionError::Closed("work"))
}

#[cfg(test)]
mod tests {
    use muster_core::ids::{Epoch, RowId, SlotId};
    use muster_core::sample::{Answer, Execution, Outcome, Sample};
    use muster_core::slots::Grant;

    use super::*;
    use crate::worker_results::channel;

    #[test]
    fn received_results_are_kept_even_if_nothing_can_be_sent() {
        let (senders, receiver) = channel(1);
        let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
        let row = RowId::new(7);
        let measurement = Sample { service_time_ns: 1, execution, outcome, ..Sample::zero(row) };
        let results =
            [WorkerResult::LeftOut(16), WorkerResult::RoundOver(1), WorkerResult::Measured(measurement)];
        for result in results {
            senders[0].send(result).unwrap();
        }
        let outbox = Outbox::new(1, Vec::new());
        let telemetry = Telemetry { gauges: Arc::new(Gauges::new(1)), metrics: AgentMetrics::default() };
        // Nothing can be sent, because the stream has ended.
        let mut sender = ResultSender::new(receiver, outbox, telemetry, 1);
        assert!(sender.receive());
        assert!(matches!(sender.pending[..], [FromAgent::Credit(_), FromAgent::RoundOver { round: 1 }]));
        let unacked = sender.into_outbox().into_unacked(Grant { slot: SlotId::new(0), epoch: Epoch::new(1) });
        assert_eq!(unacked.len(), 1);
        assert_eq!(unacked[0].measurements[0].1.row, row);
    }
}
