//! The conductor: one task that owns the roster and takes the run through its phases.
//! gather → place → prefetch → arm → run → drain → farewell. Rows and results pass it by.

mod calls;
mod sentences;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::ids::WorkerId;
use muster_common::limits;
use muster_common::placement::{self, Assignment};
use muster_common::result::{self, Ending};
use muster_proto::control::{FromCoordinator, PrepareFailed, PrepareFailure};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::events::EventLog;
use super::keeper::{Keeper, KeeperHandle, Progress};
use super::link::{Call, Refusal, Share};
use super::plan::RunPlan;
use super::roster::{Member, Roster};
use crate::progress::{self, ProgressDisplay};

/// How often the display is renewed while rows run.
const DISPLAY_EVERY: Duration = Duration::from_millis(100);

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{joined} of {wanted} agents joined within {waited:?}{cure}")]
    NotJoined { joined: usize, wanted: usize, waited: Duration, cure: String },
    #[error("{slots} joined but did not get ready within {:?}", limits::PREPARE_TIMEOUT)]
    NotReady { slots: String },
    #[error("{slot} {}{}", refusal(.failed.kind), .failed.message)]
    Prepare { slot: String, failed: Box<PrepareFailed> },
    #[error("interrupted before the first query")]
    Interrupted,
}

fn refusal(kind: PrepareFailure) -> &'static str {
    match kind {
        PrepareFailure::Statement => "cannot run this query: ",
        PrepareFailure::Database => "has no usable database: ",
    }
}

/// What a run left behind, the books apart.
pub(crate) struct Record {
    pub(crate) ending: Ending,
    pub(crate) started: Instant,
    /// Wall clock, for people only.
    pub(crate) started_at: std::time::SystemTime,
    pub(crate) members: Vec<Member>,
    pub(crate) workers: Vec<WorkerId>,
    pub(crate) assignment: Assignment,
    pub(crate) start_skew: Option<Duration>,
    pub(crate) events: Vec<result::Event>,
}

pub(crate) struct Conclusion {
    pub(crate) record: Record,
    pub(crate) keeper: Keeper,
}

pub(crate) struct Conductor<'a> {
    plan: Arc<RunPlan>,
    address: SocketAddr,
    calls: mpsc::Receiver<Call>,
    display: &'a ProgressDisplay,
    interrupt: CancellationToken,
    roster: Roster,
    events: EventLog,
    phase: Phase,
}

/// What the conductor accepts: joins at first, reports at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Gathering,
    Running,
    Draining,
}

/// What a call meant for the run.
enum Turn {
    Nothing,
    Lost,
    PrepareFailed(RunError),
}

impl<'a> Conductor<'a> {
    pub(crate) fn new(
        plan: Arc<RunPlan>,
        address: SocketAddr,
        calls: mpsc::Receiver<Call>,
        display: &'a ProgressDisplay,
        interrupt: CancellationToken,
    ) -> Self {
        let roster = Roster::new(plan.agents);
        let events = EventLog::new(Instant::now());
        Self { plan, address, calls, display, interrupt, roster, events, phase: Phase::Gathering }
    }

    pub(crate) async fn conduct(mut self) -> Result<Conclusion, RunError> {
        if let Err(error) = self.gather().await {
            self.say_goodbye("the run did not start").await;
            return Err(error);
        }
        self.phase = Phase::Running;
        let workers = self.roster.workers();
        let assignment = self.place(&workers);
        let workload = &self.plan.workload;
        let rows_of_worker: Vec<u64> = assignment.table().workers.iter().map(|load| load.rows).collect();
        let (keeper, handle) = Keeper::start(workload.rows(), &rows_of_worker, workload.hosts().len());
        self.hand_out(&workers, &assignment, &handle);
        drop(handle);

        let (ending, started, started_at) = match self.prefetch().await {
            Ok(()) => {
                let (started, started_at) = self.arm();
                (self.watch(&keeper, started).await, started, started_at)
            }
            Err(ending) => (ending, Instant::now(), std::time::SystemTime::now()),
        };
        self.drain(ending).await;
        let start_skew = self.roster.start_skew();
        self.say_goodbye(farewell(ending)).await;
        let record = Record {
            ending,
            started,
            started_at,
            members: self.roster.into_members(),
            workers,
            assignment,
            start_skew,
            events: self.events.into_events(),
        };
        Ok(Conclusion { record, keeper })
    }

    /// Until every slot's agent is connected and prepared.
    async fn gather(&mut self) -> Result<(), RunError> {
        let interrupt = self.interrupt.clone();
        let join_deadline = Instant::now() + self.plan.join_timeout;
        let mut full_since = None;
        let mut notices = tokio::time::interval(limits::JOIN_NOTICE_EVERY);
        notices.tick().await;
        while !self.roster.slots().all_ready() {
            let is_full = self.roster.slots().vacant().is_empty();
            full_since = is_full.then(|| full_since.unwrap_or_else(Instant::now));
            let deadline = full_since.map_or(join_deadline, |since| since + limits::PREPARE_TIMEOUT);
            tokio::select! {
                () = interrupt.cancelled() => return Err(RunError::Interrupted),
                () = sleep_until(deadline.into()) => return Err(self.who_is_late(is_full)),
                _ = notices.tick() => {
                    let notice = self.who_is_missing();
                    self.display.say(&notice);
                }
                Some(call) = self.calls.recv() => {
                    if let Turn::PrepareFailed(error) = self.take(call) {
                        return Err(error);
                    }
                }
            }
            let slots = self.roster.slots();
            self.display.joining(slots.joined() as u64, slots.count() as u64);
        }
        Ok(())
    }

    fn place(&self, workers: &[WorkerId]) -> Assignment {
        let hosts = self.plan.workload.hosts();
        placement::place(
            self.plan.placement,
            hosts.iter().map(|(_, name, rows)| (name, rows.into())),
            workers,
        )
    }

    /// Gives each agent its share; its Work stream begins to send.
    fn hand_out(&mut self, workers: &[WorkerId], assignment: &Assignment, keeper: &KeeperHandle) {
        let workload = &self.plan.workload;
        let mut queues = workload.by_worker(assignment.workers(), workers.len()).into_iter();
        let mut position = 0;
        for member in self.roster.live() {
            let count = usize::from(member.hello.workers);
            let positions = (position..position + count).collect();
            position += count;
            let own_queues = queues.by_ref().take(count).collect();
            let share = Share::new(Arc::clone(workload), keeper.clone(), positions, own_queues);
            member.share.send_replace(Some(Arc::new(share)));
        }
    }

    /// Until every agent was sent the first rows that it has room for.
    async fn prefetch(&mut self) -> Result<(), Ending> {
        let interrupt = self.interrupt.clone();
        let deadline = Instant::now() + limits::PREFETCH_TIMEOUT;
        while !self.roster.live().all(|member| member.has_prefetched) {
            tokio::select! {
                () = interrupt.cancelled() => return Err(Ending::Interrupted),
                // Slow links start with what they have.
                () = sleep_until(deadline.into()) => return Ok(()),
                Some(call) = self.calls.recv() => {
                    if let Turn::Lost = self.take(call) {
                        return Err(Ending::AgentsLost);
                    }
                }
            }
        }
        Ok(())
    }

    /// All agents start together after a countdown. Returns when that will be.
    fn arm(&mut self) -> (Instant, std::time::SystemTime) {
        let countdown = limits::ARM_COUNTDOWN;
        self.roster.say_to_all(&FromCoordinator::Arm { countdown });
        self.events.record(format!("all {} agents armed", self.roster.slots().count()));
        (Instant::now() + countdown, std::time::SystemTime::now() + countdown)
    }

    /// Until every row is settled, or something ends the run earlier.
    async fn watch(&mut self, keeper: &Keeper, started: Instant) -> Ending {
        let interrupt = self.interrupt.clone();
        let mut progress = keeper.progress();
        let mut ticks = tokio::time::interval(DISPLAY_EVERY);
        loop {
            tokio::select! {
                () = interrupt.cancelled() => {
                    self.events.record("the run was interrupted".to_owned());
                    self.display.say(&format!(
                        "interrupted: queries in flight may end, for at most {:?}; Ctrl-C again leaves at once, without a report",
                        limits::DRAIN_TIMEOUT
                    ));
                    return Ending::Interrupted;
                }
                closed = progress.wait_for(|progress| progress.is_closed) => {
                    // The keeper lives as long as this function's caller holds it.
                    if let Ok(last) = closed {
                        self.show(&last, started);
                    }
                    return Ending::Completed;
                }
                _ = ticks.tick() => {
                    let so_far = *keeper.progress().borrow();
                    self.show(&so_far, started);
                }
                Some(call) = self.calls.recv() => {
                    if let Turn::Lost = self.take(call) {
                        return Ending::AgentsLost;
                    }
                }
            }
        }
    }

    /// Into the report and before the person's eyes.
    fn tell(&mut self, what: String) {
        self.display.say(&what);
        self.events.record(what);
    }

    fn show(&self, so_far: &Progress, started: Instant) {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        self.display.running(&progress::Progress {
            joined: self.roster.slots().joined() as u64,
            agents_wanted: self.roster.slots().count() as u64,
            rows_total: self.plan.workload.rows().into(),
            rows_done: so_far.completed + so_far.failed,
            failed: so_far.failed,
            p50_ms: so_far.p50.map(milliseconds),
            p95_ms: so_far.p95.map(milliseconds),
            elapsed: started.elapsed(),
        });
    }

    /// Until every live agent has said its last word. Queries in flight may end by themselves, for a while.
    async fn drain(&mut self, ending: Ending) {
        self.phase = Phase::Draining;
        self.roster.say_to_all(&FromCoordinator::Drain);
        let patience = match ending {
            Ending::Completed => limits::FAREWELL_TIMEOUT,
            Ending::Interrupted | Ending::AgentsLost => limits::DRAIN_TIMEOUT,
        };
        if timeout(patience, self.take_reports()).await.is_ok() {
            return;
        }
        self.tell(format!("queries in flight are cancelled after {patience:?}"));
        self.roster.say_to_all(&FromCoordinator::Cancel { reason: "the run has ended".to_owned() });
        let patience = limits::CANCEL_GRACE + limits::FAREWELL_TIMEOUT;
        if timeout(patience, self.take_reports()).await.is_err() {
            self.tell("not every agent reported".to_owned());
        }
    }

    async fn take_reports(&mut self) {
        while !self.roster.live().all(|member| member.report.is_some()) {
            match self.calls.recv().await {
                Some(call) => drop(self.take(call)),
                None => return,
            }
        }
    }

    /// Bye to all, until they have hung up.
    async fn say_goodbye(&mut self, reason: &str) {
        self.roster.say_to_all(&FromCoordinator::Bye { reason: reason.to_owned() });
        let hung_up = async {
            while self.roster.live().next().is_some() {
                match self.calls.recv().await {
                    Some(Call::Lost { grant, .. }) => self.roster.hung_up(grant),
                    Some(Call::Join { answer, .. }) => {
                        let _ =
                            answer.send(Err(Refusal { reason: "the run is over".to_owned(), retry: true }));
                    }
                    // An agent that was just welcomed opens its Work stream first and reads the Bye then.
                    Some(call @ Call::OpenWork { .. }) => drop(self.take(call)),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        let _ = timeout(limits::FAREWELL_TIMEOUT, hung_up).await;
        self.roster.end_all();
    }
}

fn farewell(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "every row was run",
        Ending::Interrupted => "the run was interrupted",
        Ending::AgentsLost => "an agent was lost",
    }
}
