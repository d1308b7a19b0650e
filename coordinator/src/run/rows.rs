//! The state of every row of the run, shared by all sessions and the controller: one lock around [`Dispatch`], taken once per batch.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_core::dispatch::{Dispatch, Receipt};
use muster_core::ids::{Epoch, RowId};
use muster_core::ledger::{Ledger, Settled};
use muster_core::outbox::Results;
use muster_core::passes::Passes;
use muster_core::queue::Task;
use muster_core::sample::{Answer, Outcome, Sample};
use tokio::sync::watch;

use super::results::{Dropped, Executed};
use super::seen_answers::SeenAnswer;
use crate::workload::Workload;

pub(crate) struct Rows {
    workload: Arc<Workload>,
    passes: Passes,
    /// Results of other rounds do not count.
    round: u32,
    state: Mutex<State>,
    /// Notifies sessions that a worker has been given rows: its first ones, or further ones.
    given: watch::Sender<()>,
}

struct State {
    dispatch: Dispatch,
    sessions: HashMap<Epoch, Session>,
    dropped: Dropped,
}

/// A session that runs rows, or has run them.
#[derive(Debug, Clone, Copy)]
struct Session {
    /// Position of its worker 0 in the placement's list.
    first: usize,
    workers: usize,
    /// Time from the start of the run to the start of the session, in nanoseconds.
    offset_ns: u64,
    /// For a session of an earlier coordinator: how long the run had run when it was resumed.
    ran_before_ns: Option<u64>,
}

/// The outcome of settling one message of results.
#[derive(Debug)]
pub(crate) struct SettledResults {
    pub(crate) counted: Vec<Executed>,
    /// Results of rows that already have one. They are only compared with the first one.
    pub(crate) duplicates: Vec<SeenAnswer>,
    /// A row that the session was never given, which is a protocol violation.
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

    /// The mapping from row ids to records of the workload.
    pub(crate) fn passes(&self) -> &Passes {
        &self.passes
    }

    /// Registers a session from before this coordinator resumed the run, `ran_before_ns` after its start. Its agent may still report
    /// results.
    pub(crate) fn restore_session(
        &self,
        workers: Range<usize>,
        epoch: Epoch,
        offset_ns: u64,
        ran_before_ns: u64,
    ) {
        let (first, workers) = (workers.start, workers.len());
        let session = Session { first, workers, offset_ns, ran_before_ns: Some(ran_before_ns) };
        self.lock().sessions.insert(epoch, session);
    }

    /// Lets the session of `epoch` run the rows of these workers, from `offset_ns` after the start of the run.
    pub(crate) fn begin(&self, workers: Range<usize>, epoch: Epoch, offset_ns: u64) {
        let mut state = self.lock();
        let (first, count) = (workers.start, workers.len());
        let session = Session { first, workers: count, offset_ns, ran_before_ns: None };
        state.sessions.insert(epoch, session);
        state.dispatch.begin(workers, epoch);
        drop(state);
        self.given.send_replace(());
    }

    /// Takes at most `count` rows to send to a worker. Returns none for a session that has lost its slot.
    pub(crate) fn take(&self, worker: usize, epoch: Epoch, count: usize) -> Vec<Task> {
        self.lock().dispatch.take(worker, epoch, count)
    }

    /// The number of further rows that may be sent to a worker without exceeding `in_flight_max`.
    pub(crate) fn send_capacity(&self, worker: usize, in_flight_max: usize) -> usize {
        self.lock().dispatch.send_capacity(worker, in_flight_max)
    }

    pub(crate) fn is_drained(&self, worker: usize) -> bool {
        self.lock().dispatch.is_drained(worker)
    }

    /// Drops the results of a session that the agent cannot prove to have held.
    pub(crate) fn drop_stale(&self, results: &Results) -> SettledResults {
        self.lock().dropped.stale += results.measurements.len() as u64;
        SettledResults { counted: Vec::new(), duplicates: Vec::new(), not_given: None }
    }

    /// Settles the results of the session of `epoch`, or results of an earlier session that it reports again. All counted results are
    /// returned, even if another one is invalid: they are settled now, and the run only ends after they are aggregated.
    pub(crate) fn settle(&self, epoch: Epoch, results: Results) -> SettledResults {
        let Results { number: _, ran_under, measurements } = results;
        let ran_under = ran_under.map_or(epoch, |grant| grant.epoch);
        let counted = Vec::with_capacity(measurements.len());
        let mut settled_results = SettledResults { counted, duplicates: Vec::new(), not_given: None };
        let mut state = self.lock();
        let State { dispatch, sessions, dropped } = &mut *state;
        let session = sessions.get(&ran_under).copied();
        // A journal that has lost its end lacks some sessions and some sent rows. Those rows run again.
        let may_be_unrecorded =
            ran_under != epoch && session.is_none_or(|session| session.ran_before_ns.is_some());
        for (worker, measurement) in measurements {
            if measurement.execution.round != self.round {
                dropped.stale += 1;
                continue;
            }
            let row = measurement.row;
            let session = session.filter(|session| usize::from(worker) < session.workers);
            let (Some(session), Some(host)) = (session, self.workload.host_of(self.passes.record_of(row)))
            else {
                match may_be_unrecorded {
                    true => dropped.stale += 1,
                    false => drop(settled_results.not_given.get_or_insert(row)),
                }
                continue;
            };
            let start_ns = session.offset_ns.saturating_add(measurement.start_ns);
            let end_ns = start_ns.saturating_add(measurement.service_time_ns);
            if session.ran_before_ns.is_some_and(|ran_before_ns| end_ns > ran_before_ns) {
                // The session's agent was not connected when the run was resumed. The worker's new rows would begin before this one ended,
                // so the row runs again.
                dropped.stale += 1;
                continue;
            }
            let worker = session.first + usize::from(worker);
            let settled = settled(&measurement);
            let receipt = match ran_under == epoch {
                true => dispatch.settle(worker, epoch, row, settled),
                false => dispatch.settle_stale(ran_under, row, settled),
            };
            match receipt {
                Receipt::Counted { attempt } => {
                    let measurement = Sample { start_ns, ..measurement };
                    settled_results.counted.push(Executed {
                        worker,
                        host,
                        epoch: ran_under,
                        attempt,
                        measurement,
                    });
                }
                Receipt::Duplicate => {
                    dropped.duplicates += 1;
                    if let Outcome::Completed(Answer { digest, .. }) = measurement.outcome {
                        settled_results.duplicates.push(SeenAnswer { row, host, epoch: ran_under, digest });
                    }
                }
                Receipt::Stale => dropped.stale += 1,
                Receipt::NotGiven if may_be_unrecorded => dropped.stale += 1,
                Receipt::NotGiven => drop(settled_results.not_given.get_or_insert(row)),
            }
        }
        settled_results
    }

    /// Ends a session of which it is not known which of its rows were run. Returns these rows.
    pub(crate) fn lost(&self, workers: Range<usize>, epoch: Epoch) -> Vec<RowId> {
        self.lock().dispatch.lost(workers, epoch)
    }

    /// Records that no agent process died with these lost sessions.
    pub(crate) fn discount(&self, sessions: impl IntoIterator<Item = Epoch>) {
        self.lock().dispatch.discount(sessions);
        self.given.send_replace(());
    }

    /// Rows that are withheld because agent processes seem to have died while running them.
    pub(crate) fn suspects(&self) -> Vec<RowId> {
        self.lock().dispatch.suspects()
    }

    /// Gives up the rows among these that are still suspects, and returns them.
    pub(crate) fn quarantine(&self, rows: Vec<RowId>) -> Vec<RowId> {
        self.lock().dispatch.quarantine(rows)
    }

    /// Ends a session that has reported everything that it ran. Returns the number of rows that it handed back.
    pub(crate) fn handed_back(&self, workers: Range<usize>, epoch: Epoch) -> usize {
        self.lock().dispatch.handed_back(workers, epoch)
    }

    /// Moves the waiting rows of these workers to the workers that `to` returns for each record. Returns the number of moved rows.
    pub(crate) fn reassign(&self, workers: Range<usize>, mut to: impl FnMut(RowId) -> usize) -> usize {
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

    /// Notifies the receiver when rows were given to a worker.
    pub(crate) fn given(&self) -> watch::Receiver<()> {
        self.given.subscribe()
    }

    /// The number of settled rows if no rows are left to run; otherwise `None`.
    pub(crate) fn finished(&self) -> Option<u64> {
        let state = self.lock();
        let ledger = state.dispatch.ledger();
        state.dispatch.is_finished().then(|| u64::from(ledger.completed()) + u64::from(ledger.failed()))
    }

    /// Closes the round because its time is over and every session has reported what it ran, or is lost. Returns false if it was closed
    /// before.
    pub(crate) fn close_time(&self) -> bool {
        self.lock().dispatch.close()
    }

    /// Closes the rows after a run whose passes the clock ends. In such a run, only rows that were sent to a session without a final report
    /// can be missing. `unreported` has these sessions with their workers.
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

    /// Returns the ledger and frees the rows.
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

fn settled(measurement: &Sample) -> Settled {
    match measurement.outcome {
        Outcome::Completed(_) => Settled::Completed,
        Outcome::Failed(_) => Settled::Failed,
    }
}

#[cfg(test)]
mod tests {
    use muster_core::ids::SlotId;
    use muster_core::queue::Queue;
    use muster_core::sample::Execution;
    use muster_core::slots::Grant;

    use super::*;
    use crate::workload::{self, Checks, OnBadRow, Options};

    #[test]
    fn a_result_that_ended_after_the_time_at_which_the_run_was_resumed_is_dropped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hostname\na\na\n").unwrap();
        let options = Options {
            host_column: "hostname".to_owned(),
            parameters: vec!["hostname".to_owned()],
            mix: None,
            checks: Checks::None,
            on_bad_row: OnBadRow::Fail,
            limit: None,
        };
        let workload = Arc::new(workload::open(file.path(), &options, &mut |_| ()).unwrap());
        let (ids, passes) = ([RowId::new(0), RowId::new(1)], Passes::once(2));
        let (lost, resumed) = (Epoch::new(1), Epoch::new(2));
        let queue = Queue::new(ids.to_vec(), passes, None);
        let mut dispatch = Dispatch::new(Ledger::new(2), passes, vec![queue]);
        dispatch.remember_loss(ids, lost);
        let rows = Rows::new(workload, passes, 1, dispatch);
        rows.restore_session(0..1, lost, 0, 1_000);
        rows.begin(0..1, resumed, 1_000);
        let measurement = |row, start_ns| Sample {
            start_ns,
            service_time_ns: 600,
            execution: Execution { round: 1, ..Execution::default() },
            ..Sample::zero(row)
        };
        let measurements = vec![(0, measurement(ids[0], 0)), (0, measurement(ids[1], 600))];
        let ran_under = Some(Grant { slot: SlotId::new(0), epoch: lost });
        let settled = rows.settle(resumed, Results { number: 1, ran_under, measurements });
        let counted: Vec<RowId> = settled.counted.iter().map(|executed| executed.measurement.row).collect();
        assert_eq!((counted, settled.not_given), (vec![ids[0]], None));
        assert_eq!(rows.dropped(), Dropped { duplicates: 0, stale: 1 });
    }
}
