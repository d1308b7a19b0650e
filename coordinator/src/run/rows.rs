//! Where every row of the run is, for all sessions and the conductor: one lock around [`Dispatch`], taken once a batch.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_common::dispatch::{Dispatch, Receipt};
use muster_common::ids::{Epoch, RowId};
use muster_common::ledger::{Ledger, Settled};
use muster_common::measurement::{Answer, Measurement, Outcome};
use muster_common::outbox::Results;
use muster_common::passes::Passes;
use muster_common::queue::Task;
use tokio::sync::watch;

use super::keeper::Executed;
use super::seen_answers::SeenAnswer;
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
    /// For a session of an earlier coordinator: how much of the run is over by now.
    of_before_ns: Option<u64>,
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
    /// Results of rows that have one already. Only their comparison with the first one is of use.
    pub(crate) again: Vec<SeenAnswer>,
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

    /// Registers a session from before this coordinator resumed the run, `ran_before_ns` after its start. Its agent may still report
    /// results.
    pub(crate) fn remember(&self, workers: Range<usize>, epoch: Epoch, offset_ns: u64, ran_before_ns: u64) {
        let (first, workers) = (workers.start, workers.len());
        let begun = Begun { first, workers, offset_ns, of_before_ns: Some(ran_before_ns) };
        self.lock().sessions.insert(epoch, begun);
    }

    /// From now on the session of `epoch` runs these workers; `offset_ns` after the run began.
    pub(crate) fn begin(&self, workers: Range<usize>, epoch: Epoch, offset_ns: u64) {
        let mut state = self.lock();
        let (first, count) = (workers.start, workers.len());
        let begun = Begun { first, workers: count, offset_ns, of_before_ns: None };
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

    /// Results of a session that the agent cannot prove to have been its own.
    pub(crate) fn drop_stale(&self, results: &Results) -> Taken {
        self.lock().dropped.stale += results.measurements.len() as u64;
        Taken { counted: Vec::new(), again: Vec::new(), not_given: None }
    }

    /// Takes the results of the session of `epoch`, or those that it tells again for an earlier one. All that count are returned, beside
    /// one that does not: they are settled here, and the run ends when they are added up.
    pub(crate) fn settle(&self, epoch: Epoch, results: Results) -> Taken {
        let Results { number: _, ran_under, measurements } = results;
        let ran_under = ran_under.map_or(epoch, |grant| grant.epoch);
        let counted = Vec::with_capacity(measurements.len());
        let mut taken = Taken { counted, again: Vec::new(), not_given: None };
        let mut state = self.lock();
        let State { dispatch, sessions, dropped } = &mut *state;
        let begun = sessions.get(&ran_under).copied();
        // A journal that lost its end does not know every session, nor all that was sent: those rows run again.
        let is_forgotten = ran_under != epoch && begun.is_none_or(|begun| begun.of_before_ns.is_some());
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
            let start_ns = begun.offset_ns.saturating_add(measurement.start_ns);
            let end_ns = start_ns.saturating_add(measurement.service_time_ns);
            if begun.of_before_ns.is_some_and(|ran_before_ns| end_ns > ran_before_ns) {
                // The session's agent was not connected when the run was resumed. The worker's new rows would begin before this one ended,
                // so the row runs again.
                dropped.stale += 1;
                continue;
            }
            let worker = begun.first + usize::from(worker);
            let settled = settled(&measurement);
            let receipt = match ran_under == epoch {
                true => dispatch.settle(worker, epoch, row, settled),
                false => dispatch.settle_late(ran_under, row, settled),
            };
            match receipt {
                Receipt::Counted { attempt } => {
                    let measurement = Measurement { start_ns, ..measurement };
                    taken.counted.push(Executed { worker, host, epoch: ran_under, attempt, measurement });
                }
                Receipt::Duplicate => {
                    dropped.duplicates += 1;
                    if let Outcome::Completed(Answer { digest, .. }) = measurement.outcome {
                        taken.again.push(SeenAnswer { row, host, epoch: ran_under, digest });
                    }
                }
                Receipt::Stale => dropped.stale += 1,
                Receipt::NotGiven if is_forgotten => dropped.stale += 1,
                Receipt::NotGiven => drop(taken.not_given.get_or_insert(row)),
            }
        }
        taken
    }

    /// A session is over, and it is not known which of its rows were run. Returns them.
    pub(crate) fn lost(&self, workers: Range<usize>, epoch: Epoch) -> Vec<RowId> {
        self.lock().dispatch.lost(workers, epoch)
    }

    /// No agent process died with these lost sessions.
    pub(crate) fn discount(&self, sessions: impl IntoIterator<Item = Epoch>) {
        self.lock().dispatch.discount(sessions);
        self.given.send_replace(());
    }

    /// Rows that are held back, because agent processes seem to have died with them.
    pub(crate) fn suspects(&self) -> Vec<RowId> {
        self.lock().dispatch.suspects()
    }

    /// Gives up those of these rows that are still suspects, and returns them.
    pub(crate) fn quarantine(&self, rows: Vec<RowId>) -> Vec<RowId> {
        self.lock().dispatch.quarantine(rows)
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

    /// To be called after a run. Of passes that the clock ends, only rows can be missing that were sent to a session that never reported:
    /// `unreported`, with its workers.
    pub(crate) fn close_if_endless(&self, unreported: impl Iterator<Item = (Range<usize>, Epoch)>) {
        let dispatch = &mut self.lock().dispatch;
        if dispatch.is_endless() {
            for (workers, epoch) in unreported {
                dispatch.lost(workers, epoch);
            }
            dispatch.close();
        }
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
