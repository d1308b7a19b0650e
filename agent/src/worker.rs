//! One worker: one connection to each database, its rows one after the other. Runs on a current_thread runtime, apart from gRPC.
//! Knows of its connections only what [`Execute`] says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::measurement::{Execution, Measurement};
use muster_common::parameters::Values;
use muster_proto::control::{Arm, PrepareFailed, WorkerReport};
use muster_proto::work::{Assign, Order};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock;
use crate::health::Gauges;
use crate::pace::Pace;
use crate::permit::Permit;
use crate::postgres::{Executed, Prepared, no_database};
use crate::told::{Gone, Teller, Told};
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
    Done(u16, WorkerReport),
    /// A worker broke.
    Lost,
}

/// A worker's ends of the channels.
pub struct Worker {
    pub(crate) index: u16,
    pub(crate) rows: mpsc::Receiver<Assign>,
    pub(crate) told: Teller,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) events: mpsc::Sender<WorkerEvent>,
    pub(crate) cancel: CancellationToken,
    pub(crate) permit: Arc<Permit>,
    /// Between the end of a query and the next one, in a closed loop.
    pub(crate) think_time: Duration,
    pub(crate) gauges: Arc<Gauges>,
}

/// What a worker works with once it is prepared.
struct Desk<E> {
    /// One of each database.
    executors: Vec<E>,
    pace: Pace,
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

    /// From when a row was due to `start`.
    fn lag(&self, due_ns: u64, start: Instant) -> Duration {
        let into_round = self.offset + start.saturating_duration_since(self.starts_at);
        into_round.saturating_sub(Duration::from_nanos(due_ns))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|ends_at| now >= ends_at)
    }
}

impl Worker {
    /// Prepares, waits for the start, runs rows until the session drains.
    /// `open` connects to each database of the run; its token ends what it waits for.
    pub async fn run<E, Opening>(mut self, open: impl FnOnce(CancellationToken) -> Opening + Send)
    where
        E: Execute,
        Opening: Future<Output = Result<(Vec<E>, Prepared), PrepareFailed>> + Send,
    {
        let opening = open(self.cancel.clone());
        let report = self.serve(opening).await;
        // The session may be gone already; then nobody asks.
        let _ = self.events.send(WorkerEvent::Done(self.index, report)).await;
    }

    async fn serve<E: Execute>(
        &mut self,
        opening: impl Future<Output = Result<(Vec<E>, Prepared), PrepareFailed>>,
    ) -> WorkerReport {
        let opened = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return WorkerReport::default(),
            opened = opening => opened,
        };
        let executors = match opened {
            Ok((executors, prepared)) => {
                let _ = self.events.send(WorkerEvent::Prepared(self.index, prepared)).await;
                executors
            }
            Err(failed) => {
                let _ = self.events.send(WorkerEvent::PrepareFailed(failed)).await;
                return WorkerReport::default();
            }
        };
        let mut desk = Desk {
            executors,
            pace: if E::IS_REAL_TIME { Pace::by_the_clock() } else { Pace::by_timers() },
            free_since: None,
            report: WorkerReport::default(),
            held: None,
        };
        self.follow(&mut desk).await;
        desk.report.reconnects = desk.executors.iter().map(E::reconnects).sum();
        desk.report
    }

    /// Does what each phase asks for, until the last one.
    async fn follow<E: Execute>(&mut self, desk: &mut Desk<E>) {
        loop {
            let phase = self.phase.borrow_and_update().clone();
            let stopped = match phase {
                Phase::Preparing => Stopped::Phase,
                Phase::Placed { application_name } => {
                    let event = match desk.rename(&application_name).await {
                        Ok(()) => WorkerEvent::Placed,
                        Err(failed) => WorkerEvent::PrepareFailed(failed),
                    };
                    let _ = self.events.send(event).await;
                    Stopped::Phase
                }
                Phase::Running(round) => {
                    tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => return,
                        () = desk.pace.wait_until(round.starts_at) => self.gauges.begins(clock::now()),
                    }
                    desk.free_since = None;
                    self.run_round(desk, &round).await
                }
                Phase::Draining => Stopped::Over,
            };
            if matches!(stopped, Stopped::Over) {
                return;
            }
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                changed = self.phase.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Runs what comes, until its time is over or another phase begins.
    async fn run_round<E: Execute>(&mut self, desk: &mut Desk<E>, round: &Round) -> Stopped {
        let mut is_over = false;
        loop {
            if !is_over && round.is_over(clock::now()) {
                is_over = true;
                if self.told.tell(Told::RoundOver(round.number)).is_err() {
                    return Stopped::Over;
                }
            }
            let batch = match desk.held.take() {
                Some(batch) if batch.round > round.number => {
                    // Of the round to come.
                    desk.held = Some(batch);
                    return self.until_next_phase(round, is_over).await;
                }
                Some(batch) => batch,
                None => {
                    let ends_at = round.ends_at.filter(|_| !is_over);
                    let is_idle = self.rows.is_empty();
                    if is_idle {
                        self.told.is_idle();
                    }
                    let waited_since = self.gauges.wants_row(is_idle);
                    tokio::select! {
                        biased;
                        () = self.cancel.cancelled() => return Stopped::Over,
                        () = changed(&self.phase) => return Stopped::Phase,
                        () = at(ends_at) => {}
                        batch = self.rows.recv() => match batch {
                            Some(batch) => desk.held = Some(batch),
                            None => return Stopped::Over,
                        },
                    }
                    // Who has run all rows of a round waits for nothing.
                    if desk.held.as_ref().is_some_and(|batch| batch.round == round.number) {
                        self.gauges.got_row(self.index, waited_since);
                    }
                    continue;
                }
            };
            if is_over || batch.round < round.number {
                if self.told.tell(Told::LeftOut(batch.rows.len() as u64)).is_err() {
                    return Stopped::Over;
                }
            } else if let Some(stopped) = self.run_batch(desk, round, &batch).await {
                return stopped;
            }
        }
    }

    /// With a batch in hand that is not for this round. The end of this one is told meanwhile.
    async fn until_next_phase(&mut self, round: &Round, is_over: bool) -> Stopped {
        let ends_at = round.ends_at.filter(|_| !is_over);
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Stopped::Over,
            () = changed(&self.phase) => Stopped::Phase,
            () = at(ends_at) => match self.told.tell(Told::RoundOver(round.number)) {
                Ok(()) => Stopped::Phase,
                Err(Gone) => Stopped::Over,
            },
        }
    }

    /// `None` when the batch is through, or its time is over.
    async fn run_batch<E: Execute>(
        &mut self,
        desk: &mut Desk<E>,
        round: &Round,
        batch: &Assign,
    ) -> Option<Stopped> {
        let mut packed = Values::new(&batch.parameters);
        let mut values = Vec::new();
        for (position, order) in batch.rows.iter().enumerate() {
            let parameters = desk.parameters(order);
            let decoded = parameters.map(|parameters| packed.next_row(parameters, &mut values));
            if !matches!(decoded, Some(Ok(()))) {
                error!("row {} cannot be decoded: {decoded:?}", order.row);
                return Some(Stopped::Over);
            }
            let due = order.due_ns.map(|due_ns| round.due_at(due_ns)).or(desk.think_until(self.think_time));
            if let Some(due) = due.map(|due| round.ends_at.map_or(due, |ends_at| due.min(ends_at))) {
                tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Some(Stopped::Over),
                    () = changed(&self.phase) => return Some(Stopped::Phase),
                    () = desk.pace.wait_until(due) => {}
                }
            }
            let now = clock::now();
            if self.cancel.is_cancelled() || self.permit.has_lapsed(now) || self.has_to_drain() {
                return Some(Stopped::Over);
            }
            if round.is_over(now) {
                let left = batch.rows.len() - position;
                return self.told.tell(Told::LeftOut(left as u64)).err().map(|Gone| Stopped::Over);
            }
            let executed =
                desk.executors[usize::from(order.target)].execute(order.row, order.statement, &values).await;
            // What ended after the lapse may have ended because of it: somebody else runs the row.
            let executed = executed.filter(|executed| !self.permit.has_lapsed(executed.end()));
            let Some(executed) = executed else { return Some(Stopped::Over) };
            let measurement = desk.measurement(round, order, due, executed);
            if self.told.tell(Told::Measured(measurement)).is_err() {
                return Some(Stopped::Over);
            }
        }
        None
    }

    fn has_to_drain(&self) -> bool {
        *self.phase.borrow() == Phase::Draining
    }
}

impl<E: Execute> Desk<E> {
    /// Values of a row; `None` for a statement or a database that there is not.
    fn parameters(&self, order: &Order) -> Option<usize> {
        self.executors.get(usize::from(order.target))?.parameters(order.statement)
    }

    async fn rename(&mut self, application_name: &str) -> Result<(), PrepareFailed> {
        for executor in &mut self.executors {
            executor.rename(application_name).await.map_err(|error| no_database(&error.message))?;
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
        let Executed { start, service_time, number, outcome } = executed;
        self.free_since = Some(end);
        self.report.executed += 1;
        self.report.ran_for = end.saturating_duration_since(round.starts_at);
        let lag = match (order.due_ns, due) {
            (Some(due_ns), _) => round.lag(due_ns, start),
            (None, Some(due)) => start.saturating_duration_since(due),
            (None, None) => Duration::ZERO,
        };
        Measurement {
            row: order.row,
            start_ns: nanoseconds(start.saturating_duration_since(round.starts_at)),
            lag_ns: nanoseconds(lag),
            service_time_ns: nanoseconds(service_time),
            execution: Execution { round: round.number, statement: order.statement, number },
            outcome,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns when another phase has begun, which stays to be seen.
async fn changed(phase: &watch::Receiver<Phase>) {
    let mut phase = phase.clone();
    // An error means that the session is gone: then its rows are nobody's.
    let _ = phase.changed().await;
}

/// Pending for ever without a moment.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
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
    fn lag_is_counted_from_the_due_time() {
        let round = round(Duration::ZERO, None);
        let start = round.starts_at + 5 * SECOND;
        assert_eq!(round.due_at(3_000_000_000), round.starts_at + 3 * SECOND);
        assert_eq!(round.lag(3_000_000_000, start), 2 * SECOND);
        assert_eq!(round.lag(6_000_000_000, start), Duration::ZERO);
    }

    #[test]
    fn a_row_that_was_due_before_its_successor_began_has_waited_all_the_time() {
        let round = round(10 * SECOND, None);
        assert_eq!(round.due_at(4_000_000_000), round.starts_at, "at once");
        assert_eq!(round.lag(4_000_000_000, round.starts_at + SECOND), 7 * SECOND);
        assert_eq!(round.due_at(12_000_000_000), round.starts_at + 2 * SECOND);
    }

    #[test]
    fn a_round_is_over_when_its_time_is() {
        let round = round(Duration::ZERO, Some(SECOND));
        assert!(!round.is_over(round.starts_at) && round.is_over(round.starts_at + SECOND));
        assert!(!Round { ends_at: None, ..round }.is_over(round.starts_at + 1_000 * SECOND));
    }
}
