//! One worker: a thread with one connection to each database, which runs its rows one after the other. It uses its connections only
//! through [`Execute`], and the clock only through [`Waiter`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::parameters::Values;
use muster_core::prepare::PrepareFailed;
use muster_core::sample::{Execution, Lag, Sample};
use muster_postgres::{Execute, Executed, Prepared, Reconnect, no_database};
use muster_proto::control::WorkerReport;
use muster_proto::work::{Assign, Order};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock::nanoseconds;
use crate::health::Gauges;
use crate::inbox::{Inbox, Received};
use crate::permit::Permit;
use crate::phase::{Phase, Round};
use crate::waiter::Waiter;
use crate::worker_results::{SessionGone, WorkerResult, WorkerResultSender};

pub(crate) enum WorkerEvent {
    Prepared(u16, Prepared),
    PrepareFailed(PrepareFailed),
    /// The worker's connections have taken the name of the session and its slot.
    Placed,
    /// The worker reconnected to database `target` during `round`.
    Reconnected {
        round: u32,
        target: u16,
        reconnect: Reconnect,
    },
    Done(u16, WorkerReport),
    /// A worker thread panicked.
    Lost,
}

/// The connections of a worker, one to each database of the run.
pub(crate) type Opened<E> = Result<(Vec<E>, Prepared), PrepareFailed>;

/// A worker and its channels, before a thread runs it.
pub struct Worker {
    pub(crate) index: u16,
    pub(crate) inbox: Inbox,
    pub(crate) results: WorkerResultSender,
    pub(crate) events: mpsc::Sender<WorkerEvent>,
    /// Cancelled when the session ends. For waits during which the thread does not read its inbox.
    pub(crate) cancel: CancellationToken,
    pub(crate) permit: Arc<Permit>,
    /// The pause between the end of a query and the start of the next one, in a closed loop.
    pub(crate) think_time: Duration,
    pub(crate) gauges: Arc<Gauges>,
}

/// The state of a worker that is prepared.
struct WorkerState<E, W> {
    /// One for each database.
    executors: Vec<E>,
    waiter: W,
    /// When the previous query of this round ended.
    free_since: Option<Instant>,
    report: WorkerReport,
    /// The next batch: of the current round, or of one that has not begun.
    held: Option<Assign>,
}

/// Why a worker stopped running rows.
enum Stopped {
    /// Another phase has begun.
    Phase,
    /// The session or its lease has ended, or no more rows will come.
    Over,
}

impl Worker {
    /// Prepares, waits for the start, and runs rows until the session drains. Blocks the calling thread, which is the worker's own.
    /// `open` connects to each database of the run. Its token cancels its waits.
    pub fn run<E: Execute>(mut self, waiter: impl Waiter, open: impl FnOnce(CancellationToken) -> Opened<E>) {
        self.inbox.attach(waiter.waker());
        let report = self.serve(waiter, open);
        self.report(WorkerEvent::Done(self.index, report));
    }

    /// Sends an event. The session may have ended, in which case the event is dropped.
    fn report(&self, event: WorkerEvent) {
        let _ = self.events.blocking_send(event);
    }

    fn serve<E: Execute>(
        &mut self,
        waiter: impl Waiter,
        open: impl FnOnce(CancellationToken) -> Opened<E>,
    ) -> WorkerReport {
        let opened = open(self.cancel.clone());
        if self.inbox.is_cancelled() {
            return WorkerReport::default();
        }
        let executors = match opened {
            Ok((executors, prepared)) => {
                self.report(WorkerEvent::Prepared(self.index, prepared));
                executors
            }
            Err(failed) => {
                self.report(WorkerEvent::PrepareFailed(failed));
                return WorkerReport::default();
            }
        };
        let report = WorkerReport::default();
        let mut state = WorkerState { executors, waiter, free_since: None, report, held: None };
        self.run_phases(&mut state);
        state.report.disconnected = state.executors.iter().filter_map(E::disconnected).max();
        state.executors.iter_mut().for_each(E::close);
        state.report
    }

    /// Runs each phase, until the session drains or ends.
    fn run_phases<E: Execute>(&mut self, state: &mut WorkerState<E, impl Waiter>) {
        loop {
            let phase = self.inbox.phase();
            if self.inbox.is_cancelled() {
                return;
            }
            let stopped = match phase {
                Phase::Preparing => Stopped::Phase,
                Phase::Placed { application_name } => {
                    self.report(match state.rename(&application_name) {
                        Ok(()) => WorkerEvent::Placed,
                        Err(failed) => WorkerEvent::PrepareFailed(failed),
                    });
                    Stopped::Phase
                }
                Phase::Running(round) => {
                    match self.inbox.wait_until(Some(round.starts_at), &mut state.waiter) {
                        Received::Due => {
                            self.gauges.record_start(state.waiter.now());
                            state.free_since = None;
                            self.run_round(state, &round)
                        }
                        _ => Stopped::Phase,
                    }
                }
                Phase::Draining => Stopped::Over,
            };
            if matches!(stopped, Stopped::Over) {
                return;
            }
            self.inbox.wait_until(None, &mut state.waiter);
        }
    }

    /// Runs the rows of a round until another phase begins. Rows that come after the round's time are left out.
    fn run_round<E: Execute>(&mut self, state: &mut WorkerState<E, impl Waiter>, round: &Round) -> Stopped {
        let mut is_over = false;
        loop {
            if !is_over && round.is_over(state.waiter.now()) {
                is_over = true;
                if self.results.send(WorkerResult::RoundOver(round.number)).is_err() {
                    return Stopped::Over;
                }
            }
            let batch = match state.held.take() {
                Some(batch) if batch.round > round.number => {
                    // The batch belongs to a later round.
                    state.held = Some(batch);
                    return self.wait_for_next_phase(state, round, is_over);
                }
                Some(batch) => batch,
                None => {
                    let ends_at = round.ends_at.filter(|_| !is_over);
                    let is_idle = self.inbox.is_empty();
                    if is_idle {
                        self.results.flush_when_idle();
                    }
                    let waited_since = self.gauges.starts_waiting(is_idle);
                    match self.inbox.receive(ends_at, &mut state.waiter) {
                        Received::Change => return Stopped::Phase,
                        Received::Due => {}
                        Received::Batch(batch) => state.held = Some(batch),
                        Received::Closed => return Stopped::Over,
                    }
                    // A worker that has run all of its rows of a round is not starved.
                    if state.held.as_ref().is_some_and(|batch| batch.round == round.number) {
                        self.gauges.record_wait(self.index, waited_since);
                    }
                    continue;
                }
            };
            if is_over || batch.round < round.number {
                if self.results.send(WorkerResult::LeftOut(batch.rows.len() as u64)).is_err() {
                    return Stopped::Over;
                }
            } else if let Some(stopped) = self.run_batch(state, round, &batch) {
                return stopped;
            }
        }
    }

    /// Waits for the next phase while the worker holds a batch of a later round. Reports the end of this round when its time is over.
    fn wait_for_next_phase<E: Execute>(
        &mut self,
        state: &mut WorkerState<E, impl Waiter>,
        round: &Round,
        is_over: bool,
    ) -> Stopped {
        let ends_at = round.ends_at.filter(|_| !is_over);
        match self.inbox.wait_until(ends_at, &mut state.waiter) {
            Received::Due if self.results.send(WorkerResult::RoundOver(round.number)).is_err() => {
                Stopped::Over
            }
            _ => Stopped::Phase,
        }
    }

    /// Runs the rows of a batch. Returns `None` when all rows have been run, or the round's time is over.
    fn run_batch<E: Execute>(
        &mut self,
        state: &mut WorkerState<E, impl Waiter>,
        round: &Round,
        batch: &Assign,
    ) -> Option<Stopped> {
        let mut packed = Values::new(&batch.parameters);
        let mut values = Vec::new();
        for (position, order) in batch.rows.iter().enumerate() {
            let parameters = state.parameters(order);
            let decoded = parameters.map(|parameters| packed.next_row(parameters, &mut values));
            if !matches!(decoded, Some(Ok(()))) {
                error!("cannot decode row {}: {decoded:?}", order.row);
                return Some(Stopped::Over);
            }
            let due = order.due_ns.map(|due_ns| round.due_at(due_ns)).or(state.think_until(self.think_time));
            if let Some(due) = due.map(|due| round.ends_at.map_or(due, |ends_at| due.min(ends_at)))
                && self.inbox.wait_until(Some(due), &mut state.waiter) == Received::Change
            {
                return Some(Stopped::Phase);
            }
            let executor = &mut state.executors[usize::from(order.target)];
            // Reconnecting may take long, so everything that can change in the meantime is checked afterwards.
            if executor.connect().is_none() {
                return Some(Stopped::Over);
            }
            let now = state.waiter.now();
            if self.permit.has_lapsed(now) || self.must_stop() {
                return Some(Stopped::Over);
            }
            if round.is_over(now) {
                let left = batch.rows.len() - position;
                return self
                    .results
                    .send(WorkerResult::LeftOut(left as u64))
                    .err()
                    .map(|SessionGone| Stopped::Over);
            }
            let mut executed = executor.execute(order.row, order.statement, &values);
            if let Some(reconnect) = executed.as_mut().and_then(|executed| executed.reconnect.take()) {
                let (round, target) = (round.number, order.target);
                self.report(WorkerEvent::Reconnected { round, target, reconnect: *reconnect });
            }
            // A query that ended after the lease expired may have been cancelled because of that. Another session runs the row.
            let executed = executed.filter(|executed| !self.permit.has_lapsed(executed.end()));
            let Some(executed) = executed else { return Some(Stopped::Over) };
            let measurement = state.measurement(round, order, due, executed);
            if self.results.send(WorkerResult::Measured(measurement)).is_err() {
                return Some(Stopped::Over);
            }
        }
        None
    }

    /// Returns true if no further row may begin. For any other phase change, the current batch is finished first.
    fn must_stop(&mut self) -> bool {
        self.inbox.has_changed() && (self.inbox.is_cancelled() || self.inbox.is_draining())
    }
}

impl<E: Execute, W> WorkerState<E, W> {
    /// Returns the number of values of a row, or `None` if its statement or database does not exist.
    fn parameters(&self, order: &Order) -> Option<usize> {
        self.executors.get(usize::from(order.target))?.parameters(order.statement)
    }

    fn rename(&mut self, application_name: &str) -> Result<(), PrepareFailed> {
        for executor in &mut self.executors {
            executor.rename(application_name).map_err(|error| no_database(&error.message))?;
        }
        Ok(())
    }

    /// Returns when the next row of a closed loop is due, or `None` if it is due at once.
    fn think_until(&self, think_time: Duration) -> Option<Instant> {
        self.free_since.filter(|_| !think_time.is_zero()).map(|since| since + think_time)
    }

    /// Returns the measurement of an executed row. `due` is when the row should have begun; `None` if it was due at once.
    fn measurement(
        &mut self,
        round: &Round,
        order: &Order,
        due: Option<Instant>,
        executed: Executed,
    ) -> Sample {
        let end = executed.end();
        let Executed { start, service_time, number, outcome, connected_at, reconnect: _ } = executed;
        let free = self.free_since.replace(end).unwrap_or(round.starts_at);
        let due_ns = order.due_ns.or(due.map(|due| round.since_start(due)));
        let lag = due_ns.map_or(Lag::default(), |due_ns| round.lag(due_ns, free, connected_at, start));
        Sample {
            row: order.row,
            start_ns: nanoseconds(start.saturating_duration_since(round.starts_at)),
            lag,
            service_time_ns: nanoseconds(service_time),
            execution: Execution { round: round.number, statement: order.statement, number },
            outcome,
        }
    }
}
