//! One agent's Work stream: rows out as credit allows, results in. Two tasks; neither waits for the other's channel.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use muster_common::ids::RowId;
use muster_common::limits;
use muster_common::parameters::PackedParameters;
use muster_common::slots::Grant;
use muster_proto::v1;
use muster_proto::work::{Assign, Credit, FromAgent, FromCoordinator, Results};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use crate::run::{Batch, Desk, Executed, Share, WorkPorts};
use crate::workload::RowReader;

type Outbound = mpsc::Sender<Result<v1::CoordinatorWork, Status>>;

/// A Work stream whose session holds its slot.
pub(super) struct WorkSession {
    inbound: Streaming<v1::AgentWork>,
    ports: WorkPorts,
}

/// Reads Open and finds its session.
pub(super) async fn open(mut inbound: Streaming<v1::AgentWork>, desk: &Desk) -> Result<WorkSession, Status> {
    let first = timeout(limits::HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Open"))??
        .ok_or_else(|| Status::invalid_argument("the stream ended before Open"))?;
    let session = match FromAgent::try_from(first) {
        Ok(FromAgent::Open(session)) => session,
        Ok(_) => return Err(Status::invalid_argument("the first message must be Open")),
        Err(malformed) => return Err(Status::invalid_argument(malformed.to_string())),
    };
    match desk.open_work(session).await {
        Some(ports) => Ok(WorkSession { inbound, ports }),
        None => Err(Status::failed_precondition("this session holds no slot")),
    }
}

impl WorkSession {
    pub(super) fn spawn(self, sessions: &TaskTracker, outbound: Outbound, desk: &Desk) {
        let WorkPorts { grant, ended, share } = self.ports;
        let (credit_sender, credits) = watch::channel(Vec::new());
        let (ack_sender, acks) = watch::channel(0);
        let in_flight = InFlight::default();
        let receiver = Receiver {
            inbound: self.inbound,
            share: share.clone(),
            credits: credit_sender,
            acks: ack_sender,
            in_flight: in_flight.clone(),
            last_number: 0,
        };
        let sender = Sender { grant, share, credits, acks, in_flight, outbound, desk: desk.clone() };
        sessions.spawn(guarded(grant, ended.clone(), desk.clone(), receiver.receive()));
        sessions.spawn(guarded(grant, ended, desk.clone(), sender.send()));
    }
}

/// Runs one direction until the session ends; its own end is a loss.
async fn guarded(
    grant: Grant,
    ended: CancellationToken,
    desk: Desk,
    direction: impl Future<Output = String>,
) {
    tokio::select! {
        () = ended.cancelled() => {}
        reason = direction => desk.lost(grant, reason).await,
    }
}

/// The rows that were sent and have no result yet, per worker, in the order in which the worker runs them.
#[derive(Clone, Default)]
struct InFlight(Arc<Mutex<Vec<VecDeque<RowId>>>>);

impl InFlight {
    fn sent(&self, worker: usize, rows: &[RowId]) {
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() <= worker {
            workers.resize_with(worker + 1, VecDeque::new);
        }
        workers[worker].extend(rows);
    }

    /// Takes a row out; false when this worker was not to run it.
    fn returned(&self, worker: usize, row: RowId) -> bool {
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = workers.get_mut(worker);
        rows.is_some_and(|rows| {
            let position = rows.iter().position(|sent| *sent == row);
            position.and_then(|position| rows.remove(position)).is_some()
        })
    }
}

// -- results in --------------------------------------------------------------------------------------------------------

struct Receiver {
    inbound: Streaming<v1::AgentWork>,
    share: watch::Receiver<Option<Arc<Share>>>,
    /// By worker: rows that may have been sent in total.
    credits: watch::Sender<Vec<u64>>,
    acks: watch::Sender<u64>,
    in_flight: InFlight,
    last_number: u64,
}

impl Receiver {
    /// Returns why nothing more can be received.
    async fn receive(mut self) -> String {
        loop {
            let message = match self.inbound.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return "closed its work stream".to_owned(),
                Err(status) => return format!("work stream broke: {}", status.message()),
            };
            let taken = match FromAgent::try_from(message) {
                Ok(FromAgent::Credit(credit)) => self.note_credit(credit),
                Ok(FromAgent::Results(results)) => self.take_results(results).await,
                Ok(FromAgent::Open(_)) => Err("sent Open twice".to_owned()),
                Err(malformed) => Err(format!("sent a malformed message: {malformed}")),
            };
            if let Err(reason) = taken {
                return reason;
            }
        }
    }

    /// Credit only grows: an old or repeated message changes nothing.
    fn note_credit(&self, Credit { worker, rows }: Credit) -> Result<(), String> {
        if worker >= limits::WORKERS_PER_AGENT_MAX {
            return Err(format!("gave credit for a worker {worker}"));
        }
        let worker = usize::from(worker);
        self.credits.send_if_modified(|credits| {
            if credits.len() <= worker {
                credits.resize(worker + 1, 0);
            }
            let grows = rows > credits[worker];
            credits[worker] = credits[worker].max(rows);
            grows
        });
        Ok(())
    }

    async fn take_results(&mut self, results: Results) -> Result<(), String> {
        let Results { number, measurements } = results;
        if number <= self.last_number {
            return Ok(());
        }
        if number != self.last_number + 1 {
            return Err(format!("sent results {number} after {}", self.last_number));
        }
        let Some(share) = self.share.borrow().clone() else {
            return Err("sent results before it was given rows".to_owned());
        };
        let mut executed = Vec::with_capacity(measurements.len());
        for (worker, measurement) in measurements {
            let worker = usize::from(worker);
            let row = measurement.row;
            let host = share.workload.host_of(row).filter(|_| self.in_flight.returned(worker, row));
            let (Some(host), Some(position)) = (host, share.positions.get(worker)) else {
                return Err(format!("sent a result for row {row}, which it was not given"));
            };
            executed.push(Executed { worker: *position, host, measurement });
        }
        self.last_number = number;
        let batch = Batch { number, results: executed, acks: self.acks.clone() };
        if share.keeper.settle(batch).await { Ok(()) } else { Err("the run is over".to_owned()) }
    }
}

// -- rows out ----------------------------------------------------------------------------------------------------------

struct Sender {
    grant: Grant,
    share: watch::Receiver<Option<Arc<Share>>>,
    credits: watch::Receiver<Vec<u64>>,
    acks: watch::Receiver<u64>,
    in_flight: InFlight,
    outbound: Outbound,
    desk: Desk,
}

impl Sender {
    /// Returns why nothing more can be sent.
    async fn send(mut self) -> String {
        let share = match self.share.wait_for(Option::is_some).await {
            Ok(share) => share.clone(),
            Err(_) => return "the run is over".to_owned(),
        };
        let Some(share) = share else { return "the run is over".to_owned() };
        match self.send_share(&share).await {
            Ok(never) => match never {},
            Err(reason) => reason,
        }
    }

    async fn send_share(&mut self, share: &Arc<Share>) -> Result<std::convert::Infallible, String> {
        let mut reader = RowReader::new(Arc::clone(&share.workload));
        let mut sent = vec![0; share.positions.len()];
        let mut is_prefetched = false;
        loop {
            let is_complete = self.send_allowed(share, &mut sent, &mut reader).await?;
            if is_complete && !is_prefetched {
                is_prefetched = true;
                self.desk.prefetched(self.grant).await;
            }
            let gone = |_| "closed its work stream".to_owned();
            tokio::select! {
                changed = self.credits.changed() => changed.map_err(gone)?,
                changed = self.acks.changed() => {
                    changed.map_err(gone)?;
                    let number = *self.acks.borrow_and_update();
                    self.send_message(FromCoordinator::Ack(number)).await?;
                }
            }
        }
    }

    /// Sends what credit allows, a batch per worker in turn, so that no worker waits for all of another's rows.
    /// True when every worker was given credit, or has no rows.
    async fn send_allowed(
        &mut self,
        share: &Share,
        sent: &mut [u64],
        reader: &mut RowReader,
    ) -> Result<bool, String> {
        let credits = self.credits.borrow_and_update().clone();
        let mut is_complete = true;
        loop {
            let mut has_sent = false;
            for (worker, sent) in sent.iter_mut().enumerate() {
                let credit = credits.get(worker).copied().unwrap_or(0);
                let allowed = usize::try_from(credit.saturating_sub(*sent)).unwrap_or(usize::MAX);
                let count = allowed.min(limits::BATCH_ROWS_MAX);
                // The file may be on a slow disk, and beats are answered on these threads.
                let assign = tokio::task::block_in_place(|| next_batch(share, worker, count, reader))?;
                let Some(assign) = assign else {
                    is_complete &= credit > 0 || share.is_empty(worker);
                    continue;
                };
                *sent += assign.rows.len() as u64;
                self.in_flight.sent(worker, &assign.rows);
                self.send_message(FromCoordinator::Assign(assign)).await?;
                has_sent = true;
            }
            if !has_sent {
                return Ok(is_complete);
            }
        }
    }

    async fn send_message(&self, message: FromCoordinator) -> Result<(), String> {
        self.outbound.send(Ok(message.into())).await.map_err(|_| "closed its work stream".to_owned())
    }
}

/// At most `count` rows of one worker, read from the workload; `None` when there are none.
fn next_batch(
    share: &Share,
    worker: usize,
    count: usize,
    reader: &mut RowReader,
) -> Result<Option<Assign>, String> {
    let mut parameters = PackedParameters::new();
    let mut rows = Vec::new();
    while rows.len() < count && parameters.len() < limits::BATCH_BYTES_MAX {
        let Some(row) = share.pop(worker) else { break };
        reader.read(row, &mut parameters).map_err(|problem| problem.to_string())?;
        rows.push(row);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let worker = u16::try_from(worker).expect("an agent has at most u16::MAX workers");
    Ok(Some(Assign { worker, rows, parameters: parameters.into_bytes().into() }))
}
