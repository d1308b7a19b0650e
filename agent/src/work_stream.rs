//! The Work stream: passes rows to the workers, and the results of a [`ResultSender`] to the coordinator.

use std::convert::Infallible;

use muster_core::limits;
use muster_core::outbox::Outbox;
use muster_core::session_token::GrantedSession;
use muster_proto::v1;
use muster_proto::work::{FromAgent, FromCoordinator};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::dial::Client;
use crate::inbox::{Full, RowSender};
use crate::result_sender::{ResultSender, Telemetry};
use crate::session_end::SessionError;
use crate::worker_results::WorkerResultReceiver;

/// What the stream needs of the agent.
pub(crate) struct WorkContext {
    /// One queue for each worker.
    pub(crate) queues: Vec<RowSender>,
    pub(crate) worker_results: WorkerResultReceiver,
    pub(crate) outbox: Outbox,
    pub(crate) telemetry: Telemetry,
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
    let WorkContext { queues, worker_results, outbox, telemetry } = context;
    let mut results = ResultSender::new(worker_results, outbox, telemetry, queues.len());
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        Err(error) = exchange(client, session, queues, &mut results, &events) => {
            // The receiver is gone if the session has already ended for another reason.
            let _ = events.send(Err(error)).await;
        }
    }
    results.collect_remaining(&abandoned).await;
    results.into_outbox()
}

/// Receives rows and sends results at the same time, until an error ends the exchange.
async fn exchange(
    client: Client,
    session: GrantedSession,
    queues: Vec<RowSender>,
    results: &mut ResultSender,
    events: &mpsc::Sender<Result<(), SessionError>>,
) -> Result<Infallible, SessionError> {
    let (sender, inbound) = open(client, session).await?;
    let (acked_sender, acked) = watch::channel(0);
    let deliver = async {
        results.send_all(&sender, acked).await?;
        let _ = events.send(Ok(())).await;
        // The stream stays open until the session ends: the coordinator would treat a stream that the agent closes as a lost session.
        std::future::pending().await
    };
    tokio::select! {
        biased;
        received = receive_rows(inbound, queues, acked_sender) => received.and(Err(SessionError::Closed("work"))),
        delivered = deliver => delivered,
    }
}

async fn open(
    mut client: Client,
    session: GrantedSession,
) -> Result<(mpsc::Sender<v1::AgentWork>, Streaming<v1::CoordinatorWork>), SessionError> {
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
