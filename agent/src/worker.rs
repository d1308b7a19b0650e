//! One worker: a thread with one connection to each database, which runs its rows one after the other. It knows of its connections only
//! what [`Execute`] says, and of time only what [`Waiter`] says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::measurement::{Execution, Lag, Measurement};
use muster_common::parameters::Values;
use muster_proto::control::{Arm, PrepareFailed, WorkerReport};
use muster_proto::work::{Assign, Order};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::health::Gauges;
use crate::inbox::{Inbox, Received};
use crate::permit::Permit;
use crate::postgres::{Executed, Prepared, Reconnect, no_database};
use crate::told::{Gone, Teller, Told};
use crate::waiter::Waiter;
use crate::workplace::Execute;

/// What all workers of a session wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Preparing,
    /// It stood by and has a slot now: its connections take the session's name.
    Placed {
        application_name: Arc<str>,
    },
    Running(Round),
    Draining,
}

/// A part of the run in which all workers start together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) starts_at: Instant,
    /// How long it had run then, elsewhere.
    offset: Duration,
    /// No row begins later.
    ends_at: Option<Instant>,
}

pub(crate) enum WorkerEvent {
    Prepared(u16, Prepared),
    PrepareFailed(PrepareFailed),
    /// Its connection has the name of the slot that it was given.
    Placed,
    /// A connection to the database with this number was opened again.
    Reconnected {
        round: u32,
        target: u16,
        reconnect: Reconnect,
    },
    Done(u16, WorkerReport),
    /// A worker broke.
    Lost,
}

/// A worker before its thread runs it.
pub struct Worker {
    pub(crate) index: u16,
    pub(crate) inbox: Inbox,
    pub(crate) told: Teller,
    pub(crate) events: mpsc::Sender<WorkerEvent>,
    /// Set when everything is to end. For waits in which the thread does not see its inbox.
    pub(crate) cancel: CancellationToken,
    pub(crate) permit: Arc<Permit>,
    /// Between the end of a query and the next one, in a closed loop.
    pub(crate) think_time: Duration,
    pub(crate) gauges: Arc<Gauges>,
}

/// What a worker works with once it is prepared.
struct WorkerState<E, W> {
    /// One of each database.
    executors: Vec<E>,
    waiter: W,
    /// When the query before this one ended.
    free_since: Option<Instant>,
    report: WorkerReport,
    /// A batch of a round that has not begun, or the rest of one.
    held: Option<Assign>,
}

/// Why a worker stopped running rows.
enum Stopped {
    /// Another phase has begun.
    Phase,
    /// It is over: the session, the lease or the rows.
    Over,
}

impl Round {
    pub(crate) fn new(arm: &Arm, starts_at: Instant) -> Self {
        let ends_at = arm.lasts.map(|lasts| starts_at + lasts);
        Self { number: arm.round, starts_at, offset: arm.offset, ends_at }
    }

    /// When a row is due; before this session began for one that another was to run.
    fn due_at(&self, due_ns: u64) -> Instant {
        let due = Duration::from_nanos(due_ns);
        self.starts_at + due.saturating_sub(self.offset)
    }

    /// The lag of a row that was due at `due_ns` and began at `start`. Its worker was free at `free`: the end of its previous query, or the
    /// start of the round. After a reconnect the worker had its connection at `connected`. Time that a row waited for an earlier session of
    /// the slot is queueing, too.
    fn lag(&self, due_ns: u64, free: Instant, connected: Option<Instant>, start: Instant) -> Lag {
        let connected = connected.map(|at| self.since_start(at));
        Lag::between(due_ns, self.since_start(free), connected, self.since_start(start))
    }

    /// Nanoseconds from the start of the round to a moment of this session. The round may have started before the session.
    fn since_start(&self, moment: Instant) -> u64 {
        nanoseconds(self.offset + moment.saturating_duration_since(self.starts_at))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|ends_at| now >= ends_at)
    }
}

impl Worker {
    /// Prepares, waits for the start, runs rows until the session drains. Blocks the calling thread, which is the worker's own.
    /// `open` connects to each database of the run; its token ends what it waits for.
    pub fn run<E: Execute>(
        mut self,
        waiter: impl Waiter,
        open: impl FnOnce(CancellationToken) -> Result<(Vec<E>, Prepared), PrepareFailed>,
    ) {
        self.inbox.attach(waiter.waker());
        let report = self.serve(waiter, open);
        self.report(WorkerEvent::Done(self.index, report));
    }

    /// The session may be gone already; then no one asks.
    fn report(&self, event: WorkerEvent) {
        let _ = self.events.blocking_send(event);
    }

    fn serve<E: Execute>(
        &mut self,
        waiter: impl Waiter,
        open: impl FnOnce(CancellationToken) -> Result<(Vec<E>, Prepared), PrepareFailed>,
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
        self.follow(&mut state);
        state.report.disconnected = state.executors.iter().filter_map(E::disconnected).max();
        state.executors.iter_mut().for_each(E::close);
        state.report
    }

    /// Does what each phase asks for, until the last one.
    fn follow<E: Execute>(&mut self, state: &mut WorkerState<E, impl Waiter>) {
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
                            self.gauges.begins(state.waiter.now());
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

    /// Runs what comes, until its time is over or another phase begins.
    fn run_round<E: Execute>(&mut self, state: &mut WorkerState<E, impl Waiter>, round: &Round) -> Stopped {
        let mut is_over = false;
        loop {
            if !is_over && round.is_over(state.waiter.now()) {
                is_over = true;
                if self.told.tell(Told::RoundOver(round.number)).is_err() {
                    return Stopped::Over;
                }
            }
            let batch = match state.held.take() {
                Some(batch) if batch.round > round.number => {
                    // Of the round to come.
                    state.held = Some(batch);
                    return self.until_next_phase(state, round, is_over);
                }
                Some(batch) => batch,
                None => {
                    let ends_at = round.ends_at.filter(|_| !is_over);
                    let is_idle = self.inbox.is_empty();
                    if is_idle {
                        self.told.is_idle();
                    }
                    let waited_since = self.gauges.wants_row(is_idle);
                    match self.inbox.receive(ends_at, &mut state.waiter) {
                        Received::Change => return Stopped::Phase,
                        Received::Due => {}
                        Received::Batch(batch) => state.held = Some(batch),
                        Received::Closed => return Stopped::Over,
                    }
                    // A worker that has run all rows of a round waits for nothing.
                    if state.held.as_ref().is_some_and(|batch| batch.round == round.number) {
                        self.gauges.got_row(self.index, waited_since);
                    }
                    continue;
                }
            };
            if is_over || batch.round < round.number {
                if self.told.tell(Told::LeftOut(batch.rows.len() as u64)).is_err() {
                    return Stopped::Over;
                }
            } else if let Some(stopped) = self.run_batch(state, round, &batch) {
                return stopped;
            }
        }
    }

    /// With a batch in hand that is not for this round. Reports the end of this one when it comes.
    fn until_next_phase<E: Execute>(
        &mut self,
        state: &mut WorkerState<E, impl Waiter>,
        round: &Round,
        is_over: bool,
    ) -> Stopped {
        let ends_at = round.ends_at.filter(|_| !is_over);
        match self.inbox.wait_until(ends_at, &mut state.waiter) {
            Received::Due if self.told.tell(Told::RoundOver(round.number)).is_err() => Stopped::Over,
            _ => Stopped::Phase,
        }
    }

    /// `None` when the batch is through, or its time is over.
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
                error!("row {} cannot be decoded: {decoded:?}", order.row);
                return Some(Stopped::Over);
            }
            let due = order.due_ns.map(|due_ns| round.due_at(due_ns)).or(state.think_until(self.think_time));
            if let Some(due) = due.map(|due| round.ends_at.map_or(due, |ends_at| due.min(ends_at)))
                && self.inbox.wait_until(Some(due), &mut state.waiter) == Received::Change
            {
                return Some(Stopped::Phase);
            }
            let executor = &mut state.executors[usize::from(order.target)];
            // It may have taken long where the database was away, so all that may have changed meanwhile is checked after it.
            if executor.connect().is_none() {
                return Some(Stopped::Over);
            }
            let now = state.waiter.now();
            if self.permit.has_lapsed(now) || self.has_to_end() {
                return Some(Stopped::Over);
            }
            if round.is_over(now) {
                let left = batch.rows.len() - position;
                return self.told.tell(Told::LeftOut(left as u64)).err().map(|Gone| Stopped::Over);
            }
            let mut executed = executor.execute(order.row, order.statement, &values);
            if let Some(reconnect) = executed.as_mut().and_then(|executed| executed.reconnect.take()) {
                let (round, target) = (round.number, order.target);
                self.report(WorkerEvent::Reconnected { round, target, reconnect: *reconnect });
            }
            // What ended after the lapse may have ended because of it: another session runs the row.
            let executed = executed.filter(|executed| !self.permit.has_lapsed(executed.end()));
            let Some(executed) = executed else { return Some(Stopped::Over) };
            let measurement = state.measurement(round, order, due, executed);
            if self.told.tell(Told::Measured(measurement)).is_err() {
                return Some(Stopped::Over);
            }
        }
        None
    }

    /// Whether no further row may begin. Any other phase is left for later: the batch in hand is finished first.
    fn has_to_end(&mut self) -> bool {
        self.inbox.has_changed() && (self.inbox.is_cancelled() || self.inbox.is_draining())
    }
}

impl<E: Execute, W> WorkerState<E, W> {
    /// Values of a row; `None` for a statement or a database that there is not.
    fn parameters(&self, order: &Order) -> Option<usize> {
        self.executors.get(usize::from(order.target))?.parameters(order.statement)
    }

    fn rename(&mut self, application_name: &str) -> Result<(), PrepareFailed> {
        for executor in &mut self.executors {
            executor.rename(application_name).map_err(|error| no_database(&error.message))?;
        }
        Ok(())
    }

    /// When a closed loop's next row is due; `None` for at once.
    fn think_until(&self, think_time: Duration) -> Option<Instant> {
        self.free_since.filter(|_| !think_time.is_zero()).map(|since| since + think_time)
    }

    /// `due` is when the row was to begin, as far as somebody said so.
    fn measurement(
        &mut self,
        round: &Round,
        order: &Order,
        due: Option<Instant>,
        executed: Executed,
    ) -> Measurement {
        let end = executed.end();
        let Executed { start, service_time, number, outcome, connected_at, reconnect: _ } = executed;
        let free = self.free_since.replace(end).unwrap_or(round.starts_at);
        let due_ns = order.due_ns.or(due.map(|due| round.since_start(due)));
        let lag = due_ns.map_or(Lag::default(), |due_ns| round.lag(due_ns, free, connected_at, start));
        Measurement {
            row: order.row,
            start_ns: nanoseconds(start.saturating_duration_since(round.starts_at)),
            lag,
            service_time_ns: nanoseconds(service_time),
            execution: Execution { round: round.number, statement: order.statement, number },
            outcome,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(offset: Duration, lasts: Option<Duration>) -> Round {
        let (countdown, starts_at) = (Duration::ZERO, Duration::ZERO);
        let arm = Arm { countdown, starts_at, round: 1, offset, lasts };
        Round::new(&arm, Instant::now())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lag_is_queueing_while_the_worker_is_busy_and_generator_delay_from_then_on() {
        let round = round(Duration::ZERO, None);
        let at = |seconds| round.starts_at + seconds * SECOND;
        assert_eq!(round.due_at(3_000_000_000), at(3));
        let lag = |free, start| {
            let Lag { queueing_ns, generator_delay_ns } = round.lag(3_000_000_000, at(free), None, at(start));
            (queueing_ns / 1_000_000_000, generator_delay_ns / 1_000_000_000)
        };
        assert_eq!(lag(0, 5), (0, 2));
        assert_eq!(lag(4, 5), (1, 1));
        assert_eq!(lag(0, 3), (0, 0));
    }

    #[test]
    fn time_spent_reconnecting_is_no_lag() {
        let round = round(Duration::ZERO, None);
        let at = |seconds| round.starts_at + seconds * SECOND;
        let Lag { queueing_ns, generator_delay_ns } = round.lag(3_000_000_000, at(1), Some(at(5)), at(5));
        assert_eq!((queueing_ns, generator_delay_ns), (0, 0));
        let Lag { queueing_ns, generator_delay_ns } = round.lag(3_000_000_000, at(4), Some(at(6)), at(7));
        assert_eq!((queueing_ns, generator_delay_ns), (1_000_000_000, 1_000_000_000));
    }

    #[test]
    fn a_row_that_was_due_before_its_session_began_waited_for_a_worker() {
        let round = round(10 * SECOND, None);
        assert_eq!(round.due_at(4_000_000_000), round.starts_at, "at once");
        let lag = round.lag(4_000_000_000, round.starts_at, None, round.starts_at + SECOND);
        assert_eq!(lag, Lag { queueing_ns: 6_000_000_000, generator_delay_ns: 1_000_000_000 });
        assert_eq!(round.due_at(12_000_000_000), round.starts_at + 2 * SECOND);
    }

    #[test]
    fn a_round_is_over_when_its_time_is() {
        let round = round(Duration::ZERO, Some(SECOND));
        assert!(!round.is_over(round.starts_at) && round.is_over(round.starts_at + SECOND));
        assert!(!Round { ends_at: None, ..round }.is_over(round.starts_at + 1_000 * SECOND));
    }
}
