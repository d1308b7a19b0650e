//! The Work stream of one agent: sends rows within the agent's credit and receives results. Each direction has its own task, and neither
//! waits for the other's channel.

use std::sync::Arc;

use muster_core::limits;
use muster_core::parameters::PackedParameters;
use muster_core::queue::Task;
use muster_proto::v1;
use muster_proto::work::{Assign, Credit, FromAgent, FromCoordinator, Order, Results};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use crate::clock;
use crate::run::{Batch, ControllerHandle, Loss, MemberId, SettledResults, Share, WorkPorts};
use crate::workload::{RowReader, WorkloadError};

/// Number of rows taken from the queue at a time, before their size is known. It is so small that a batch one byte below its limit still
/// fits into a message after this many records of the largest size are added.
const READ_AHEAD: usize = 4;

type Outbound = mpsc::Sender<Result<v1::CoordinatorWork, Status>>;

/// A Work stream whose session holds a slot.
pub(super) struct WorkSession {
    inbound: Streaming<v1::AgentWork>,
    ports: WorkPorts,
}

/// Reads Open and looks up its session.
pub(super) async fn open(
    mut inbound: Streaming<v1::AgentWork>,
    controller: &ControllerHandle,
) -> Result<WorkSession, Status> {
    let first = timeout(limits::HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Open received"))??
        .ok_or_else(|| Status::invalid_argument("the stream ended before Open"))?;
    let session = match FromAgent::try_from(first) {
        Ok(FromAgent::Open(session)) => session,
        Ok(_) => return Err(Status::invalid_argument("the first message must be Open")),
        Err(malformed) => return Err(Status::invalid_argument(malformed.to_string())),
    };
    match controller.open_work(session).await {
        Some(ports) => Ok(WorkSession { inbound, ports }),
        None => Err(Status::failed_precondition("this session holds no slot")),
    }
}

impl WorkSession {
    pub(super) fn spawn(self, sessions: &TaskTracker, outbound: Outbound, controller: &ControllerHandle) {
        let WorkPorts { member, ended, share } = self.ports;
        let (credit_sender, credits) = watch::channel(Vec::new());
        let (ack_sender, acks) = watch::channel(0);
        let receiver = Receiver {
            member,
            controller: controller.clone(),
            inbound: self.inbound,
            share: share.clone(),
            credits: credit_sender,
            acks: ack_sender,
            last_number: 0,
        };
        let sender = Sender {
            member,
            share,
            credits,
            acks,
            outbound,
            controller: controller.clone(),
            sent: Vec::new(),
            is_stopped: false,
        };
        let receiving = guarded(member, ended.clone(), controller.clone(), receiver.receive());
        sessions.spawn(receiving);
        sessions.spawn(guarded(member, ended, controller.clone(), sender.send()));
    }
}

/// Runs one direction until the session ends. If the direction ends first, the session is lost.
async fn guarded(
    member: MemberId,
    ended: CancellationToken,
    controller: ControllerHandle,
    direction: impl Future<Output = String>,
) {
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        reason = direction => controller.lost(member, Loss::because(reason)).await,
    }
}

// -- results in --------------------------------------------------------------------------------------------------------

struct Receiver {
    member: MemberId,
    controller: ControllerHandle,
    inbound: Streaming<v1::AgentWork>,
    share: watch::Receiver<Option<Share>>,
    /// By worker: the total number of rows that may have been sent.
    credits: watch::Sender<Vec<u64>>,
    acks: watch::Sender<u64>,
    last_number: u64,
}

impl Receiver {
    /// Receives messages until the stream ends. Returns the reason for the end.
    async fn receive(mut self) -> String {
        loop {
            let message = match self.inbound.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return "closed its work stream".to_owned(),
                Err(status) => return format!("work stream broke: {}", status.message()),
            };
            let handled = match FromAgent::try_from(message) {
                Ok(FromAgent::Credit(credit)) => self.note_credit(credit),
                Ok(FromAgent::Results(results)) => self.take_results(results).await,
                Ok(FromAgent::RoundOver { round }) => {
                    self.controller.round_over(self.member, round).await;
                    Ok(())
                }
                Ok(FromAgent::Open(_)) => Err("sent Open twice".to_owned()),
                Err(malformed) => Err(format!("sent a malformed message: {malformed}")),
            };
            if let Err(reason) = handled {
                return reason;
            }
        }
    }

    /// Credit only grows: an old or repeated message has no effect.
    fn note_credit(&self, Credit { worker, rows }: Credit) -> Result<(), String> {
        if worker >= limits::WORKERS_PER_AGENT_MAX {
            return Err(format!("gave credit for worker {worker}, which it does not have"));
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
        let number = results.number;
        if number <= self.last_number {
            return Ok(());
        }
        if number != self.last_number + 1 {
            return Err(format!("sent results {number} after {}", self.last_number));
        }
        // Results of an earlier session may arrive before this session's part of the run begins. This wait needs no deadline: it ends when
        // every agent is ready, which has a deadline, and `guarded` ends it with the session.
        let share = match self.share.wait_for(Option::is_some).await {
            Ok(share) => share.clone(),
            Err(_) => None,
        };
        let Some(share) = share else { return Err("the run is over".to_owned()) };
        let permit = share.keeper.reserve().await.ok_or("the run is over")?;
        // There is no await from here to the keeper, so every settled result is counted.
        let is_proven = results.ran_under.is_none_or(|grant| share.former.contains(&grant));
        let SettledResults { counted, duplicates, not_given } = match is_proven {
            true => share.rows.settle(share.epoch, results),
            false => share.rows.drop_stale(&results),
        };
        self.last_number = number;
        permit.send(Batch { number, results: counted, duplicates, acks: self.acks.clone() });
        match not_given {
            None => Ok(()),
            Some(row) => Err(format!("sent a result for row {row}, which it was not given")),
        }
    }
}

// -- rows out ----------------------------------------------------------------------------------------------------------

struct Sender {
    member: MemberId,
    share: watch::Receiver<Option<Share>>,
    credits: watch::Receiver<Vec<u64>>,
    acks: watch::Receiver<u64>,
    outbound: Outbound,
    controller: ControllerHandle,
    /// By worker: the total number of rows sent in all rounds.
    sent: Vec<u64>,
    /// No more rows are sent, because they cannot be read or recorded, and the run ends. Acknowledgements are still sent, because the agent
    /// cannot report without them.
    is_stopped: bool,
}

impl Sender {
    /// Sends rows until the stream ends. Returns the reason for the end.
    async fn send(mut self) -> String {
        loop {
            let share = match self.share.wait_for(Option::is_some).await {
                Ok(share) => share.clone(),
                Err(_) => return "the run is over".to_owned(),
            };
            let Some(share) = share else { return "the run is over".to_owned() };
            self.share.mark_unchanged();
            self.sent.resize(share.workers.len(), 0);
            if let Err(reason) = self.send_share(&share).await {
                return reason;
            }
        }
    }

    /// Returns when another round begins.
    async fn send_share(&mut self, share: &Share) -> Result<(), String> {
        let mut reader = RowReader::new(Arc::clone(&share.workload));
        let mut given = share.rows.given();
        let mut is_prefetched = false;
        loop {
            let is_complete = !self.is_stopped && self.send_allowed(share, &mut reader).await?;
            if is_complete && !is_prefetched {
                is_prefetched = true;
                self.controller.prefetched(self.member).await;
            }
            let closed = |_| "closed its work stream".to_owned();
            tokio::select! {
                // Acknowledgements come first, and the loop checks credit and rows after each of them, so none of the three waits for
                // another.
                biased;
                changed = self.acks.changed() => {
                    changed.map_err(closed)?;
                    let number = *self.acks.borrow_and_update();
                    self.send_message(FromCoordinator::Ack(number)).await?;
                }
                changed = self.share.changed() => return changed.map_err(closed),
                changed = self.credits.changed() => changed.map_err(closed)?,
                changed = given.changed() => changed.map_err(closed)?,
            }
        }
    }

    /// Sends the rows that the agent's credit allows, one batch per worker in turn, so that no worker waits for all rows of another one.
    /// Returns true if every worker has granted credit or has no rows.
    async fn send_allowed(&mut self, share: &Share, reader: &mut RowReader) -> Result<bool, String> {
        let credits = self.credits.borrow_and_update().clone();
        let credit = |worker: usize| credits.get(worker).copied().unwrap_or(0);
        let is_drained = |worker: usize| share.rows.is_drained(share.workers.start + worker);
        // Applied last, because it takes the lock on all rows.
        let within_capacity = |(worker, rows): (usize, u64)| {
            let send_capacity =
                share.rows.send_capacity(share.workers.start + worker, share.in_flight_max) as u64;
            (send_capacity > 0).then_some((worker, rows.min(send_capacity)))
        };
        loop {
            let allowed: Vec<(usize, u64)> = (0..self.sent.len())
                .map(|worker| (worker, credit(worker).saturating_sub(self.sent[worker])))
                .filter(|&(worker, rows)| rows > 0 && !is_drained(worker))
                .filter_map(within_capacity)
                .collect();
            let mut turns = allowed.into_iter();
            let mut has_sent = false;
            while turns.len() > 0 {
                // The file may be on a slow disk, and heartbeats are answered on these threads.
                let next = clock::blocking(|| next_batches(share, &mut turns, reader));
                let batches = match next {
                    Ok(batches) => batches,
                    Err(problem) => {
                        self.is_stopped = true;
                        self.controller.unreadable(problem).await;
                        return Ok(false);
                    }
                };
                has_sent |= !batches.is_empty();
                self.send_batches(share, batches).await?;
                if self.is_stopped {
                    return Ok(false);
                }
            }
            if !has_sent {
                return Ok((0..self.sent.len()).all(|worker| credit(worker) > 0 || is_drained(worker)));
            }
        }
    }

    async fn send_batches(&mut self, share: &Share, batches: Vec<Assign>) -> Result<(), String> {
        if batches.is_empty() {
            return Ok(());
        }
        let rows = |assign: &Assign| assign.rows.iter().map(|order| order.row).collect();
        let position = |assign: &Assign| share.workers.start + usize::from(assign.worker);
        let sent = batches.iter().map(|assign| (position(assign), rows(assign))).collect();
        // Waits for the disk without a deadline: a row is sent only after the journal records that the row may have run.
        if !share.keeper.sent(share.epoch, sent).await {
            self.is_stopped = true;
            return Ok(());
        }
        for assign in batches {
            self.sent[usize::from(assign.worker)] += assign.rows.len() as u64;
            self.send_message(FromCoordinator::Assign(assign)).await?;
        }
        Ok(())
    }

    async fn send_message(&self, message: FromCoordinator) -> Result<(), String> {
        match timeout(limits::WORK_SEND_TIMEOUT, self.outbound.send(Ok(message.into()))).await {
            Ok(sent) => sent.map_err(|_| "closed its work stream".to_owned()),
            Err(_) => Err(format!("did not read its work stream for {:?}", limits::WORK_SEND_TIMEOUT)),
        }
    }
}

/// Returns one batch for each of the next workers in `turns`, which states the number of rows that each may receive. Stops when the batches
/// fill a message of the largest size.
fn next_batches(
    share: &Share,
    turns: &mut impl Iterator<Item = (usize, u64)>,
    reader: &mut RowReader,
) -> Result<Vec<Assign>, WorkloadError> {
    let mut batches = Vec::new();
    let mut bytes = 0;
    while bytes < limits::BATCH_BYTES_MAX
        && let Some((worker, allowed)) = turns.next()
    {
        let count = usize::try_from(allowed).unwrap_or(usize::MAX).min(limits::BATCH_ROWS_MAX);
        if let Some(assign) = next_batch(share, worker, count, reader)? {
            bytes += assign.parameters.len();
            batches.push(assign);
        }
    }
    Ok(batches)
}

/// Reads at most `count` rows of one worker from the workload. Returns `None` if there are none.
fn next_batch(
    share: &Share,
    worker: usize,
    count: usize,
    reader: &mut RowReader,
) -> Result<Option<Assign>, WorkloadError> {
    let mut parameters = PackedParameters::new();
    let mut rows = Vec::new();
    let passes = share.rows.passes();
    while rows.len() < count && parameters.len() < limits::BATCH_BYTES_MAX {
        // A few at a time, because the number that fits is not known before they are read.
        let taken =
            share.rows.take(share.workers.start + worker, share.epoch, READ_AHEAD.min(count - rows.len()));
        if taken.is_empty() {
            break;
        }
        for Task { row, due_ns } in taken {
            let record = passes.record_of(row);
            reader.read(record, &mut parameters)?;
            let statement = share.workload.statement_of(record);
            let target = u16::try_from(passes.target_of(row)).expect("there are at most two databases");
            let due_ns = share.is_open_loop.then_some(due_ns);
            rows.push(Order { row, due_ns, statement, target });
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let worker = u16::try_from(worker).expect("an agent has at most u16::MAX workers");
    let round = share.rows.round();
    Ok(Some(Assign { worker, round, rows, parameters: parameters.into_bytes().into() }))
}
