//! The conductor: one task that owns the roster and takes the run through its phases.
//! gather → place → rounds (prefetch → look → arm → run), the last of which counts → drain → look → farewell. Rows and
//! results pass it by; losses on the way are `recovery`'s.

mod calls;
mod connections;
mod health;
mod look;
mod opening;
mod recovery;
mod rounds;
mod search;
mod sentences;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::ids::{Epoch, RowId, SlotId, WorkerId};
use muster_common::limits;
use muster_common::placement::Assignment;
use muster_common::result::{self, Ending};
use muster_common::slots::Grant;
use muster_proto::control::{FromCoordinator, PrepareFailed, PrepareFailure};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::health::HealthBook;
use super::keeper::{Keeper, KeeperHandle, Progress};
use super::link::{Call, Refusal};
use super::own_health::OwnHealth;
use super::plan::RunPlan;
use super::record::{Fact, Record};
use super::replay::Replayed;
use super::roster::Roster;
use super::rows::{Dropped, Rows};
use super::slowest::Slowest;
use crate::clock;
use crate::journal::Writer;
use crate::progress::{self, ProgressDisplay};
use crate::workload::{Workload, WorkloadError};
use connections::Outage;
use look::Lookout;
use recovery::Fences;
use rounds::Round;
pub(crate) use sentences::Door;

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
    #[error(transparent)]
    Workload(WorkloadError),
    #[error("interrupted before the first query")]
    Interrupted,
}

fn refusal(kind: PrepareFailure) -> &'static str {
    match kind {
        PrepareFailure::Statement => "cannot run this query: ",
        PrepareFailure::Database => "has no usable database: ",
        PrepareFailure::Agent => "cannot prepare: ",
    }
}

/// What the run left behind; the keeper closes once this is all that holds it.
pub(crate) struct Conclusion {
    pub(crate) record: Record,
    pub(crate) assignment: Assignment,
    pub(crate) keeper: Keeper,
    pub(crate) rows: Arc<Rows>,
}

/// What is fixed for a round: rows, workers and the way to the keeper.
struct Field {
    round: Round,
    /// Rows have due times.
    is_open_loop: bool,
    /// How long the round had run before this coordinator took it up.
    ran_before: Duration,
    workload: Arc<Workload>,
    rows: Arc<Rows>,
    keeper: KeeperHandle,
    workers: Vec<WorkerId>,
    /// By slot: positions among the workers.
    workers_of_slot: Vec<Range<usize>>,
}

pub(crate) struct Conductor<'a> {
    plan: Arc<RunPlan>,
    door: Door,
    calls: mpsc::Receiver<Call>,
    display: &'a ProgressDisplay,
    interrupt: CancellationToken,
    roster: Roster,
    record: Record,
    /// Facts that the keeper was not told yet.
    unwritten: Vec<Fact>,
    listening_since: Instant,
    /// When the clock that agents are told of showed nothing.
    clock_zero: Instant,
    phase: Phase,
    /// `None` while agents gather.
    field: Option<Arc<Field>>,
    /// When the agents started; `None` before.
    started: Option<Instant>,
    fences: Fences,
    /// Rows of this round with which too many agent processes seem to have died, and the time until which these processes may come back.
    suspects: Vec<(Instant, Vec<RowId>)>,
    /// Sessions that were lost and whose agents may still run queries for a moment, by slot.
    lapses: BTreeMap<SlotId, (Grant, Instant)>,
    /// Slots of which nothing is left in the database that ran under a coordinator before this one.
    cleared: BTreeSet<SlotId>,
    /// Those among them of which that is not known.
    uncleared: BTreeSet<SlotId>,
    /// When it was last said who is awaited in mid-run.
    awaited_at: Option<Instant>,
    /// Of a search: what the round tries.
    step: Option<String>,
    /// Of the sessions that run.
    health: HealthBook,
    /// `None` until the agents start.
    own_health: Option<OwnHealth>,
    lookout: Lookout,
    /// The first executions of each connection, from the warm-up.
    warmed_up: Slowest,
    /// The last session of each slot that was lost before it got ready, until one gets ready.
    unready: BTreeMap<SlotId, UnreadyLoss>,
    /// Connections that were opened again recently.
    outage: Option<Outage>,
    /// Differences between the servers that were already reported as events.
    told_changes: BTreeSet<String>,
}

struct UnreadyLoss {
    reason: String,
    event: result::Event,
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
    PrepareFailed(RunError),
    Unreadable(WorkloadError),
}

impl<'a> Conductor<'a> {
    pub(crate) fn new(
        plan: Arc<RunPlan>,
        door: Door,
        calls: mpsc::Receiver<Call>,
        display: &'a ProgressDisplay,
        interrupt: CancellationToken,
    ) -> Self {
        let roster = Roster::new(plan.agents, Epoch::new(1));
        Self {
            plan,
            door,
            calls,
            display,
            interrupt,
            roster,
            record: Record::default(),
            unwritten: Vec::new(),
            listening_since: clock::now(),
            clock_zero: clock::now(),
            phase: Phase::Gathering,
            field: None,
            started: None,
            fences: Fences::default(),
            suspects: Vec::new(),
            lapses: BTreeMap::new(),
            cleared: BTreeSet::new(),
            uncleared: BTreeSet::new(),
            awaited_at: None,
            step: None,
            health: HealthBook::default(),
            own_health: None,
            lookout: Lookout::default(),
            warmed_up: Slowest::default(),
            unready: BTreeMap::new(),
            outage: None,
            told_changes: BTreeSet::new(),
        }
    }

    pub(crate) async fn conduct(
        mut self,
        journal: Option<Writer>,
        mut taken_up: Option<Replayed>,
    ) -> Result<Conclusion, RunError> {
        if let Some(replayed) = &mut taken_up {
            self.take_up(std::mem::take(&mut replayed.record));
        }
        if let Err(error) = self.gather_and_clear(taken_up.is_some()).await {
            self.say_goodbye("the run did not start").await;
            return Err(error);
        }
        self.phase = Phase::Running;
        self.note(Fact::Placed { workers: self.workers_of_slots() });
        let assignment = self.place();
        let (keeper, field) = self.lay_out(&assignment, journal, taken_up);
        self.plan.metrics.follow(|| keeper.progress());
        let mut rows = Arc::clone(&field.rows);
        let ending = match self.warm_up(&assignment).await {
            Ok(()) if self.plan.load.search.is_some() => {
                self.search(&assignment, field, &keeper, &mut rows).await
            }
            Ok(()) => self.run_counted(field, &keeper).await,
            Err(ending) => {
                // What happened meanwhile is written down all the same.
                self.field = Some(field);
                self.write_down().await;
                ending
            }
        };
        self.drain(ending).await;
        let start_skew = self.roster.start_skew();
        self.close_outage();
        self.close_all_health().await;
        self.look_after(ending).await;
        self.explain_slowest(ending).await;
        self.say_goodbye(farewell(ending)).await;
        if let Some(field) = &self.field {
            let unreported = self.roster.unreported().filter(|grant| {
                let session = self.record.session(grant.epoch);
                session.and_then(|session| session.lost.as_ref()).is_none_or(|loss| !loss.is_drained)
            });
            rows.close_if_endless(unreported.map(|grant| (field.workers_of(grant.slot), grant.epoch)));
        }
        if ending != Ending::WorkloadUnreadable {
            self.report_changed_workload();
        }
        let Dropped { duplicates, stale } = rows.dropped();
        let start_skew_ns = start_skew.map(|skew| u64::try_from(skew.as_nanos()).unwrap_or(u64::MAX));
        self.note(Fact::Ended { ending, start_skew_ns, duplicates, stale });
        self.write_down().await;
        // The keeper ends when nobody can settle rows any more.
        self.field = None;
        Ok(Conclusion { record: self.record, assignment, keeper, rows })
    }

    /// All agents, prepared; in a run that goes on, with nothing left in the database of those that an earlier coordinator had.
    async fn gather_and_clear(&mut self, is_taken_up: bool) -> Result<(), RunError> {
        // Agents of before stop by themselves within their lease; nobody else starts earlier.
        let not_before = clock::now() + limits::FENCE;
        self.gather().await?;
        while is_taken_up && !self.clear(not_before).await? {
            self.gather().await?;
        }
        Ok(())
    }

    /// Until every slot's agent is connected and prepared.
    async fn gather(&mut self) -> Result<(), RunError> {
        let interrupt = self.interrupt.clone();
        let join_deadline = clock::now() + self.plan.join_timeout;
        let mut full_since = None;
        let mut notices = tokio::time::interval(limits::JOIN_NOTICE_EVERY);
        notices.tick().await;
        self.tell_standing();
        while !self.roster.slots().all_ready() {
            let is_full = self.roster.slots().vacant().is_empty();
            full_since = is_full.then(|| full_since.unwrap_or_else(clock::now));
            let deadline = full_since.map_or(join_deadline, |since| since + limits::PREPARE_TIMEOUT);
            tokio::select! {
                // Calls come last: there may be many of them, and of everything else there are few.
                biased;
                () = interrupt.cancelled() => return Err(RunError::Interrupted),
                () = sleep_until(deadline.into()) => return Err(self.who_is_late(is_full)),
                _ = notices.tick() => {
                    let notice = self.who_is_missing();
                    self.display.say(&notice);
                }
                Some(call) = self.calls.recv() => match self.take(call) {
                    Turn::PrepareFailed(error) => return Err(error),
                    Turn::Unreadable(problem) => return Err(RunError::Workload(problem)),
                    Turn::Nothing => {}
                },
            }
            self.fill_while_gathering();
            let slots = self.roster.slots();
            self.display.joining(slots.joined() as u64, slots.count() as u64);
            self.tell_standing();
        }
        Ok(())
    }

    /// The round that is reported.
    async fn run_counted(&mut self, field: Arc<Field>, keeper: &Keeper) -> Ending {
        // Who joined is written down before a row is.
        field.keeper.note(std::mem::take(&mut self.unwritten)).await;
        let ending = self.run_round(field, keeper).await;
        self.write_down().await;
        ending
    }

    /// Until every agent was sent the first rows that it has room for.
    async fn prefetch(&mut self) -> Result<(), Ending> {
        // Slow links start with what they have.
        let deadline = clock::now() + limits::PREFETCH_TIMEOUT;
        while !self.roster.running().all(|member| member.has_prefetched) && self.take_next(deadline).await? {}
        Ok(())
    }

    /// Until agents have read the clock by which they start, with nothing else on their links.
    async fn calm_down(&mut self) -> Result<(), Ending> {
        let deadline = clock::now() + limits::CALM_PER_AGENT * u32::from(self.plan.agents);
        while self.take_next(deadline).await? {}
        Ok(())
    }

    /// One more call before the rows run. False when none came before the deadline.
    async fn take_next(&mut self, deadline: Instant) -> Result<bool, Ending> {
        let interrupt = self.interrupt.clone();
        tokio::select! {
            // Calls come last: there may be many of them, and of everything else there are few.
            biased;
            () = interrupt.cancelled() => Err(Ending::Interrupted),
            () = sleep_until(deadline.into()) => Ok(false),
            Some(call) = self.calls.recv() => match self.take(call) {
                Turn::Unreadable(problem) => Err(self.give_up_workload(&problem)),
                Turn::Nothing | Turn::PrepareFailed(_) => Ok(true),
            },
        }
    }

    fn note_interrupt(&mut self) -> Ending {
        self.log("the run was interrupted".to_owned());
        self.display.say(&format!(
            "interrupted: queries in flight may end, for at most {:?}; Ctrl-C again leaves at once, without a report",
            limits::DRAIN_TIMEOUT
        ));
        Ending::Interrupted
    }

    /// Every row that ran had the checked values: a row with other values would have ended the run.
    fn report_changed_workload(&mut self) {
        let workload = Arc::clone(&self.plan.workload);
        if clock::blocking(|| workload.has_changed()) {
            self.tell(format!("workload file '{}' changed while the run was reading it", workload.file()));
            self.note(Fact::WorkloadChanged);
        }
    }

    fn give_up_workload(&mut self, problem: &WorkloadError) -> Ending {
        self.tell_error(format!("the workload cannot be read to its end: {problem}"));
        Ending::WorkloadUnreadable
    }

    /// Until every row is settled, or something ends the run earlier.
    async fn watch(&mut self, keeper: &Keeper) -> Ending {
        let interrupt = self.interrupt.clone();
        let mut progress = keeper.progress();
        let mut ticks = tokio::time::interval(DISPLAY_EVERY);
        loop {
            self.write_down().await;
            let so_far = progress.borrow_and_update().clone();
            if let Some(problem) = &so_far.journal_problem {
                self.tell_error(format!("{problem}; nothing more is acknowledged, and the run ends"));
                return Ending::CannotWrite;
            }
            self.close_time_if_over().await;
            if self.is_finished(&so_far) {
                self.show(&so_far);
                return Ending::Completed;
            }
            tokio::select! {
                // Calls come last: there may be many of them, and of everything else there are few.
                biased;
                () = interrupt.cancelled() => return self.note_interrupt(),
                // An error means that the keeper broke, which is told when it is closed.
                changed = progress.changed() => if changed.is_err() { return Ending::Interrupted },
                _ = ticks.tick() => {
                    self.show(&so_far);
                    self.note_own_health();
                    self.close_outage_if_quiet();
                    if let Some(ending) = self.field.clone().and_then(|field| self.mend(&field)) {
                        return ending;
                    }
                }
                Some(call) = self.calls.recv() => {
                    if let Turn::Unreadable(problem) = self.take(call) {
                        return self.give_up_workload(&problem);
                    }
                }
            }
        }
    }

    /// Every row is settled or given up, and the keeper has counted all that are settled.
    fn is_finished(&self, so_far: &Progress) -> bool {
        let settled = self.field.as_ref().and_then(|field| field.rows.finished());
        settled.is_some_and(|settled| settled == so_far.completed + so_far.failed)
    }

    /// Into the report and before the person's eyes.
    fn tell(&mut self, what: String) {
        self.display.say(&what);
        self.log(what);
    }

    /// The same for an error that ends the run, which is shown even with `--quiet`.
    fn tell_error(&mut self, what: String) {
        self.display.error(&what);
        self.log(what);
    }

    /// Into the report and the log. `what` is a plain sentence that begins with its subject.
    fn log(&mut self, what: String) {
        info!(target: "muster_coordinator::run::events", "{what}");
        let at_ms = clock::since(self.listening_since).as_secs_f64() * 1e3;
        self.note(Fact::Happened(result::Event::once(at_ms, what)));
    }

    /// [`Self::tell`] of a session that was lost before it got ready. One that joins again and is lost for the same reason is counted: it is one
    /// event, and shown the first time, the tenth, the hundredth.
    fn tell_unready_loss(&mut self, slot: SlotId, reason: &str, what: String) {
        let known = self.unready.get_mut(&slot).filter(|known| known.reason == reason);
        let Some(known) = known else {
            let at_ms = clock::since(self.listening_since).as_secs_f64() * 1e3;
            let event = result::Event::once(at_ms, what.clone());
            self.unready.insert(slot, UnreadyLoss { reason: reason.to_owned(), event: event.clone() });
            info!(target: "muster_coordinator::run::events", "{what}");
            self.display.say(&what);
            self.note(Fact::Happened(event));
            return;
        };
        known.event.times += 1;
        let event = known.event.clone();
        if event.times.ilog10() > (event.times - 1).ilog10() {
            let what = format!("{what} ({} times)", event.times);
            info!(target: "muster_coordinator::run::events", "{what}");
            self.display.say(&what);
        }
        self.note(Fact::Happened(event));
    }

    /// Sessions of this slot were lost before they got ready, more than once and for one reason.
    fn loses_again_and_again(&self, slot: SlotId) -> bool {
        self.unready.get(&slot).is_some_and(|known| known.event.times > 1)
    }

    fn note(&mut self, fact: Fact) {
        self.record.apply(fact.clone());
        self.unwritten.push(fact);
    }

    /// Facts go to the journal once there is one.
    async fn write_down(&mut self) {
        if let Some(field) = self.field.clone().filter(|field| field.round.is_counted) {
            field.keeper.note(std::mem::take(&mut self.unwritten)).await;
        }
    }

    fn show(&self, so_far: &Progress) {
        self.tell_standing();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        self.display.running(&progress::Progress {
            step: self.step.clone(),
            joined: self.roster.slots().joined() as u64,
            agents_wanted: self.roster.slots().count() as u64,
            rows_total: self.field.as_ref().map_or(0, |field| field.rows_expected()),
            rows_done: so_far.completed + so_far.failed,
            failed: so_far.failed,
            p50_ms: so_far.p50.map(milliseconds),
            p95_ms: so_far.p95.map(milliseconds),
            elapsed: self.started.map(clock::since).unwrap_or_default(),
        });
    }

    /// Until every live agent has said its last word. Queries in flight may end by themselves, for a while.
    async fn drain(&mut self, ending: Ending) {
        self.phase = Phase::Draining;
        self.tell_standing();
        self.roster.say_to_all(&FromCoordinator::Drain);
        let patience = match ending {
            Ending::Completed => limits::FAREWELL_TIMEOUT,
            // Nothing is acknowledged, so no agent will report.
            Ending::CannotWrite | Ending::Unfinished => limits::RETRY_MAX,
            Ending::Interrupted | Ending::AgentsLost | Ending::WorkloadUnreadable => limits::DRAIN_TIMEOUT,
        };
        if timeout(patience, self.take_reports()).await.is_ok() || ending == Ending::CannotWrite {
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
            self.tell_standing();
        }
    }

    /// Bye to all, until they have hung up.
    async fn say_goodbye(&mut self, reason: &str) {
        self.roster.dismiss_all(reason);
        let hung_up = async {
            while !self.roster.is_empty() {
                match self.calls.recv().await {
                    Some(Call::Lost { member, .. }) => self.roster.hung_up(member, clock::now()),
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
        Ending::AgentsLost => "agents were lost",
        Ending::WorkloadUnreadable => "the workload cannot be read to its end",
        Ending::CannotWrite | Ending::Unfinished => "the coordinator cannot write its journal",
    }
}
