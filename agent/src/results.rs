//! The Work stream: rows in, results out. Results are kept until the coordinator acknowledged them; credit follows the acknowledgements,
//! so rows waiting here and results not yet acknowledged are bounded by the same window.

use std::collections::VecDeque;
use std::time::Duration;

use muster_common::limits;
use muster_common::measurement::Measurement;
use muster_proto::v1;
use muster_proto::work::{Assign, Credit, FromAgent, FromCoordinator, Results};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Streaming;

use crate::session::SessionError;

/// Hands rows to the workers and passes acknowledgements on. Never waits: credit bounds what may come.
pub(crate) async fn receive_rows(
    mut inbound: Streaming<v1::CoordinatorWork>,
    queues: Vec<mpsc::Sender<Assign>>,
    acked: watch::Sender<u64>,
) -> Result<(), SessionError> {
    while let Some(message) = inbound.message().await? {
        match message.try_into()? {
            FromCoordinator::Assign(assign) => {
                let queue = queues
                    .get(usize::from(assign.worker))
                    .ok_or(SessionError::Protocol("rows for a worker that this agent does not have"))?;
                match queue.try_send(assign) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        return Err(SessionError::Protocol("more rows than were granted"));
                    }
                    // The worker has drained; rows that cross the Drain are not run.
                    Err(mpsc::error::TrySendError::Closed(_)) => {}
                }
            }
            FromCoordinator::Ack(number) => {
                acked.send_replace(number);
            }
        }
    }
    Ok(())
}

/// Sends results in batches, and credit. Ends when all workers have ended and every result is acknowledged.
/// Returns the stream's sending half, which must outlive the session's farewell.
pub(crate) async fn send_results(
    workers: u16,
    mut measurements: mpsc::Receiver<(u16, Measurement)>,
    mut acked: watch::Receiver<u64>,
    sender: mpsc::Sender<v1::AgentWork>,
) -> Result<mpsc::Sender<v1::AgentWork>, SessionError> {
    let mut outbox = Outbox::new(workers);
    for credit in outbox.first_credits() {
        send(&sender, FromAgent::Credit(credit)).await?;
    }
    let mut is_open = true;
    while is_open || outbox.has_unacknowledged() {
        let room = limits::BATCH_ROWS_MAX - outbox.pending.len();
        let flush_at = outbox.flush_at();
        tokio::select! {
            received = measurements.recv_many(&mut outbox.pending, room), if is_open && room > 0 => {
                is_open = received > 0;
                outbox.note_arrivals(received, Instant::now());
            }
            // The coordinator is gone when this fails; the reader of its stream says why.
            changed = acked.changed() => if changed.is_err() {
                return Err(SessionError::Closed("work"));
            },
            () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {}
        }
        let number = *acked.borrow_and_update();
        for credit in outbox.acknowledge(number) {
            send(&sender, FromAgent::Credit(credit)).await?;
        }
        let is_due = !is_open || outbox.is_due(Instant::now());
        if is_due && let Some(results) = outbox.take_batch() {
            send(&sender, FromAgent::Results(results)).await?;
        }
    }
    Ok(sender)
}

async fn send(sender: &mpsc::Sender<v1::AgentWork>, message: FromAgent) -> Result<(), SessionError> {
    sender.send(message.into()).await.map_err(|_| SessionError::Closed("work"))
}

