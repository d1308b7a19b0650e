//! Where every row of the run is, for all sessions and the conductor: one lock around [`Dispatch`], taken once a batch.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_common::dispatch::{Dispatch, Lost, Receipt};
use muster_common::ids::{Epoch, RowId};
use muster_common::ledger::{Ledger, Settled};
use muster_common::measurement::{Measurement, Outcome};
use muster_common::outbox::Results;
use muster_common::passes::Passes;
use muster_common::queue::Task;
use tokio::sync::watch;

use super::keeper::Executed;
use crate::workload::Workload;

pub(crate) struct Rows {
    workload: Arc<Workload>,
    passes: Passes,
    /// Results of other rounds do not count.
    round: u32,
    state: Mutex<State>,
    /// Changes when a worker was given rows: its first ones, or others beside those that it had.
    given: watch::Sender<()>,
}

struct State {
    dispatch: Dispatch,
    sessions: HashMap<Epoch, Begun>,
    dropped: Dropped,
}

/// A session that runs rows, or did.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Position of its worker 0 in the placement's list.
    first: usize,
    workers: usize,
    /// From the start of the run to its own, in nanoseconds.
    offset_ns: u64,
    /// An earlier coordinator had it.
    is_of_before: bool,
}

/// Results that were not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dropped {
    /// The row had a result already.
    pub(crate) duplicates: u64,
    /// The session had lost its slot, or nobody knows of it any more.
    pub(crate) stale: u64,
}

/// What became of one message of results.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) counted: Vec<Executed>,
    /// A row that the session was never given: it breaks the protocol.
    pub(crate) not_given: Option<RowId>,
}

impl Rows {
    pub(crate) fn new(workload: Arc<Workload>, passes: Passes, round: u32, dispatch: Dispatch) -> Self {
        let state = State { dispatch, sessions: HashMap::new(), dropped: Dropped::default() };
        Self { workload, passes, round, state: Mutex::new(state), given: watch::channel(()).0 }
    }

    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// How the ids of these rows lead to records of the workload.
    pub(crate) fn passes(&self) -> &Passes {
        &self.passes
    }

    /// A session of before this coordinator took the run up: its agent may still tell what it ran.
    pub(crate) fn remember(&self, workers: Range<usize>, epoch: Epoch, offset_ns: u64) {
        let (first, workers) = (workers.start, workers.len());
        let begun = Begun { first, workers, offset_ns, is_of_before: true };
        self.lock().sessions.insert(epoch, begun);
    }

    /// From now on the session of `epoch` runs these workers; `offset_ns` after the run began.
    pub(crate) fn begin(&self, workers: Range<usize>, epoch: Epoch, offset_ns: u64) {
        let mut state = self.lock();
        let (first, count) = (workers.start, workers.len());
        let begun = Begun { first, workers: count, offset_ns, is_of_before: false };
        state.sessions.insert(epoch, begun);
        state.dispatch.begin(workers, epoch);
        drop(state);
        self.given.send_replace(());
    }

    /// At most `count` rows to be sent to a worker; none to a session that lost its slot.
    pub(crate) fn take(&self, worker: usize, epoch: Epoch, count: usize) -> Vec<Task> {
        self.lock().dispatch.take(worker, epoch, count)
    }

    pub(crate) fn room(&self, worker: usize, most: usize) -> usize {
        self.lock().dispatch.room(worker, most)
    }

    pub(crate) fn is_drained(&self, worker: usize) -> bool {
        self.lock().dispatch.is_drained(worker)
    }

    /// Takes the results of the session of `epoch`, or those that it tells again for an earlier one. All that count are returned, beside
    /// one that does not: they are settled here, and the run ends when they are added up.
    pub(crate) fn settle(&self, epoch: Epoch, results: Results) -> Taken {
        let Results { number: _, ran_under, measurements } = results;
        let ran_under = ran_under.map_or(epoch, |grant| grant.epoch);
        let mut taken = Taken { counted: Vec::with_capacity(measurements.len()), not_given: None };
        let mut state = self.lock();
        let State { dispatch, sessions, dropped } = &mut *state;
        let begun = sessions.get(&ran_under).copied();
        // A journal that lost its end does not know every session, nor all that was sent: those rows run again.
        let is_forgotten = ran_under != epoch && begun.is_none_or(|begun| begun.is_of_before);
        for (worker, measurement) in measurements {
            if measurement.execution.round != self.round {
                dropped.stale += 1;
                continue;
            }
            let row = measurement.row;
            let begun = begun.filter(|begun| usize::from(worker) < begun.workers);
            let (Some(begun), Some(host)) = (begun, self.workload.host_of(self.passes.record_of(row))) else {
                match is_forgotten {
                    true => dropped.stale += 1,
                    false => drop(taken.not_given.get_or_insert(row)),
                }
                continue;
            };
            let worker = begun.first + usize::from(worker);
            let settled = settled(&measurement);
            let receipt = match ran_under == epoch {
                true => dispatch.settle(worker, epoch, row, settled),
                false => dispatch.settle_late(ran_under, row, settled),
            };
            match receipt {
                Receipt::Counted { attempt } => {
                    let start_ns = begun.offset_ns.saturating_add(measurement.start_ns);
                    let measurement = Measurement { start_ns, ..measurement };
                    taken.counted.push(Executed { worker, host, epoch: ran_under, attempt, measurement });
                }
                Receipt::Duplicate => dropped.duplicates += 1,
                Receipt::Stale => dropped.stale += 1,
                Receipt::NotGiven if is_forgotten => dropped.stale += 1,
                Receipt::NotGiven => drop(taken.not_given.get_or_insert(row)),
            }
        }
        taken
    }

    /// A session is over, and nobody knows which of its rows were run.
    pub(crate) fn lost(&self, workers: Range<usize>, epoch: Epoch) -> Lost {
        self.lock().dispatch.lost(workers, epoch)
    }

    /// A session is over that has told everything it ran. Returns how many rows it gave back.
    pub(crate) fn handed_back(&self, workers: Range<usize>, epoch: Epoch) -> usize {
        self.lock().dispatch.handed_back(workers, epoch)
    }

    /// Moves what waits for these workers to those that `to` names for each record.
    pub(crate) fn move_on(&self, workers: Range<usize>, mut to: impl FnMut(RowId) -> usize) -> usize {
        let mut state = self.lock();
        let mut moved = 0;
        for worker in workers {
            for (worker, rows) in state.dispatch.retire(worker, &mut to) {
                moved += rows.len();
                state.dispatch.give(worker, rows);
            }
        }
        drop(state);
        self.given.send_replace(());
        moved
    }

    /// Changes when rows were given to somebody.
    pub(crate) fn given(&self) -> watch::Receiver<()> {
        self.given.subscribe()
    }

    /// Nothing is left to be run, and this many rows are settled.
    pub(crate) fn finished(&self) -> Option<u64> {
        let state = self.lock();
        let ledger = state.dispatch.ledger();
        state.dispatch.is_finished().then(|| u64::from(ledger.completed()) + u64::from(ledger.failed()))
    }

    /// The time of the run is over: every session has told what it ran, or is lost. False when it was so before.
    pub(crate) fn close_time(&self) -> bool {
        self.lock().dispatch.close()
    }

    pub(crate) fn quarantined(&self) -> Vec<RowId> {
        self.lock().dispatch.quarantined().iter().copied().collect()
    }

    /// What the run leaves behind; the rows themselves are freed.
    pub(crate) fn close(&self) -> Ledger {
        let empty = Dispatch::new(Ledger::new(0), Passes::once(0), Vec::new());
        std::mem::replace(&mut self.lock().dispatch, empty).into_ledger()
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settled(measurement: &Measurement) -> Settled {
    match measurement.outcome {
        Outcome::Completed(_) => Settled::Completed,
        Outcome::Failed(_) => Settled::Failed,
    }
}
