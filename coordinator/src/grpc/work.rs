//! One agent's Work stream: rows out as credit allows, results in. Two tasks; neither waits for the other's channel.

use std::sync::Arc;

use muster_common::limits;
use muster_common::parameters::PackedParameters;
use muster_common::queue::Task;
use muster_proto::v1;
use muster_proto::work::{Assign, Credit, FromAgent, FromCoordinator, Order, Results};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use crate::clock;
use crate::run::{Batch, Desk, Loss, MemberId, Share, Taken, WorkPorts};
use crate::workload::{RowReader, WorkloadError};

/// Rows taken from the queue at a time, before their size is known: with as many records of the largest size, a batch that was a byte
/// short of its bound still fits into a message.
const READ_AHEAD: usize = 4;

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
        let WorkPorts { member, ended, share } = self.ports;
        let (credit_sender, credits) = watch::channel(Vec::new());
        let (ack_sender, acks) = watch::channel(0);
        let receiver = Receiver {
            member,
            desk: desk.clone(),
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
            desk: desk.clone(),
            sent: Vec::new(),
            is_stopped: false,
        };
        let receiving = guarded(member, ended.clone(), desk.clone(), receiver.receive());
        sessions.spawn(receiving);
        sessions.spawn(guarded(member, ended, desk.clone(), sender.send()));
    }
}

/// Runs one direction until the session ends; its own end is a loss.
async fn guarded(
    member: MemberId,
    ended: CancellationToken,
    desk: Desk,
    direction: impl Future<Output = String>,
) {
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        reason = direction => desk.lost(member, Loss::because(reason)).await,
    }
}

// -- results in --------------------------------------------------------------------------------------------------------

struct Receiver {
    member: MemberId,
    desk: Desk,
    inbound: Streaming<v1::AgentWork>,
    share: watch::Receiver<Option<Share>>,
    /// By worker: rows that may have been sent in total.
    credits: watch::Sender<Vec<u64>>,
    acks: watch::Sender<u64>,
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
                Ok(FromAgent::RoundOver { round }) => {
                    self.desk.round_over(self.member, round).await;
                    Ok(())
                }
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
        let number = results.number;
        if number <= self.last_number {
            return Ok(());
        }
        if number != self.last_number + 1 {
            return Err(format!("sent results {number} after {}", self.last_number));
        }
        // Results of an earlier session may arrive before this one's part of the run begins. This wait has no deadline of its own: it ends
        // when every agent is ready, which has a deadline, and `guarded` ends it with the session.
        let share = match self.share.wait_for(Option::is_some).await {
            Ok(share) => share.clone(),
            Err(_) => None,
        };
        let Some(share) = share else { return Err("the run is over".to_owned()) };
        let place = share.keeper.place().await.ok_or("the run is over")?;
        // From here to the keeper nothing waits: what is settled is added up.
        let is_its_own = results.ran_under.is_none_or(|grant| share.former.contains(&grant));
        let Taken { counted, again, not_given } = match is_its_own {
            true => share.rows.settle(share.epoch, results),
            false => share.rows.drop_stale(&results),
        };
        self.last_number = number;
        place.put(Batch { number, results: counted, again, acks: self.acks.clone() });
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
    desk: Desk,
    /// By worker: rows in total, of all rounds.
    sent: Vec<u64>,
    /// No more rows are sent, because they cannot be read or recorded, and the run ends. Acknowledgements are still sent, because the agent
    /// cannot report without them.
    is_stopped: bool,
}

impl Sender {
    /// Returns why nothing more can be sent.
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
                self.desk.prefetched(self.member).await;
            }
            let gone = |_| "closed its work stream".to_owned();
            tokio::select! {
                // Acknowledgements come first, and the loop looks at credit and rows after each: none of them waits for another.
                biased;
                changed = self.acks.changed() => {
                    changed.map_err(gone)?;
                    let number = *self.acks.borrow_and_update();
                    self.send_message(FromCoordinator::Ack(number)).await?;
                }
                changed = self.share.changed() => return changed.map_err(gone),
                changed = self.credits.changed() => changed.map_err(gone)?,
                changed = given.changed() => changed.map_err(gone)?,
            }
        }
    }

    /// Sends what credit allows, a batch per worker in turn, so that no worker waits for all of another's rows.
    /// True when every worker was given credit, or has no rows.
    async fn send_allowed(&mut self, share: &Share, reader: &mut RowReader) -> Result<bool, String> {
        let credits = self.credits.borrow_and_update().clone();
        let credit = |worker: usize| credits.get(worker).copied().unwrap_or(0);
        let is_drained = |worker: usize| share.rows.is_drained(share.workers.start + worker);
        // Asked last: it takes the lock of all rows.
        let within_room = |(worker, rows): (usize, u64)| {
            let room = share.rows.room(share.workers.start + worker, share.in_flight_max) as u64;
            (room > 0).then_some((worker, rows.min(room)))
        };
        loop {
            let allowed: Vec<(usize, u64)> = (0..self.sent.len())
                .map(|worker| (worker, credit(worker).saturating_sub(self.sent[worker])))
                .filter(|&(worker, rows)| rows > 0 && !is_drained(worker))
                .filter_map(within_room)
                .collect();
            let mut turns = allowed.into_iter();
            let mut has_sent = false;
            while turns.len() > 0 {
                // The file may be on a slow disk, and beats are answered on these threads.
                let next = clock::blocking(|| next_batches(share, &mut turns, reader));
                let batches = match next {
                    Ok(batches) => batches,
                    Err(problem) => {
                        self.is_stopped = true;
                        self.desk.unreadable(problem).await;
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
        // Waits for the disk, which has no deadline: a row is sent only after it is recorded that the row may have run.
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

/// A batch for each worker whose turn it is and that may be sent so many rows; no more turns once they fill a message of the largest size.
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

/// At most `count` rows of one worker, read from the workload; `None` when there are none.
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
        // A few at a time: how many fit is not known before they are read.
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
