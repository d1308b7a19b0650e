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
    /// Rows that nobody runs any more, since [`limits::LOSSES_MAX`] sessions were lost with them.
    quarantined: BTreeSet<RowId>,
}

#[derive(Debug, Default)]
struct Worker {
    /// The session that runs this worker's rows; `None` while nobody does.
    holder: Option<Epoch>,
    waiting: Queue,
    /// Sent and not settled, in the order in which the worker runs them.
    in_flight: VecDeque<Task>,
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

/// What a lost session left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// Rows that it had and that may have run.
    pub in_flight: Vec<RowId>,
    /// Those among them that are given to nobody again.
    pub quarantined: Vec<RowId>,
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
    /// A row that two lost sessions had is sent alone, so that a third loss condemns this row and not its neighbours.
    pub fn take(&mut self, worker: usize, epoch: Epoch, count: usize) -> Vec<Task> {
        let Self { ledger, passes, workers, losses, quarantined, is_closed } = self;
        let worker = &mut workers[worker];
        let mut taken = Vec::new();
        if worker.holder != Some(epoch) || *is_closed {
            return taken;
        }
        let is_suspect =
            |task: &Task| losses.get(&task.row).is_some_and(|lost| lost.len() + 1 >= limits::LOSSES_MAX);
        if worker.in_flight.front().is_some_and(is_suspect) {
            return taken;
        }
        while taken.len() < count
            && let Some(task) = worker.waiting.pop()
        {
            // A result of an earlier session may have come meanwhile.
            if ledger.is_settled(task.row) || quarantined.contains(&task.row) {
                continue;
            }
            let alone = is_suspect(&task);
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

    /// A session is over, and nobody knows which of the rows it had were run. They go back to the front of their queues.
    pub fn lost(&mut self, workers: Range<usize>, epoch: Epoch) -> Lost {
        let mut lost = Lost::default();
        for position in workers {
            let worker = &mut self.workers[position];
            if worker.holder != Some(epoch) {
                continue;
            }
            worker.holder = None;
            for task in std::mem::take(&mut worker.in_flight).into_iter().rev() {
                let row = task.row;
                if self.ledger.is_settled(row) {
                    continue;
                }
                lost.in_flight.push(row);
                if note_loss(&mut self.losses, row, epoch) >= limits::LOSSES_MAX {
                    self.quarantined.insert(row);
                    lost.quarantined.push(row);
                } else {
                    worker.waiting.put_back(task);
                }
            }
        }
        lost.in_flight.sort_unstable();
        lost.quarantined.sort_unstable();
        lost
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
        std::mem::take(&mut self.workers[worker].waiting).divide(&self.passes, owner)
    }

    /// Adds rows behind those of a worker.
    pub fn give(&mut self, worker: usize, rows: Queue) {
        self.workers[worker].waiting.append(rows);
    }

    /// Notes what is known from before this coordinator began: the session of `epoch` was lost with these rows. To be called in the
    /// order in which the rows were given, which is not always that of the epochs.
    pub fn remember_loss(&mut self, rows: impl IntoIterator<Item = RowId>, epoch: Epoch) {
        for row in rows {
            if note_loss(&mut self.losses, row, epoch) >= limits::LOSSES_MAX && !self.ledger.is_settled(row) {
                self.quarantined.insert(row);
            }
        }
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

/// How many sessions were lost with this row.
fn note_loss(losses: &mut HashMap<RowId, Vec<Epoch>>, row: RowId, epoch: Epoch) -> usize {
    let lost = losses.entry(row).or_default();
    if !lost.contains(&epoch) {
        lost.push(epoch);
    }
    lost.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Epoch = Epoch::new(1);
    const B: Epoch = Epoch::new(2);
    const C: Epoch = Epoch::new(3);

    fn row(number: u32) -> RowId {
        RowId::new(number)
    }

    fn rows(numbers: impl IntoIterator<Item = u32>) -> Vec<RowId> {
        numbers.into_iter().map(RowId::new).collect()
    }

    fn queue(records: impl IntoIterator<Item = u32>, passes: Passes) -> Queue {
        Queue::new(rows(records), passes, None)
    }

    /// One worker with rows 0 to `count − 1`, run by session A.
    fn one_worker(count: u32) -> Dispatch {
        let passes = Passes::once(count);
        let mut dispatch = Dispatch::new(Ledger::new(count), passes, vec![queue(0..count, passes)]);
        dispatch.begin(0..1, A);
        dispatch
    }

    fn take(dispatch: &mut Dispatch, worker: usize, epoch: Epoch, count: usize) -> Vec<RowId> {
        dispatch.take(worker, epoch, count).into_iter().map(|task| task.row).collect()
    }

    #[test]
    fn a_result_is_counted_once_and_only_from_the_session_that_has_the_row() {
        let mut dispatch = one_worker(3);
        assert_eq!(take(&mut dispatch, 0, A, 2), rows([0, 1]));
        assert_eq!(dispatch.settle(0, A, row(2), Settled::Completed), Receipt::NotGiven);
        assert_eq!(dispatch.settle(0, A, row(0), Settled::Completed), Receipt::Counted { attempt: 1 });
        assert_eq!(dispatch.settle(0, A, row(0), Settled::Failed), Receipt::Duplicate);
        assert_eq!(dispatch.settle(0, B, row(1), Settled::Completed), Receipt::Stale);
        assert_eq!(take(&mut dispatch, 0, B, 9), [], "another session does not run this worker");
        assert_eq!(dispatch.settle(7, A, row(1), Settled::Completed), Receipt::NotGiven);
    }

    #[test]
    fn lost_rows_come_first_in_their_order_and_are_told_as_retried() {
        let mut dispatch = one_worker(5);
        dispatch.take(0, A, 3);
        dispatch.settle(0, A, row(0), Settled::Completed);
        let lost = dispatch.lost(0..1, A);
        assert_eq!(lost, Lost { in_flight: rows([1, 2]), quarantined: Vec::new() });
        assert_eq!(dispatch.lost(0..1, A), Lost::default(), "a loss is handled once");
        assert_eq!(dispatch.settle(0, A, row(1), Settled::Completed), Receipt::Stale);
        dispatch.begin(0..1, B);
        assert_eq!(take(&mut dispatch, 0, B, 9), rows([1, 2, 3, 4]));
        assert_eq!(dispatch.settle(0, B, row(1), Settled::Completed), Receipt::Counted { attempt: 2 });
        assert_eq!(dispatch.settle(0, B, row(3), Settled::Completed), Receipt::Counted { attempt: 1 });
    }

    #[test]
    fn a_late_result_is_the_first_attempt_and_the_row_is_not_run_again() {
        let mut dispatch = one_worker(4);
        dispatch.take(0, A, 3);
        dispatch.lost(0..1, A);
        dispatch.begin(0..1, B);
        assert_eq!(take(&mut dispatch, 0, B, 1), rows([0]));
        assert_eq!(dispatch.settle_late(A, row(0), Settled::Completed), Receipt::Counted { attempt: 1 });
        assert_eq!(dispatch.settle_late(A, row(1), Settled::Failed), Receipt::Counted { attempt: 1 });
        assert_eq!(dispatch.settle_late(A, row(3), Settled::Completed), Receipt::NotGiven);
        assert_eq!(
            dispatch.settle(0, B, row(0), Settled::Completed),
            Receipt::Duplicate,
            "it ran again in vain"
        );
        assert_eq!(take(&mut dispatch, 0, B, 9), rows([2, 3]), "row 1 is settled");
    }

    #[test]
    fn rows_handed_back_were_not_run() {
        let mut dispatch = one_worker(3);
        dispatch.take(0, A, 2);
        assert_eq!(dispatch.handed_back(0..1, A), 2);
        dispatch.begin(0..1, B);
        assert_eq!(take(&mut dispatch, 0, B, 9), rows([0, 1, 2]));
        assert_eq!(dispatch.settle(0, B, row(0), Settled::Completed), Receipt::Counted { attempt: 1 });
    }

    #[test]
    fn what_a_late_result_settled_is_not_handed_back() {
        let mut dispatch = one_worker(2);
        dispatch.take(0, A, 2);
        dispatch.lost(0..1, A);
        dispatch.begin(0..1, B);
        dispatch.take(0, B, 2);
        dispatch.settle_late(A, row(0), Settled::Completed);
        assert_eq!(dispatch.handed_back(0..1, B), 1);
    }

    #[test]
    fn the_row_that_kills_is_quarantined_and_its_neighbours_are_run() {
        let mut dispatch = one_worker(3);
        for epoch in [A, B] {
            dispatch.begin(0..1, epoch);
            assert_eq!(take(&mut dispatch, 0, epoch, 9), rows([0, 1, 2]));
            assert_eq!(dispatch.lost(0..1, epoch).quarantined, []);
        }
        dispatch.begin(0..1, C);
        assert_eq!(take(&mut dispatch, 0, C, 9), rows([0]), "alone");
        assert_eq!(take(&mut dispatch, 0, C, 9), [], "and nothing behind it");
        assert_eq!(dispatch.lost(0..1, C).quarantined, rows([0]));
        let next = Epoch::new(4);
        dispatch.begin(0..1, next);
        for number in [1, 2] {
            assert_eq!(take(&mut dispatch, 0, next, 9), rows([number]));
            assert!(!dispatch.is_finished());
            dispatch.settle(0, next, row(number), Settled::Completed);
        }
        assert!(dispatch.is_finished());
        assert_eq!(dispatch.ledger().unaccounted(), 1);
        assert_eq!(dispatch.settle_late(B, row(0), Settled::Completed), Receipt::Counted { attempt: 2 });
        assert!(dispatch.is_finished() && dispatch.quarantined().is_empty());
    }

    #[test]
    fn a_retired_workers_rows_go_to_another() {
        let once = Passes::once(3);
        let waiting = vec![queue([0, 2], once), queue([1], once)];
        let mut dispatch = Dispatch::new(Ledger::new(3), once, waiting);
        dispatch.begin(0..1, A);
        dispatch.begin(1..2, B);
        dispatch.take(0, A, 1);
        dispatch.lost(0..1, A);
        for (worker, moved) in dispatch.retire(0, |_| 1) {
            dispatch.give(worker, moved);
        }
        assert!(dispatch.is_drained(0));
        assert_eq!(take(&mut dispatch, 1, B, 9), rows([0, 1, 2]), "what was in flight comes first");
    }

    #[test]
    fn what_a_killed_coordinator_had_sent_may_have_run() {
        let mut ledger = Ledger::new(3);
        ledger.settle(row(0), Settled::Completed);
        let once = Passes::once(3);
        let mut dispatch = Dispatch::new(ledger, once, vec![queue([0, 1, 2], once)]);
        dispatch.remember_loss(rows([0, 1]), A);
        dispatch.begin(0..1, B);
        assert_eq!(take(&mut dispatch, 0, B, 9), rows([1, 2]));
        assert_eq!(dispatch.settle(0, B, row(1), Settled::Completed), Receipt::Counted { attempt: 2 });
        assert_eq!(dispatch.settle(0, B, row(2), Settled::Completed), Receipt::Counted { attempt: 1 });
    }
    #[test]
    fn the_ledger_grows_with_the_passes_and_a_run_ends_when_its_time_is_over() {
        let passes = Passes::endless(2, 1, 0);
        let mut dispatch = Dispatch::new(Ledger::new(2), passes, vec![queue([0, 1], passes)]);
        dispatch.begin(0..1, A);
        assert_eq!(take(&mut dispatch, 0, A, 5), rows([0, 1, 2, 3, 4]));
        for number in [0, 1, 2] {
            dispatch.settle(0, A, row(number), Settled::Completed);
        }
        assert!(!dispatch.is_finished());
        dispatch.close();
        assert!(dispatch.is_finished() && take(&mut dispatch, 0, A, 5).is_empty());
        let ledger = dispatch.ledger();
        assert_eq!((ledger.expected(), ledger.unaccounted()), (3, 0), "3, 4 and 5 were not run");
    }

    #[test]
    fn what_a_lost_session_had_is_unaccounted_when_the_time_is_over() {
        let passes = Passes::endless(2, 1, 0);
        let mut dispatch = Dispatch::new(Ledger::new(2), passes, vec![queue([0, 1], passes)]);
        dispatch.begin(0..1, A);
        dispatch.take(0, A, 1);
        dispatch.lost(0..1, A);
        dispatch.close();
        assert_eq!(dispatch.ledger().unaccounted_ranges(), [[row(0), row(0)]]);
    }

    #[test]
    fn a_run_of_several_passes_ends_with_the_last() {
        let passes = Passes::try_new(1, 1, 2, 0).unwrap();
        let mut dispatch = Dispatch::new(Ledger::new(1), passes, vec![queue([0], passes)]);
        dispatch.begin(0..1, A);
        for number in [0, 1] {
            assert!(!dispatch.is_finished());
            assert_eq!(take(&mut dispatch, 0, A, 1), rows([number]));
            dispatch.settle(0, A, row(number), Settled::Completed);
        }
        assert!(dispatch.is_finished());
    }
}
