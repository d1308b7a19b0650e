//! The state of every row: waiting for its worker, in flight in a session, or settled. All transitions are decided here, so that a row that
//! is lost, handed back, sent again or reported twice is still counted once. Does no I/O and reads no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;

use crate::ids::{Epoch, RowId};
use crate::ledger::{Ledger, Settled, Settlement};
use crate::limits;
use crate::passes::Passes;
use crate::queue::{Queue, Task};

/// The rows of a run and their state. Workers are identified by their position in the placement's list of workers.
#[derive(Debug)]
pub struct Dispatch {
    ledger: Ledger,
    passes: Passes,
    workers: Vec<Worker>,
    /// The run's time is over: waiting rows are not run.
    is_closed: bool,
    /// For each row that was in flight when a session was lost: the epochs of these sessions, in the order in which they had the row.
    losses: HashMap<RowId, Vec<Epoch>>,
    /// Lost sessions that are no evidence against their rows, because no agent process died with them.
    discounted: BTreeSet<Epoch>,
    /// Rows that are not run again because [`limits::LOSSES_MAX`] agent processes died with them.
    quarantined: BTreeSet<RowId>,
}

#[derive(Debug, Default)]
struct Worker {
    /// The session that runs this worker's rows; `None` if there is none.
    holder: Option<Epoch>,
    waiting: Queue,
    /// Sent but not settled, in the order in which the worker runs them.
    in_flight: VecDeque<Task>,
    /// Suspects; they are not sent.
    held: Vec<Task>,
}

/// The outcome of reporting a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// Counted. `attempt` is 1, plus the number of lost sessions that had the row before and may have run it.
    Counted { attempt: u32 },
    /// The row already has a result; this one is dropped.
    Duplicate,
    /// The session no longer runs this worker; the result is dropped.
    Stale,
    /// The session was never sent this row: a protocol violation.
    NotGiven,
}

impl Dispatch {
    /// `waiting` contains the rows of each worker in order. Rows that are already settled in `ledger` are not run. The ledger grows with
    /// the passes.
    pub fn new(ledger: Ledger, passes: Passes, waiting: Vec<Queue>) -> Self {
        let workers = waiting.into_iter().map(|waiting| Worker { waiting, ..Worker::default() }).collect();
        Self {
            ledger,
            passes,
            workers,
            is_closed: false,
            losses: HashMap::new(),
            discounted: BTreeSet::new(),
            quarantined: BTreeSet::new(),
        }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn quarantined(&self) -> &BTreeSet<RowId> {
        &self.quarantined
    }

    /// Returns true if nothing is left to run: every row of every pass is settled or quarantined, or the time is over.
    pub fn is_finished(&self) -> bool {
        let is_settled = self.ledger.unaccounted() as usize == self.quarantined.len();
        self.is_closed || (is_settled && self.ledger.rows() == self.passes.rows())
    }

    /// Returns true if the run ends after a duration rather than after a number of rows.
    pub fn is_endless(&self) -> bool {
        self.passes.is_endless()
    }

    /// Ends the run because its time is over. No more rows are sent. Rows that were not in flight in a lost session need no result any
    /// more, so report or hand back rows in flight first. Returns false if the time was already over.
    pub fn close(&mut self) -> bool {
        if std::mem::replace(&mut self.is_closed, true) {
            return false;
        }
        for row in (0..self.ledger.rows()).map(RowId::new) {
            if !self.losses.contains_key(&row) {
                self.ledger.withdraw(row);
            }
        }
        true
    }

    /// Makes the session of `epoch` run these workers. Results of older sessions are stale from now on.
    pub fn begin(&mut self, workers: Range<usize>, epoch: Epoch) {
        for worker in &mut self.workers[workers] {
            debug_assert!(worker.in_flight.is_empty(), "the loss of the previous session was not reported");
            worker.holder = Some(epoch);
        }
    }

    /// Takes at most `count` rows for a worker, which are then in flight. Returns no rows if the session does not run this worker.
    ///
    /// A row with which two agent processes died is sent alone, so that a third death is evidence against this row and not against its
    /// neighbours. A suspect is not sent.
    pub fn take(&mut self, worker: usize, epoch: Epoch, count: usize) -> Vec<Task> {
        let Self { ledger, passes, workers, losses, discounted, quarantined: _, is_closed } = self;
        let worker = &mut workers[worker];
        let mut taken = Vec::new();
        if worker.holder != Some(epoch) || *is_closed {
            return taken;
        }
        let deaths = |task: &Task| deaths(losses, discounted, task.row);
        if worker.in_flight.front().is_some_and(|task| deaths(task) + 1 >= limits::LOSSES_MAX) {
            return taken;
        }
        while taken.len() < count
            && let Some(task) = worker.waiting.pop()
        {
            // A result of an earlier session may have arrived in the meantime.
            if ledger.is_settled(task.row) {
                continue;
            }
            let deaths = deaths(&task);
            if deaths >= limits::LOSSES_MAX {
                worker.held.push(task);
                continue;
            }
            let alone = deaths + 1 >= limits::LOSSES_MAX;
            if alone && !worker.in_flight.is_empty() {
                worker.waiting.put_back(task);
                break;
            }
            ledger.grow_to(passes.rows_through(task.row));
            worker.in_flight.push_back(task);
            taken.push(task);
            if alone {
                break;
            }
        }
        taken
    }

    /// Returns how many more rows a worker may be sent so that at most `most` are in flight. Returns 0 while the capacity is too small to
    /// justify a message.
    pub fn send_capacity(&self, worker: usize, most: usize) -> usize {
        let capacity = most.saturating_sub(self.workers[worker].in_flight.len());
        if capacity < most / 4 { 0 } else { capacity }
    }

    /// Returns true if no row waits to be sent to this worker.
    pub fn is_drained(&self, worker: usize) -> bool {
        self.workers[worker].waiting.is_empty()
    }

    /// Settles a row with a result from the session that was sent the row.
    pub fn settle(&mut self, worker: usize, epoch: Epoch, row: RowId, settled: Settled) -> Receipt {
        let Some(known) = self.workers.get_mut(worker) else { return Receipt::NotGiven };
        if known.holder != Some(epoch) {
            return Receipt::Stale;
        }
        match known.in_flight.iter().position(|sent| sent.row == row) {
            Some(position) => {
                known.in_flight.remove(position);
            }
            None if self.ledger.is_settled(row) => return Receipt::Duplicate,
            None => return Receipt::NotGiven,
        }
        self.count(row, epoch, settled)
    }

    /// Settles a row with a result that was measured in an ended session and is reported by a later one.
    /// If another session is running the row in the meantime, its result comes second and is dropped.
    ///
    /// Such a report proves that the session of `ran_under` has ended. If it still counts as live here, call [`lost`](Self::lost) first;
    /// otherwise the result is [`Receipt::NotGiven`].
    pub fn settle_stale(&mut self, ran_under: Epoch, row: RowId, settled: Settled) -> Receipt {
        if self.ledger.is_settled(row) {
            return Receipt::Duplicate;
        }
        let had_it = self.losses.get(&row).is_some_and(|lost| lost.contains(&ran_under));
        if had_it { self.count(row, ran_under, settled) } else { Receipt::NotGiven }
    }

    /// Ends a session whose rows may or may not have run. Its rows return to the front of their queues. Returns these rows.
    pub fn lost(&mut self, workers: Range<usize>, epoch: Epoch) -> Vec<RowId> {
        let mut lost = Vec::new();
        for position in workers {
            let worker = &mut self.workers[position];
            if worker.holder != Some(epoch) {
                continue;
            }
            worker.holder = None;
            for task in std::mem::take(&mut worker.in_flight).into_iter().rev() {
                if self.ledger.is_settled(task.row) {
                    continue;
                }
                lost.push(task.row);
                note_loss(&mut self.losses, task.row, epoch);
                worker.waiting.put_back(task);
            }
        }
        lost.sort_unstable();
        lost
    }

    /// Marks lost sessions as no evidence against their rows: the agent process is alive, or was asked to stop, or the coordinator died.
    /// May be called before the loss is known or long afterwards. Rows that are no longer suspects are sent again.
    pub fn discount(&mut self, sessions: impl IntoIterator<Item = Epoch>) {
        let Self { workers, losses, discounted, quarantined, .. } = self;
        discounted.extend(sessions);
        let is_suspect = |row: RowId| deaths(losses, discounted, row) >= limits::LOSSES_MAX;
        quarantined.retain(|row| is_suspect(*row));
        for worker in workers {
            let (held, freed) =
                std::mem::take(&mut worker.held).into_iter().partition(|task| is_suspect(task.row));
            worker.held = held;
            let freed: Vec<Task> = freed;
            freed.into_iter().rev().for_each(|task| worker.waiting.put_back(task));
        }
    }

    /// Returns the rows that were in flight when [`limits::LOSSES_MAX`] agent processes apparently died. They are not sent. A process that
    /// seems to have died may still return, so the caller waits before it [quarantines](Self::quarantine) them.
    pub fn suspects(&self) -> Vec<RowId> {
        let mut suspects: Vec<RowId> =
            self.losses.keys().copied().filter(|row| self.is_suspect(*row)).collect();
        suspects.sort_unstable();
        suspects
    }

    fn is_suspect(&self, row: RowId) -> bool {
        let is_open = !self.ledger.is_settled(row) && !self.quarantined.contains(&row);
        is_open && deaths(&self.losses, &self.discounted, row) >= limits::LOSSES_MAX
    }

    /// Quarantines those of `rows` that are still suspects, and returns them. No result is expected for them any more.
    pub fn quarantine(&mut self, rows: impl IntoIterator<Item = RowId>) -> Vec<RowId> {
        let quarantined: Vec<RowId> = rows.into_iter().filter(|row| self.is_suspect(*row)).collect();
        self.quarantined.extend(&quarantined);
        quarantined
    }

    /// Ends a session that has reported every row it ran; its other rows were not run. Returns the number of these rows.
    pub fn handed_back(&mut self, workers: Range<usize>, epoch: Epoch) -> usize {
        let mut count = 0;
        for worker in &mut self.workers[workers] {
            if worker.holder == Some(epoch) {
                worker.holder = None;
                for task in std::mem::take(&mut worker.in_flight).into_iter().rev() {
                    // A delayed result may have settled it in the meantime.
                    if !self.ledger.is_settled(task.row) {
                        worker.waiting.put_back(task);
                        count += 1;
                    }
                }
            }
        }
        count
    }

    /// Removes all rows that wait for a worker without a session, and splits them by the `owner` of each record, to be
    /// [given](Self::give) to other workers.
    pub fn retire(&mut self, worker: usize, owner: impl FnMut(RowId) -> usize) -> BTreeMap<usize, Queue> {
        let worker = &mut self.workers[worker];
        // Rows that are held back move, too, and are held back by their new worker.
        let held = std::mem::take(&mut worker.held);
        held.into_iter().rev().for_each(|task| worker.waiting.put_back(task));
        std::mem::take(&mut worker.waiting).divide(&self.passes, owner)
    }

    /// Appends rows to the queue of a worker.
    pub fn give(&mut self, worker: usize, rows: Queue) {
        self.workers[worker].waiting.append(rows);
    }

    /// Records a loss that happened before this coordinator started: the session of `epoch` was lost with these rows. Must be called in the
    /// order in which the rows were sent, which may differ from the order of epochs.
    pub fn remember_loss(&mut self, rows: impl IntoIterator<Item = RowId>, epoch: Epoch) {
        rows.into_iter().for_each(|row| note_loss(&mut self.losses, row, epoch));
    }

    /// Returns the ledger at the end of the run.
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }

    fn count(&mut self, row: RowId, ran_under: Epoch, settled: Settled) -> Receipt {
        match self.ledger.settle(row, settled) {
            Settlement::Counted => {
                self.quarantined.remove(&row);
                // Counts losses in their order, not by epoch: a row that moved may run in a session that is older than the lost one.
                let before = |lost: &Vec<Epoch>| {
                    lost.iter().position(|epoch| *epoch == ran_under).unwrap_or(lost.len())
                };
                let losses = self.losses.get(&row).map_or(0, before);
                Receipt::Counted { attempt: 1 + u32::try_from(losses).unwrap_or(u32::MAX - 1) }
            }
            Settlement::Duplicate => Receipt::Duplicate,
            Settlement::Unknown => Receipt::NotGiven,
        }
    }
}

fn note_loss(losses: &mut HashMap<RowId, Vec<Epoch>>, row: RowId, epoch: Epoch) {
    let lost = losses.entry(row).or_default();
    if !lost.contains(&epoch) {
        lost.push(epoch);
    }
}

/// Returns the number of agent processes that died with this row. Each process counts once: if a process that lost a session joins again,
/// it is alive, and all of its earlier sessions are discounted.
fn deaths(losses: &HashMap<RowId, Vec<Epoch>>, discounted: &BTreeSet<Epoch>, row: RowId) -> usize {
    losses.get(&row).map_or(0, |lost| lost.iter().filter(|epoch| !discounted.contains(epoch)).count())
}

#[cfg(test)]
mod tests;
