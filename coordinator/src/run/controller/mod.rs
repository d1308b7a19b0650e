//! The controller: one task that owns the membership and takes the run through its phases:
//! wait for agents → place hosts → rounds (prefetch → read server statistics → arm → run), of which the last counts → drain → read server
//! statistics → bye. Rows and results do not pass through the controller. Losses during the run are handled in `recovery`.

mod calls;
mod connections;
mod health;
mod messages;
mod opening;
mod recovery;
mod rounds;
mod search;
mod stats_collector;
mod status;

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

use super::health::SessionHealth;
use super::keeper::{Keeper, KeeperHandle, Progress};
use super::link::{Call, Refusal};
use super::membership::Membership;
use super::own_health::OwnHealth;
use super::plan::RunPlan;
use super::record::{Fact, Record};
use super::replay::Replayed;
use super::rows::{Dropped, Rows};
use super::slowest::Slowest;
use crate::clock;
use crate::journal::Writer;
use crate::progress::{self, ProgressDisplay};
use crate::workload::{Workload, WorkloadError};
use connections::Outage;
pub(crate) use messages::ListenAddress;
use recovery::Fences;
use rounds::Round;
use stats_collector::StatsCollector;

/// The interval at which the display is updated while rows run.
const DISPLAY_EVERY: Duration = Duration::from_millis(100);

/// The reason why a run has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{joined} of {wanted} agents joined within {waited:?}{hint}")]
    NotJoined { joined: usize, wanted: usize, waited: Duration, hint: String },
    #[error("{slots} joined but did not become ready within {:?}", limits::PREPARE_TIMEOUT)]
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

/// The state at the end of the run. No handle of the keeper is left, so it can be closed.
pub(crate) struct Conclusion {
    pub(crate) record: Record,
    pub(crate) assignment: Assignment,
    pub(crate) keeper: Keeper,
    pub(crate) rows: Arc<Rows>,
}

/// The fixed state of a round: rows, workers and the handle of the keeper.
struct RoundContext {
    round: Round,
    /// True if rows have due times.
    is_open_loop: bool,
    /// How long the round had run before this coordinator resumed it.
    ran_before: Duration,
    workload: Arc<Workload>,
    rows: Arc<Rows>,
    keeper: KeeperHandle,
    workers: Vec<WorkerId>,
    /// By slot: the positions of its workers in `workers`.
    workers_of_slot: Vec<Range<usize>>,
}

pub(crate) struct RunController<'a> {
    plan: Arc<RunPlan>,
    listen_address: ListenAddress,
    calls: mpsc::Receiver<Call>,
    display: &'a ProgressDisplay,
    interrupt: CancellationToken,
    membership: Membership,
    record: Record,
    /// Facts that have not been sent to the keeper yet.
    unwritten: Vec<Fact>,
    listening_since: Instant,
    /// The zero of the run clock that the coordinator sends to agents.
    clock_zero: Instant,
    phase: Phase,
    /// `None` while the run waits for agents.
    round_context: Option<Arc<RoundContext>>,
    /// The time at which the agents start the round. `None` before they are armed.
    started: Option<Instant>,
    fences: Fences,
    /// Rows of this round during which too many agent processes seem to have died, and the time until which these processes may return.
    suspects: Vec<(Instant, Vec<RowId>)>,
    /// By slot: the lost session whose agent may still run queries, and the time at which its lease expires.
    lapses: BTreeMap<SlotId, (Grant, Instant)>,
    /// Slots for which an agent has replied whether backends of sessions under an earlier coordinator are left in the database.
    cleared: BTreeSet<SlotId>,
    /// The slots in `cleared` whose agent could not determine this.
    uncleared: BTreeSet<SlotId>,
    /// The time at which the missing agents were last shown during the run.
    missing_shown_at: Option<Instant>,
    /// The step of a search that the round runs, for the display.
    step: Option<String>,
    /// Health totals of the sessions that run.
    health: SessionHealth,
    /// `None` until the agents start.
    own_health: Option<OwnHealth>,
    stats_collector: StatsCollector,
    /// The first executions of each connection, from the warm-up.
    warmed_up: Slowest,
    /// By slot: the last session that was lost before it became ready. Removed when a session becomes ready.
    unready: BTreeMap<SlotId, UnreadyLoss>,
    /// Connections that were reopened recently.
    outage: Option<Outage>,
    /// Differences between the servers that were already reported as events.
    reported_changes: BTreeSet<String>,
}

struct UnreadyLoss {
    reason: String,
    event: result::Event,
}

/// The phase of the run, which decides which calls the controller accepts: joins at first, final reports at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WaitingForAgents,
    Running,
    Draining,
}

/// The effect of a call on the run.
enum Handled {
    Nothing,
    PrepareFailed(RunError),
    Unreadable(WorkloadError),
}

impl<'a> RunController<'a> {
    pub(crate) fn new(
        plan: Arc<RunPlan>,
        listen_address: ListenAddress,
        calls: mpsc::Receiver<Call>,
        display: &'a ProgressDisplay,
        interrupt: CancellationToken,
    ) -> Self {
        let membership = Membership::new(plan.agents, Epoch::new(1));
        Self {
            plan,
            listen_address,
            calls,
            display,
            interrupt,
            membership,
            record: Record::default(),
            unwritten: Vec::new(),
            listening_since: clock::now(),
            clock_zero: clock::now(),
            phase: Phase::WaitingForAgents,
            round_context: None,
            started: None,
            fences: Fences::default(),
            suspects: Vec::new(),
            lapses: BTreeMap::new(),
            cleared: BTreeSet::new(),
            uncleared: BTreeSet::new(),
            missing_shown_at: None,
            step: None,
            health: SessionHealth::default(),
            own_health: None,
            stats_collector: StatsCollector::default(),
            warmed_up: Slowest::default(),
            unready: BTreeMap::new(),
            outage: None,
            reported_changes: BTreeSet::new(),
        }
    }

    pub(crate) async fn run(
        mut self,
        journal: Option<Writer>,
        mut resumed: Option<Replayed>,
    ) -> Result<Conclusion, RunError> {
        if let Some(replayed) = &mut resumed {
            self.resume(std::mem::take(&mut replayed.record));
        }
        if let Err(error) = self.prepare_agents(resumed.is_some()).await {
            self.send_bye("the run did not start").await;
            return Err(error);
        }
        self.phase = Phase::Running;
        self.note(Fact::Placed { workers: self.workers_of_slots() });
        let assignment = self.place();
        let (keeper, round_context) = self.lay_out(&assignment, journal, resumed);
        self.plan.metrics.set_progress(|| keeper.progress());
        let mut rows = Arc::clone(&round_context.rows);
        let ending = match self.warm_up(&assignment).await {
            Ok(()) if self.plan.load.search.is_some() => {
                self.search(&assignment, round_context, &keeper, &mut rows).await
            }
            Ok(()) => self.run_counted(round_context, &keeper).await,
            Err(ending) => {
                // Events of the warm-up are written to the journal even so.
                self.round_context = Some(round_context);
                self.write_down().await;
                ending
            }
        };
        self.drain(ending).await;
        let start_skew = self.membership.start_skew();
        self.close_outage();
        self.close_all_health().await;
        self.collect_stats_after(ending).await;
        self.explain_slowest(ending).await;
        self.send_bye(bye_reason(ending)).await;
        if let Some(round_context) = &self.round_context {
            let unreported = self.membership.unreported().filter(|grant| {
                let session = self.record.session(grant.epoch);
                session.and_then(|session| session.lost.as_ref()).is_none_or(|loss| !loss.is_drained)
            });
            rows.close_if_endless(
                unreported.map(|grant| (round_context.workers_of(grant.slot), grant.epoch)),
            );
        }
        if ending != Ending::WorkloadUnreadable {
            self.report_changed_workload();
        }
        let Dropped { duplicates, stale } = rows.dropped();
        let start_skew_ns = start_skew.map(|skew| u64::try_from(skew.as_nanos()).unwrap_or(u64::MAX));
        self.note(Fact::Ended { ending, start_skew_ns, duplicates, stale });
        self.write_down().await;
        // The keeper ends when no session can settle rows any more.
        self.round_context = None;
        Ok(Conclusion { record: self.record, assignment, keeper, rows })
    }

    /// Waits until all agents are prepared. In a resumed run, also waits until the database has no backends left of the agents of an
    /// earlier coordinator.
    async fn prepare_agents(&mut self, is_resumed: bool) -> Result<(), RunError> {
        // The agents of the earlier coordinator stop when their leases expire. No other agent starts before that.
        let not_before = clock::now() + limits::FENCE;
        self.wait_for_agents().await?;
        while is_resumed && !self.clear(not_before).await? {
            self.wait_for_agents().await?;
        }
        Ok(())
    }

    /// Waits until every slot has a connected and prepared agent.
    async fn wait_for_agents(&mut self) -> Result<(), RunError> {
        let interrupt = self.interrupt.clone();
        let join_deadline = clock::now() + self.plan.join_timeout;
        let mut full_since = None;
        let mut notices = tokio::time::interval(limits::JOIN_NOTICE_EVERY);
        notices.tick().await;
        self.publish_status();
        while !self.membership.slots().all_ready() {
            let is_full = self.membership.slots().vacant().is_empty();
            full_since = is_full.then(|| full_since.unwrap_or_else(clock::now));
            let deadline = full_since.map_or(join_deadline, |since| since + limits::PREPARE_TIMEOUT);
            tokio::select! {
                // Calls come last: there may be many of them, and of everything else there are few.
                biased;
                () = interrupt.cancelled() => return Err(RunError::Interrupted),
                () = sleep_until(deadline.into()) => return Err(self.timeout_error(is_full)),
                _ = notices.tick() => {
                    let notice = self.missing_agents();
                    self.display.println(&notice);
                }
                Some(call) = self.calls.recv() => match self.handle_call(call) {
                    Handled::PrepareFailed(error) => return Err(error),
                    Handled::Unreadable(problem) => return Err(RunError::Workload(problem)),
                    Handled::Nothing => {}
                },
            }
            self.fill_vacant_slots();
            let slots = self.membership.slots();
            self.display.joining(slots.joined() as u64, slots.count() as u64);
            self.publish_status();
        }
        Ok(())
    }

    /// Runs the round that is reported.
    async fn run_counted(&mut self, round_context: Arc<RoundContext>, keeper: &Keeper) -> Ending {
        // The joins are written to the journal before the first row.
        round_context.keeper.note(std::mem::take(&mut self.unwritten)).await;
        let ending = self.run_round(round_context, keeper).await;
        self.write_down().await;
        ending
    }

    /// Waits until every agent has been sent the first rows that its credit allows.
    async fn prefetch(&mut self) -> Result<(), Ending> {
        // Agents on slow links start with the rows that they have received by then.
        let deadline = clock::now() + limits::PREFETCH_TIMEOUT;
        while !self.membership.running().all(|member| member.has_prefetched)
            && self.handle_next_call(deadline).await?
        {}
        Ok(())
    }

    /// Waits while agents synchronize with the clock by which they start, without other traffic on their links.
    async fn sync_clocks(&mut self) -> Result<(), Ending> {
        let deadline = clock::now() + limits::START_DELAY_PER_AGENT * u32::from(self.plan.agents);
        while self.handle_next_call(deadline).await? {}
        Ok(())
    }

    /// Handles one call before the rows run. Returns false if none arrives before the deadline.
    async fn handle_next_call(&mut self, deadline: Instant) -> Result<bool, Ending> {
        let interrupt = self.interrupt.clone();
        tokio::select! {
            // Calls come last: there may be many of them, and of everything else there are few.
            biased;
            () = interrupt.cancelled() => Err(Ending::Interrupted),
            () = sleep_until(deadline.into()) => Ok(false),
            Some(call) = self.calls.recv() => match self.handle_call(call) {
                Handled::Unreadable(problem) => Err(self.end_for_workload(&problem)),
                Handled::Nothing | Handled::PrepareFailed(_) => Ok(true),
            },
        }
    }

    fn note_interrupt(&mut self) -> Ending {
        self.log("the run was interrupted".to_owned());
        self.display.println(&format!(
            "interrupted: waiting for queries in flight for at most {:?}; press Ctrl-C again to exit at once without a report",
            limits::DRAIN_TIMEOUT
        ));
        Ending::Interrupted
    }

    /// Reports that the workload file has changed. Every row that ran had the verified values: a row with other values would have ended the
    /// run.
    fn report_changed_workload(&mut self) {
        let workload = Arc::clone(&self.plan.workload);
        if clock::blocking(|| workload.has_changed()) {
            self.report(format!("workload file '{}' changed while the run was reading it", workload.file()));
            self.note(Fact::WorkloadChanged);
        }
    }

    fn end_for_workload(&mut self, problem: &WorkloadError) -> Ending {
        self.report_error(format!("the workload cannot be read completely: {problem}"));
        Ending::WorkloadUnreadable
    }

    /// Runs until every row is settled or something ends the run earlier.
    async fn watch(&mut self, keeper: &Keeper) -> Ending {
        let interrupt = self.interrupt.clone();
        let mut progress = keeper.progress();
        let mut ticks = tokio::time::interval(DISPLAY_EVERY);
        loop {
            self.write_down().await;
            let so_far = progress.borrow_and_update().clone();
            if let Some(problem) = &so_far.journal_problem {
                self.report_error(format!("{problem}; nothing more is acknowledged, and the run ends"));
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
                // An error means that the keeper has panicked, which surfaces when it is closed.
                changed = progress.changed() => if changed.is_err() { return Ending::Interrupted },
                _ = ticks.tick() => {
                    self.show(&so_far);
                    self.note_own_health();
                    self.close_outage_if_quiet();
                    if let Some(ending) = self.round_context.clone().and_then(|round_context| self.handle_vacant_slots(&round_context)) {
                        return ending;
                    }
                }
                Some(call) = self.calls.recv() => {
                    if let Handled::Unreadable(problem) = self.handle_call(call) {
                        return self.end_for_workload(&problem);
                    }
                }
            }
        }
    }

    /// Returns true if every row is settled or given up, and the keeper has counted all settled rows.
    fn is_finished(&self, so_far: &Progress) -> bool {
        let settled = self.round_context.as_ref().and_then(|round_context| round_context.rows.finished());
        settled.is_some_and(|settled| settled == so_far.completed + so_far.failed)
    }

    /// Adds an event to the report and shows it on the display.
    fn report(&mut self, what: String) {
        self.display.println(&what);
        self.log(what);
    }

    /// Reports an error that ends the run. It is shown even with `--quiet`.
    fn report_error(&mut self, what: String) {
        self.display.error(&what);
        self.log(what);
    }

    /// Adds an event to the report and the log. `what` is a sentence that begins with its subject.
    fn log(&mut self, what: String) {
        info!(target: "muster_coordinator::run::events", "{what}");
        let at_ms = clock::since(self.listening_since).as_secs_f64() * 1e3;
        self.note(Fact::Happened(result::Event::once(at_ms, what)));
    }

    /// Reports the loss of a session that had not become ready. Repeated losses of a slot for the same reason are one event with a count,
    /// which is shown the first time, the tenth time, the hundredth time, and so on.
    fn report_unready_loss(&mut self, slot: SlotId, reason: &str, what: String) {
        let known = self.unready.get_mut(&slot).filter(|known| known.reason == reason);
        let Some(known) = known else {
            let at_ms = clock::since(self.listening_since).as_secs_f64() * 1e3;
            let event = result::Event::once(at_ms, what.clone());
            self.unready.insert(slot, UnreadyLoss { reason: reason.to_owned(), event: event.clone() });
            info!(target: "muster_coordinator::run::events", "{what}");
            self.display.println(&what);
            self.note(Fact::Happened(event));
            return;
        };
        known.event.times += 1;
        let event = known.event.clone();
        if event.times.ilog10() > (event.times - 1).ilog10() {
            let what = format!("{what} ({} times)", event.times);
            info!(target: "muster_coordinator::run::events", "{what}");
            self.display.println(&what);
        }
        self.note(Fact::Happened(event));
    }

    /// Returns true if sessions of this slot were lost before they became ready, more than once and for the same reason.
    fn is_lost_repeatedly(&self, slot: SlotId) -> bool {
        self.unready.get(&slot).is_some_and(|known| known.event.times > 1)
    }

    fn note(&mut self, fact: Fact) {
        self.record.apply(fact.clone());
        self.unwritten.push(fact);
    }

    /// Sends the unwritten facts to the keeper if the current round counts. Facts of other rounds wait until then.
    async fn write_down(&mut self) {
        if let Some(round_context) =
            self.round_context.clone().filter(|round_context| round_context.round.is_counted)
        {
            round_context.keeper.note(std::mem::take(&mut self.unwritten)).await;
        }
    }

    fn show(&self, so_far: &Progress) {
        self.publish_status();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        self.display.running(&progress::Progress {
            step: self.step.clone(),
            joined: self.membership.slots().joined() as u64,
            agents_wanted: self.membership.slots().count() as u64,
            rows_total: self.round_context.as_ref().map_or(0, |round_context| round_context.rows_expected()),
            rows_done: so_far.completed + so_far.failed,
            failed: so_far.failed,
            p50_ms: so_far.p50.map(milliseconds),
            p95_ms: so_far.p95.map(milliseconds),
            elapsed: self.started.map(clock::since).unwrap_or_default(),
        });
    }

    /// Waits until every live agent has sent its final report. Queries in flight may finish for a while; then they are cancelled.
    async fn drain(&mut self, ending: Ending) {
        self.phase = Phase::Draining;
        self.publish_status();
        self.membership.send_to_all(&FromCoordinator::Drain);
        let patience = match ending {
            Ending::Completed => limits::SHUTDOWN_TIMEOUT,
            // Nothing is acknowledged, so no agent will report.
            Ending::CannotWrite | Ending::Unfinished => limits::RETRY_MAX,
            Ending::Interrupted | Ending::AgentsLost | Ending::WorkloadUnreadable => limits::DRAIN_TIMEOUT,
        };
        if timeout(patience, self.wait_for_reports()).await.is_ok() || ending == Ending::CannotWrite {
            return;
        }
        self.report(format!("queries in flight are cancelled after {patience:?}"));
        self.membership.send_to_all(&FromCoordinator::Cancel { reason: "the run has ended".to_owned() });
        let patience = limits::CANCEL_GRACE + limits::SHUTDOWN_TIMEOUT;
        if timeout(patience, self.wait_for_reports()).await.is_err() {
            self.report("not every agent sent its report".to_owned());
        }
    }

    async fn wait_for_reports(&mut self) {
        while !self.membership.live().all(|member| member.report.is_some()) {
            match self.calls.recv().await {
                Some(call) => drop(self.handle_call(call)),
                None => return,
            }
            self.publish_status();
        }
    }

    /// Sends Bye to all agents and waits until they have disconnected.
    async fn send_bye(&mut self, reason: &str) {
        self.membership.dismiss_all(reason);
        let disconnected = async {
            while !self.membership.is_empty() {
                match self.calls.recv().await {
                    Some(Call::Lost { member, .. }) => self.membership.disconnected(member, clock::now()),
                    Some(Call::Join { answer, .. }) => {
                        let _ =
                            answer.send(Err(Refusal { reason: "the run is over".to_owned(), retry: true }));
                    }
                    // An agent that has just received Welcome opens its Work stream before it reads the Bye.
                    Some(call @ Call::OpenWork { .. }) => drop(self.handle_call(call)),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, disconnected).await;
        self.membership.end_all();
    }
}

fn bye_reason(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "every row was run",
        Ending::Interrupted => "the run was interrupted",
        Ending::AgentsLost => "agents were lost",
        Ending::WorkloadUnreadable => "the workload cannot be read completely",
        Ending::CannotWrite | Ending::Unfinished => "the coordinator cannot write its journal",
    }
}
