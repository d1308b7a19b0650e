//! The Work stream: receives rows and sends results. The outbox outlives the stream: results that the coordinator has not acknowledged
//! when the session ends are sent by the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_common::limits;
use muster_common::outbox::Outbox;
use muster_common::session_token::GrantedSession;
use muster_proto::v1;
use muster_proto::work::{FromAgent, FromCoordinator};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::dial::Client;
use crate::health::Gauges;
use crate::inbox::{Full, RowSender};
use crate::metrics::AgentMetrics;
use crate::session::SessionError;
use crate::worker_results::{WorkerResult, WorkerResultReceiver};

/// What the stream needs of the agent.
pub(crate) struct WorkContext {
    /// One queue for each worker.
    pub(crate) queues: Vec<RowSender>,
    pub(crate) worker_results: WorkerResultReceiver,
    pub(crate) outbox: Outbox,
    pub(crate) telemetry: Telemetry,
}

/// Where results are counted: for the session's health samples, and for the agent's metrics.
pub(crate) struct Telemetry {
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) metrics: AgentMetrics,
}

/// The open stream, served by a separate task.
pub(crate) struct WorkStream {
    events: mpsc::Receiver<Result<(), SessionError>>,
    /// Cancelled when no more messages are exchanged.
    ended: CancellationToken,
    /// Cancelled when results of workers that are still running are no longer collected.
    abandoned: CancellationToken,
    task: JoinHandle<Outbox>,
}

impl WorkStream {
    pub(crate) fn open(client: Client, session: GrantedSession, context: WorkContext) -> Self {
        let (sender, events) = mpsc::channel(2);
        let (ended, abandoned) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(serve(client, session, context, sender, ended.clone(), abandoned.clone()));
        Self { events, ended, abandoned, task }
    }

    /// Returns once all workers have ended and every result is acknowledged, or with the reason why the stream failed. Further calls never
    /// return.
    pub(crate) async fn next(&mut self) -> Result<(), SessionError> {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Stops the exchange of messages. The task continues to collect results until the workers have ended.
    pub(crate) fn end(&mut self) {
        self.ended.cancel();
    }

    /// Returns the results that were not acknowledged. Called when the workers have ended, or were abandoned because they did not end. Does
    /// not wait for abandoned workers.
    pub(crate) async fn stop(self) -> Option<Outbox> {
        self.ended.cancel();
        self.abandoned.cancel();
        self.task.await.ok()
    }
}

async fn serve(
    client: Client,
    session: GrantedSession,
    context: WorkContext,
    events: mpsc::Sender<Result<(), SessionError>>,
    ended: CancellationToken,
    abandoned: CancellationToken,
) -> Outbox {
    let WorkContext { queues, worker_results, mut outbox, telemetry } = context;
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        error = exchange(client, session, queues, &worker_results, &mut outbox, &telemetry, &events) => {
            // The receiver is gone if the session has already ended for another reason.
            let _ = events.send(Err(error)).await;
        }
    }
    collect_remaining(&worker_results, &mut outbox, &telemetry.metrics, &abandoned).await;
    outbox
}

/// Adds results to the outbox until the workers have ended or are abandoned.
async fn collect_remaining(
    worker_results: &WorkerResultReceiver,
    outbox: &mut Outbox,
    metrics: &AgentMetrics,
    abandoned: &CancellationToken,
) {
    let mut received = Vec::new();
    while worker_results.take(&mut received) && !abandoned.is_cancelled() {
        collect(&mut received, outbox, metrics);
        tokio::select! {
            () = worker_results.due() => {}
            () = abandoned.cancelled() => {}
        }
    }
    collect(&mut received, outbox, metrics);
}

fn collect(received: &mut Vec<(u16, WorkerResult)>, outbox: &mut Outbox, metrics: &AgentMetrics) {
    metrics.count(received);
    for (worker, result) in received.drain(..) {
        match result {
            WorkerResult::Measured(measurement) => outbox.add(worker, measurement),
            WorkerResult::LeftOut(_) | WorkerResult::RoundOver(_) => {}
        }
    }
}

/// Receives rows and sends results at the same time. Returns the error that ended the exchange.
async fn exchange(
    client: Client,
    session: GrantedSession,
    queues: Vec<RowSender>,
    worker_results: &WorkerResultReceiver,
    outbox: &mut Outbox,
    telemetry: &Telemetry,
    events: &mpsc::Sender<Result<(), SessionError>>,
) -> SessionError {
    let (sender, inbound) = match open(client, session).await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    let (acked_sender, acked) = watch::channel(0);
    let workers = queues.len();
    let delivery =
        Delivery { outbox, workers, ended: BTreeMap::new(), telemetry, sender: &sender, pending: Vec::new() };
    let deliver = async {
        delivery.run(worker_results, acked).await?;
        let _ = events.send(Ok(())).await;
        // The stream stays open until the session ends: the coordinator would treat a stream that the agent closes as a lost session.
        std::future::pending().await
    };
    let delivered: Result<std::convert::Infallible, SessionError> = tokio::select! {
        biased;
        received = receive_rows(inbound, queues, acked_sender) => {
            Err(received.err().unwrap_or(SessionError::Closed("work")))
        }
        delivered = deliver => delivered,
    };
    match delivered {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

type Opened = (mpsc::Sender<v1::AgentWork>, Streaming<v1::CoordinatorWork>);

async fn open(mut client: Client, session: GrantedSession) -> Result<Opened, SessionError> {
    let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
    sender.try_send(FromAgent::Open(session).into()).expect("a new channel has room");
    let opening = client.work(ReceiverStream::new(receiver));
    let response = timeout(limits::HELLO_TIMEOUT, opening)
        .await
        .map_err(|_| SessionError::Silent(limits::HELLO_TIMEOUT))?;
    Ok((sender, response?.into_inner()))
}

/// Passes rows to the workers and acknowledgements to the sender. Never waits for a worker, because credit limits the number of rows.
async fn receive_rows(
    mut inbound: Streaming<v1::CoordinatorWork>,
    queues: Vec<RowSender>,
    acked: watch::Sender<u64>,
) -> Result<(), SessionError> {
    while let Some(message) = inbound.message().await? {
        match message.try_into()? {
            FromCoordinator::Assign(assign) => {
                let queue = queues
                    .get(usize::from(assign.worker))
                    .ok_or(SessionError::Protocol("rows for a worker that this agent does not have"))?;
                // Rows that were sent before the coordinator's Drain arrived here are not run.
                queue
                    .send(assign)
                    .map_err(|Full| SessionError::Protocol("more rows than the credit allows"))?;
            }
            FromCoordinator::Ack(number) => {
                acked.send_replace(number);
            }
        }
    }
    Ok(())
}

/// Sends results to the coordinator.
struct Delivery<'a> {
    outbox: &'a mut Outbox,
    workers: usize,
    /// For each round, the number of workers for which it is over.
    ended: BTreeMap<u32, usize>,
    telemetry: &'a Telemetry,
    sender: &'a mpsc::Sender<v1::AgentWork>,
    /// Messages to send after the results that were received before them.
    pending: Vec<FromAgent>,
}

impl Delivery<'_> {
    /// Sends credit, and results in batches. Returns when all workers have ended and every result is acknowledged.
    async fn run(
        mut self,
        worker_results: &WorkerResultReceiver,
        mut acked: watch::Receiver<u64>,
    ) -> Result<(), SessionError> {
        for credit in self.outbox.first_credits() {
            self.send(FromAgent::Credit(credit)).await?;
        }
        let mut linger = interval(limits::RESULT_LINGER);
        linger.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut received = Vec::new();
        let mut is_open = true;
        loop {
            // Received results are sent at once, because they have already waited in `worker_results`. The end of a round is sent after
            // the results of the round.
            while let Some(results) = self.outbox.take_batch() {
                self.send(FromAgent::Results(results)).await?;
            }
            for message in std::mem::take(&mut self.pending) {
                self.send(message).await?;
            }
            // Checked after everything is sent. Only results are acknowledged, so there is nothing to wait for after the other messages.
            if !is_open && !self.outbox.has_unacknowledged() {
                return Ok(());
            }
            worker_results.set_thresholds(self.outbox.until_due());
            tokio::select! {
                biased;
                // This fails when the task that receives rows has ended, which returns the reason.
                changed = acked.changed() => if changed.is_err() {
                    return Err(SessionError::Closed("work"));
                },
                () = worker_results.due(), if is_open => is_open = self.receive(worker_results, &mut received),
                _ = linger.tick(), if is_open => is_open = self.receive(worker_results, &mut received),
            }
            let number = *acked.borrow_and_update();
            let credits = self.outbox.acknowledge(number);
            self.telemetry.metrics.set_unacknowledged(self.outbox.unacknowledged());
            for credit in credits {
                self.send(FromAgent::Credit(credit)).await?;
            }
        }
    }

    /// Adds the queued results to the outbox. Returns false when no more will come. Has no await point, so that no result is lost between
    /// the queue and the outbox.
    fn receive(
        &mut self,
        worker_results: &WorkerResultReceiver,
        received: &mut Vec<(u16, WorkerResult)>,
    ) -> bool {
        let is_open = worker_results.take(received);
        self.telemetry.metrics.count(received);
        let mut in_flight_ns = 0u64;
        for (worker, result) in received.drain(..) {
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

    async fn send(&self, message: FromAgent) -> Result<(), SessionError> {
        send(self.sender, message).await
    }
}

async fn send(sender: &mpsc::Sender<v1::AgentWork>, message: FromAgent) -> Result<(), SessionError> {
    sender.send(message.into()).await.map_err(|_| SessionError::Closed("work"))
}

#[cfg(test)]
mod tests {
    use muster_common::ids::{Epoch, RowId, SlotId};
    use muster_common::sample::{Answer, Execution, Lag, Outcome, Sample};
    use muster_common::slots::Grant;

    use super::*;
    use crate::worker_results::channel;

    #[test]
    fn received_results_are_kept_even_if_nothing_can_be_sent() {
        let (senders, receiver) = channel(1);
        let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
        let row = RowId::new(7);
        let measurement =
            Sample { row, start_ns: 0, lag: Lag::default(), service_time_ns: 1, execution, outcome };
        let results =
            [WorkerResult::LeftOut(16), WorkerResult::RoundOver(1), WorkerResult::Measured(measurement)];
        for result in results {
            senders[0].send(result).unwrap();
        }
        let mut outbox = Outbox::new(1, Vec::new());
        let telemetry = Telemetry { gauges: Arc::new(Gauges::new(1)), metrics: AgentMetrics::default() };
        // Nothing can be sent, because the stream has ended.
        let (sender, _) = mpsc::channel(1);
        let (ended, pending) = (BTreeMap::new(), Vec::new());
        let mut delivery = Delivery {
            outbox: &mut outbox,
            workers: 1,
            ended,
            telemetry: &telemetry,
            sender: &sender,
            pending,
        };
        assert!(delivery.receive(&receiver, &mut Vec::new()));
        assert!(matches!(delivery.pending[..], [FromAgent::Credit(_), FromAgent::RoundOver { round: 1 }]));
        drop(delivery);
        let unacked = outbox.into_unacked(Grant { slot: SlotId::new(0), epoch: Epoch::new(1) });
        assert_eq!(unacked.len(), 1);
        assert_eq!(unacked[0].measurements[0].1.row, row);
    }
}
