//! The Work stream: rows in, results out. The outbox outlives it: what the coordinator has not acknowledged when the session ends is
//! kept for the next one.

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
use crate::told::{Listener, Told};

/// What the stream carries on the agent's side.
pub(crate) struct Cargo {
    /// By worker.
    pub(crate) queues: Vec<RowSender>,
    pub(crate) told: Listener,
    pub(crate) outbox: Outbox,
    pub(crate) watchers: Watchers,
}

/// Who is told how it goes: the session's health report, and what this agent tells whoever watches it.
pub(crate) struct Watchers {
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) metrics: AgentMetrics,
}

/// The open stream, served by a task of its own.
pub(crate) struct WorkStream {
    events: mpsc::Receiver<Result<(), SessionError>>,
    over: CancellationToken,
    /// Set when no more results are kept.
    abandoned: CancellationToken,
    task: JoinHandle<Outbox>,
}

impl WorkStream {
    pub(crate) fn open(client: Client, session: GrantedSession, cargo: Cargo) -> Self {
        let (sender, events) = mpsc::channel(2);
        let (over, abandoned) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(serve(client, session, cargo, sender, over.clone(), abandoned.clone()));
        Self { events, over, abandoned, task }
    }

    /// Returns once all workers have ended and every result is acknowledged, and then for ever pending; or why the stream broke.
    pub(crate) async fn next(&mut self) -> Result<(), SessionError> {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Stops the exchange of messages. The task continues to keep what workers measure until they have ended.
    pub(crate) fn end(&mut self) {
        self.over.cancel();
    }

    /// Returns the results that were not acknowledged. The workers have ended by now or never will: a worker that was abandoned is not
    /// waited for.
    pub(crate) async fn stop(self) -> Option<Outbox> {
        self.over.cancel();
        self.abandoned.cancel();
        self.task.await.ok()
    }
}

async fn serve(
    client: Client,
    session: GrantedSession,
    cargo: Cargo,
    events: mpsc::Sender<Result<(), SessionError>>,
    over: CancellationToken,
    abandoned: CancellationToken,
) -> Outbox {
    let Cargo { queues, told, mut outbox, watchers } = cargo;
    tokio::select! {
        biased;
        () = over.cancelled() => {}
        broken = exchange(client, session, queues, &told, &mut outbox, &watchers, &events) => {
            // The session may be over for another reason, too; then nobody asks.
            let _ = events.send(Err(broken)).await;
        }
    }
    keep_the_rest(&told, &mut outbox, &watchers.metrics, &abandoned).await;
    outbox
}

/// Keeps what the workers measure until they have ended or are abandoned.
async fn keep_the_rest(
    told: &Listener,
    outbox: &mut Outbox,
    metrics: &AgentMetrics,
    abandoned: &CancellationToken,
) {
    let mut heard = Vec::new();
    while told.take(&mut heard) && !abandoned.is_cancelled() {
        keep(&mut heard, outbox, metrics);
        tokio::select! {
            () = told.due() => {}
            () = abandoned.cancelled() => {}
        }
    }
    keep(&mut heard, outbox, metrics);
}

fn keep(heard: &mut Vec<(u16, Told)>, outbox: &mut Outbox, metrics: &AgentMetrics) {
    metrics.hear(heard);
    for (worker, told) in heard.drain(..) {
        match told {
            Told::Measured(measurement) => outbox.add(worker, measurement),
            Told::LeftOut(_) | Told::RoundOver(_) => {}
        }
    }
}

/// Both directions at once. Returns why nothing more can be exchanged.
async fn exchange(
    client: Client,
    session: GrantedSession,
    queues: Vec<RowSender>,
    told: &Listener,
    outbox: &mut Outbox,
    watchers: &Watchers,
    events: &mpsc::Sender<Result<(), SessionError>>,
) -> SessionError {
    let (sender, inbound) = match open(client, session).await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    let (acked_sender, acked) = watch::channel(0);
    let workers = queues.len();
    let delivery =
        Delivery { outbox, workers, over: BTreeMap::new(), watchers, sender: &sender, words: Vec::new() };
    let deliver = async {
        delivery.run(told, acked).await?;
        let _ = events.send(Ok(())).await;
        // The stream stays open until the session ends: closed from here, it would be a loss.
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

/// Hands rows to the workers and passes acknowledgements on. Never waits: credit bounds what may come.
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
                // Rows that cross the Drain are not run.
                queue.send(assign).map_err(|Full| SessionError::Protocol("more rows than were granted"))?;
            }
            FromCoordinator::Ack(number) => {
                acked.send_replace(number);
            }
        }
    }
    Ok(())
}

/// Results on their way out.
struct Delivery<'a> {
    outbox: &'a mut Outbox,
    workers: usize,
    /// For how many workers a round is over.
    over: BTreeMap<u32, usize>,
    watchers: &'a Watchers,
    sender: &'a mpsc::Sender<v1::AgentWork>,
    /// To be sent once the results that were heard before are.
    words: Vec<FromAgent>,
}

impl Delivery<'_> {
    /// Sends results in batches, and credit. Ends when all workers have ended and every result is acknowledged.
    async fn run(mut self, told: &Listener, mut acked: watch::Receiver<u64>) -> Result<(), SessionError> {
        for credit in self.outbox.first_credits() {
            self.send(FromAgent::Credit(credit)).await?;
        }
        let mut looks = interval(limits::RESULT_LINGER);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Vec::new();
        let mut is_open = true;
        loop {
            // What is heard goes at once: it has waited in `told`. Nothing of a round comes behind its end.
            while let Some(results) = self.outbox.take_batch() {
                self.send(FromAgent::Results(results)).await?;
            }
            for word in std::mem::take(&mut self.words) {
                self.send(word).await?;
            }
            // Decided after everything is sent: messages other than results are never acknowledged, so there is nothing to wait for after
            // them.
            if !is_open && !self.outbox.has_unacknowledged() {
                return Ok(());
            }
            told.expect(self.outbox.until_due());
            tokio::select! {
                biased;
                // The coordinator is gone when this fails; the reader of its stream says why.
                changed = acked.changed() => if changed.is_err() {
                    return Err(SessionError::Closed("work"));
                },
                () = told.due(), if is_open => is_open = self.hear(told, &mut heard),
                _ = looks.tick(), if is_open => is_open = self.hear(told, &mut heard),
            }
            let number = *acked.borrow_and_update();
            let credits = self.outbox.acknowledge(number);
            self.watchers.metrics.hold(self.outbox.unacknowledged());
            for credit in credits {
                self.send(FromAgent::Credit(credit)).await?;
            }
        }
    }

    /// False when nothing more will come. Waits for nothing: all that is taken is kept, even if the session ends next.
    fn hear(&mut self, told: &Listener, heard: &mut Vec<(u16, Told)>) -> bool {
        let is_open = told.take(heard);
        self.watchers.metrics.hear(heard);
        let mut in_flight_ns = 0u64;
        for (worker, told) in heard.drain(..) {
            match told {
                Told::Measured(measurement) => {
                    in_flight_ns += measurement.service_time_ns;
                    self.outbox.add(worker, measurement);
                }
                Told::LeftOut(rows) => {
                    self.words.extend(self.outbox.note_left_out(worker, rows).map(FromAgent::Credit));
                }
                Told::RoundOver(round) => {
                    let over = self.over.entry(round).or_default();
                    *over += 1;
                    if *over == self.workers {
                        self.words.push(FromAgent::RoundOver { round });
                    }
                }
            }
        }
        self.watchers.gauges.ended(in_flight_ns);
        self.watchers.gauges.holds(self.outbox.kept());
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
    use muster_common::measurement::{Answer, Execution, Lag, Measurement, Outcome};
    use muster_common::slots::Grant;

    use super::*;
    use crate::told::told;

    #[test]
    fn what_is_heard_is_kept_whatever_has_to_be_said_before_it() {
        let (tellers, listener) = told(1);
        let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
        let row = RowId::new(7);
        let measurement =
            Measurement { row, start_ns: 0, lag: Lag::default(), service_time_ns: 1, execution, outcome };
        for told in [Told::LeftOut(16), Told::RoundOver(1), Told::Measured(measurement)] {
            tellers[0].tell(told).unwrap();
        }
        let mut outbox = Outbox::new(1, Vec::new());
        let watchers = Watchers { gauges: Arc::new(Gauges::new(1)), metrics: AgentMetrics::default() };
        // Nothing can be sent: the stream is gone.
        let (sender, _) = mpsc::channel(1);
        let (over, words) = (BTreeMap::new(), Vec::new());
        let mut delivery =
            Delivery { outbox: &mut outbox, workers: 1, over, watchers: &watchers, sender: &sender, words };
        assert!(delivery.hear(&listener, &mut Vec::new()));
        assert!(matches!(delivery.words[..], [FromAgent::Credit(_), FromAgent::RoundOver { round: 1 }]));
        drop(delivery);
        let kept = outbox.into_kept(Grant { slot: SlotId::new(0), epoch: Epoch::new(1) });
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].measurements[0].1.row, row);
    }
}
