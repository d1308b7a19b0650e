//! Runs a round: prefetch → read server statistics → synchronize clocks → arm → run until every row is settled or something ends the run
//! earlier.

use std::time::Duration;

use muster_core::limits;
use muster_report::result::Ending;

use super::error::Stop;
use super::event_loop::{EventLoop, Woken};
use super::statistics::request_stats;
use crate::clock;
use crate::progress;
use crate::run::keeper::Progress;
use crate::run::own_health::OwnHealth;
use crate::run::record::Fact;
use crate::run::round::Round;

/// The interval at which the display is updated while rows run, and time is handled.
const TICK_EVERY: Duration = Duration::from_millis(100);

/// Runs rounds, one after the other.
pub(super) struct Rounds<'a> {
    events: EventLoop<'a>,
    /// `None` until the agents start the round that counts.
    own_health: Option<OwnHealth>,
    /// True if the latest round counts and statistics were read before it.
    has_stats_before: bool,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(events: EventLoop<'a>) -> Self {
        Self { events, own_health: None, has_stats_before: false }
    }

    pub(super) fn events(&mut self) -> &mut EventLoop<'a> {
        &mut self.events
    }

    pub(super) fn into_events(self) -> EventLoop<'a> {
        self.events
    }

    pub(super) fn has_stats_before(&self) -> bool {
        self.has_stats_before
    }

    /// Runs one round from its first row to its last.
    pub(super) async fn run(&mut self, round: Round) -> Ending {
        let is_counted = round.is_counted();
        self.events.sessions().begin_round(round);
        self.events.write_down().await;
        match self.start(is_counted).await {
            Ok(()) => self.watch().await,
            Err(ending) => ending,
        }
    }

    async fn start(&mut self, is_counted: bool) -> Result<(), Ending> {
        if let Err(stop) = self.prefetch().await {
            return Err(self.events.ending(stop));
        }
        self.has_stats_before = is_counted && request_stats(&mut self.events, false).await?;
        if let Err(stop) = self.sync_clocks().await {
            return Err(self.events.ending(stop));
        }
        self.events.sessions().arm();
        if is_counted {
            self.own_health = Some(OwnHealth::start());
        }
        Ok(())
    }

    /// Waits until every agent has been sent the first rows that its credit allows.
    async fn prefetch(&mut self) -> Result<(), Stop> {
        // Agents on slow links start with the rows that they have received by then.
        let deadline = clock::now() + limits::PREFETCH_TIMEOUT;
        while !self.have_prefetched() && self.events.step(deadline).await? != Woken::Due {}
        Ok(())
    }

    fn have_prefetched(&mut self) -> bool {
        let sessions = self.events.sessions();
        let running = sessions.members().running().map(|(member, _)| member.id);
        sessions.round().is_none_or(|round| round.clock.have_prefetched(running))
    }

    /// Waits while agents synchronize with the clock by which they start, without other traffic on their links.
    async fn sync_clocks(&mut self) -> Result<(), Stop> {
        let agents = u32::try_from(self.events.sessions().members().slots().count()).unwrap_or(u32::MAX);
        let deadline = clock::now() + limits::START_DELAY_PER_AGENT * agents;
        while self.events.step(deadline).await? != Woken::Due {}
        Ok(())
    }

    /// Runs until every row is settled or something ends the run earlier.
    async fn watch(&mut self) -> Ending {
        let Some(mut progress) = self.events.sessions().round().map(Round::progress) else {
            return Ending::Unfinished;
        };
        let mut tick_at = clock::now();
        loop {
            self.events.write_down().await;
            let so_far = progress.borrow_and_update().clone();
            if let Some(problem) = &so_far.journal_problem {
                let what = format!("{problem}; nothing more is acknowledged, and the run ends");
                self.events.sessions().log().report_error(what);
                return Ending::CannotWrite;
            }
            self.close_if_over().await;
            if self.events.sessions().round().is_some_and(|round| round.is_finished(&so_far)) {
                self.show(&so_far);
                return Ending::Completed;
            }
            match self.events.step_or_progress(tick_at, &mut progress).await {
                Ok(Woken::Due) => {
                    tick_at = clock::now() + TICK_EVERY;
                    self.show(&so_far);
                    self.note_own_health();
                    if let Some(ending) = self.events.sessions().tick() {
                        return ending;
                    }
                }
                Ok(_) => {}
                Err(stop) => return self.interrupted(stop),
            }
        }
    }

    /// Waits until every slot is held by a prepared agent or given up, so that a round begins with all agents.
    pub(super) async fn regroup(&mut self) -> Result<(), Ending> {
        let mut tick_at = clock::now();
        loop {
            if self.events.is_interrupted() {
                return Err(self.interrupted(Stop::Interrupted));
            }
            if self.events.sessions().are_settled() {
                return Ok(());
            }
            match self.events.step(tick_at).await {
                Ok(Woken::Due) => {
                    tick_at = clock::now() + TICK_EVERY;
                    if let Some(ending) = self.events.sessions().tick() {
                        return Err(ending);
                    }
                }
                Ok(_) => {}
                Err(stop) => return Err(self.interrupted(stop)),
            }
        }
    }

    fn interrupted(&mut self, stop: Stop) -> Ending {
        if matches!(stop, Stop::Interrupted) {
            let log = self.events.sessions().log();
            log.log("the run was interrupted");
            log.display().println(&format!(
                "interrupted: waiting for queries in flight for at most {:?}; press Ctrl-C again to exit at once without a report",
                limits::DRAIN_TIMEOUT
            ));
        }
        self.events.ending(stop)
    }

    /// Closes the round when its time is over and every running agent has reported what it ran. The remaining rows are not run.
    async fn close_if_over(&mut self) {
        let sessions = self.events.sessions();
        let is_closed = sessions.round().is_some_and(|round| {
            let running = sessions.members().running().map(|(member, _)| member.id);
            round.clock.is_over(clock::now(), running) && round.rows().close_time() && round.is_counted()
        });
        if is_closed {
            sessions.log().note(Fact::TimeOver);
            self.events.write_down().await;
        }
    }

    fn show(&mut self, so_far: &Progress) {
        let sessions = self.events.sessions();
        sessions.publish_status();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let (slots, round) = (sessions.members().slots(), sessions.round());
        let progress = progress::Progress {
            step: round.and_then(|round| round.step.clone()),
            joined: slots.joined() as u64,
            agents_wanted: slots.count() as u64,
            rows_total: round.map_or(0, Round::rows_expected),
            rows_done: so_far.completed + so_far.failed,
            failed: so_far.failed,
            p50_ms: so_far.p50.map(milliseconds),
            p95_ms: so_far.p95.map(milliseconds),
            elapsed: round.map(|round| round.clock.elapsed(clock::now())).unwrap_or_default(),
        };
        sessions.log().display().running(&progress);
    }

    fn note_own_health(&mut self) {
        if let Some(totals) = self.own_health.as_mut().and_then(OwnHealth::add_samples) {
            self.events.sessions().log().note(Fact::CoordinatorHealth { sum: Box::new(totals) });
        }
    }

    /// Records what is still open when no row runs any more.
    pub(super) async fn close(&mut self) {
        self.events.sessions().close();
        if let Some(own) = self.own_health.take() {
            let sum = Box::new(own.finish().await);
            self.events.sessions().log().note(Fact::CoordinatorHealth { sum });
        }
    }
}
