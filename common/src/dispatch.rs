//! Which row is where: waiting for its worker, in flight in a session, or settled. One place decides all of it, so that a row which
//! is lost, handed back, sent again or reported twice is still counted once. Does no I/O and knows no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;

use crate::ids::{Epoch, RowId};
use crate::ledger::{Ledger, Settled, Settlement};
use crate::limits;
use crate::passes::Passes;
use crate::queue::{Queue, Task};

/// The rows of a run and where they are. Workers are named by their position in the placement's list of workers.
#[derive(Debug)]
pub struct Dispatch {
    ledger: Ledger,
    passes: Passes,
    workers: Vec<Worker>,
    /// The run's time is over: what waits is not run.
    is_closed: bool,
    /// The sessions that were lost with a row in flight, in the order in which they had it. Only rows that this happened to.
    losses: HashMap<RowId, Vec<Epoch>>,
    /// Lost sessions that are no evidence against the rows that they had: no agent process died with them.
    discounted: BTreeSet<Epoch>,
    /// Rows that are given up because [`limits::LOSSES_MAX`] agent processes died with them.
    quarantined: BTreeSet<RowId>,
}

#[derive(Debug, Default)]
struct Worker {
    /// The session that runs this worker's rows; `None` while nobody does.
    holder: Option<Epoch>,
    waiting: Queue,
    /// Sent and not settled, in the order in which the worker runs them.
    in_flight: VecDeque<Task>,
    /// Suspects, which are not sent.
    held: Vec<Task>,
}

/// What became of one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// Counted. `attempt` is 1 unless lost sessions had the row before: then it may have run before.
    Counted { attempt: u32 },
    /// The row had a result already; this one is dropped.
    Duplicate,
    /// The session does not run this worker any more; dropped.
    Stale,
    /// The session was never given this row: it breaks the protocol.
    NotGiven,
}

impl Dispatch {
    /// `waiting` has the rows of each worker in their order. Rows that `ledger` has settled already are not run. The ledger grows with
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

    /// Nothing is left to be run: every row of every pass is settled or quarantined, or the time is over.
    pub fn is_finished(&self) -> bool {
        let is_settled = self.ledger.unaccounted() as usize == self.quarantined.len();
        self.is_closed || (is_settled && self.ledger.rows() == self.passes.rows())
    }

    /// The clock ends the run, and no row has to come before that.
    pub fn is_endless(&self) -> bool {
        self.passes.is_endless()
    }

    /// The run's time is over. Nothing more is given out, and of what no session was lost with, no result is expected any more: rows
    /// that are in flight have to be handed back before, or told. False when it was over before.
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

    /// From now on the session of `epoch` runs these workers. An older session's results are stale.
    pub fn begin(&mut self, workers: Range<usize>, epoch: Epoch) {
        for worker in &mut self.workers[workers] {
            debug_assert!(worker.in_flight.is_empty(), "the loss of the session before was not told");
            worker.holder = Some(epoch);
        }
    }

    /// Takes at most `count` rows for a worker: they are in flight then. None for a session that does not run it.
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
            // A result of an earlier session may have come meanwhile.
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

    /// How many rows a worker may be sent beside those in flight, which are to be `most` at most. None before there is room for a batch
    /// that is worth a message.
    pub fn room(&self, worker: usize, most: usize) -> usize {
        let room = most.saturating_sub(self.workers[worker].in_flight.len());
        if room < most / 4 { 0 } else { room }
    }

    /// Nothing waits to be sent to this worker.
    pub fn is_drained(&self, worker: usize) -> bool {
        self.workers[worker].waiting.is_empty()
    }

    /// Takes a result from the session that was given the row.
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

    /// Takes a result that was measured under a session which is over and is told again by a later one.
    /// Whoever has the row meanwhile comes second and is dropped.
    ///
    /// That the result is told by a later session proves that the one of `ran_under` is over: [`lost`](Self::lost) comes first, should
    /// it still count as live here. Until then the result would be [`Receipt::NotGiven`].
    pub fn settle_late(&mut self, ran_under: Epoch, row: RowId, settled: Settled) -> Receipt {
        if self.ledger.is_settled(row) {
            return Receipt::Duplicate;
        }
        let had_it = self.losses.get(&row).is_some_and(|lost| lost.contains(&ran_under));
        if had_it { self.count(row, ran_under, settled) } else { Receipt::NotGiven }
    }

    /// A session is over, and it is not known which of its rows were run. They return to the front of their queues. Returns them.
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

    /// Lost sessions whose agent processes did not die with their rows: the process lives, or it was asked to stop, or the coordinator
    /// died. May be called before the loss is known or long afterwards. Rows that are no longer suspects are sent again.
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

    /// Rows that were in flight when [`limits::LOSSES_MAX`] agent processes died, as far as is known. They are not sent. A process that
    /// seems to have died may still come back, so the caller [gives them up](Self::quarantine) some time later.
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

    /// Gives up those of these rows that are still suspects, and returns them. No result of them is expected any more.
    pub fn quarantine(&mut self, rows: impl IntoIterator<Item = RowId>) -> Vec<RowId> {
        let given_up: Vec<RowId> = rows.into_iter().filter(|row| self.is_suspect(*row)).collect();
        self.quarantined.extend(&given_up);
        given_up
    }

    /// A session is over that has reported everything it ran: what it still had was not run. Returns how many rows that were.
    pub fn handed_back(&mut self, workers: Range<usize>, epoch: Epoch) -> usize {
        let mut count = 0;
        for worker in &mut self.workers[workers] {
            if worker.holder == Some(epoch) {
                worker.holder = None;
                for task in std::mem::take(&mut worker.in_flight).into_iter().rev() {
                    // A late result may have settled it meanwhile.
                    if !self.ledger.is_settled(task.row) {
                        worker.waiting.put_back(task);
                        count += 1;
                    }
                }
            }
        }
        count
    }

    /// Takes away all rows that wait for a worker which nobody runs any more, divided by what `owner` says of each record; to be
    /// [given](Self::give) to others.
    pub fn retire(&mut self, worker: usize, owner: impl FnMut(RowId) -> usize) -> BTreeMap<usize, Queue> {
        let worker = &mut self.workers[worker];
        // Rows that are held move, too, and are held by their new worker.
        let held = std::mem::take(&mut worker.held);
        held.into_iter().rev().for_each(|task| worker.waiting.put_back(task));
        std::mem::take(&mut worker.waiting).divide(&self.passes, owner)
    }

    /// Adds rows behind those of a worker.
    pub fn give(&mut self, worker: usize, rows: Queue) {
        self.workers[worker].waiting.append(rows);
    }

    /// Notes what is known from before this coordinator began: the session of `epoch` was lost with these rows. To be called in the
    /// order in which the rows were given, which is not always that of the epochs.
    pub fn remember_loss(&mut self, rows: impl IntoIterator<Item = RowId>, epoch: Epoch) {
        rows.into_iter().for_each(|row| note_loss(&mut self.losses, row, epoch));
    }

    /// Everything that the run leaves behind.
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }

    fn count(&mut self, row: RowId, ran_under: Epoch, settled: Settled) -> Receipt {
        match self.ledger.settle(row, settled) {
            Settlement::Counted => {
                self.quarantined.remove(&row);
                // In the order of the losses, not of the epochs: a row that moved may be run by a session older than the lost one.
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

/// The number of agent processes that died with this row. Each process counts once. If a process that lost a session joins again, it lives,
/// and all of its earlier sessions are discounted.
fn deaths(losses: &HashMap<RowId, Vec<Epoch>>, discounted: &BTreeSet<Epoch>, row: RowId) -> usize {
    losses.get(&row).map_or(0, |lost| lost.iter().filter(|epoch| !discounted.contains(epoch)).count())
}

#[cfg(test)]
mod tests;
