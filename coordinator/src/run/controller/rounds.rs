//! Rounds: parts of a run in which all agents start together and run until all rows have run or the time is over. A warm-up is a separate
//! round that is not counted: its rows, aggregates and results are independent of those of the run.

use std::sync::Arc;
use std::time::Duration;

use muster_common::load::Warmup;
use muster_common::passes::Passes;
use muster_common::placement::Assignment;
use muster_common::result::Ending;
use muster_common::schedule::Schedule;
use muster_proto::control::{Arm, FromCoordinator};

use super::{RoundContext, RunController};
use crate::clock;
use crate::run::keeper::Keeper;
use crate::run::membership::Member;
use crate::run::own_health::OwnHealth;
use crate::run::record::{Fact, Move};

/// The number of the round that is reported and journaled. Rounds are numbered in order, because agents may hold rows of a round that has
/// not begun.
pub(super) const COUNTED: u32 = 1;
const WARMUP: u32 = 0;

#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) number: u32,
    /// No row begins later than this after the start of the round.
    pub(super) lasts: Option<Duration>,
    pub(super) is_counted: bool,
}

impl Round {
    pub(super) fn counted(lasts: Option<Duration>) -> Self {
        Self { number: COUNTED, lasts, is_counted: true }
    }

    /// The Arm message for a session that begins when the round has run for `offset`. `starts_at` is a time on the run clock that the
    /// coordinator sends to agents.
    pub(super) fn arm(&self, countdown: Duration, starts_at: Duration, offset: Duration) -> Arm {
        let lasts = self.lasts.map(|lasts| lasts.saturating_sub(offset));
        Arm { countdown, starts_at, round: self.number, offset, lasts }
    }
}

impl RunController<'_> {
    /// Runs one round from its first row to its last.
    pub(super) async fn run_round(&mut self, round_context: Arc<RoundContext>, keeper: &Keeper) -> Ending {
        // Slots that were given up in an earlier round have no hosts in this one either.
        for Move { from, to } in &self.record.moves {
            round_context.move_hosts(*from, to);
        }
        self.started = None;
        let is_counted = round_context.round.is_counted;
        self.hand_out(round_context);
        self.publish_status();
        self.write_down().await;
        let mut prepared = self.prefetch().await;
        if prepared.is_ok() {
            prepared = self.collect_stats_before(is_counted).await;
        }
        if prepared.is_ok() {
            prepared = self.sync_clocks().await;
        }
        match prepared {
            Ok(()) => {
                self.arm();
                self.watch(keeper).await
            }
            Err(ending) => ending,
        }
    }

    /// Runs the warm-up, which is not counted. Returns `Err` if the run ended during it.
    pub(super) async fn warm_up(&mut self, assignment: &Assignment) -> Result<(), Ending> {
        let Some(warmup) = self.plan.load.warmup else { return Ok(()) };
        let records = self.plan.workload.rows();
        let seed = self.plan.load.seed;
        let (passes, records_max, lasts) = match warmup {
            Warmup::Rows(rows) => {
                let passes = self.plan.load.warmup_passes(records, rows);
                (passes.expect("checked before the port was bound"), rows, None)
            }
            Warmup::Time(time) => {
                (Passes::endless(records, self.plan.passes.targets(), seed), u32::MAX, Some(time))
            }
        };
        let round = Round { number: WARMUP, lasts, is_counted: false };
        let schedule = self.plan.load.schedule.as_ref().map(Schedule::at_initial_rate);
        let (keeper, round_context) =
            self.lay_out_uncounted(assignment, round, passes, records_max, schedule.as_ref());
        let began = clock::now();
        let ending = self.run_round(Arc::clone(&round_context), &keeper).await;
        self.warmed_up = round_context.keeper.slowest().await.unwrap_or_default();
        self.round_context = None;
        self.started = None;
        let aggregates = keeper.progress().borrow().clone();
        let (completed, failed) = (aggregates.completed, aggregates.failed);
        self.log(format!(
            "warm-up: {completed} queries completed and {failed} failed in {:.1} s; they are not counted",
            clock::since(began).as_secs_f64()
        ));
        match ending {
            Ending::Completed => Ok(()),
            ending => Err(ending),
        }
    }

    /// Returns true if the sessions of the round are part of the record: in the round that counts, and in the steps of a search.
    pub(super) fn is_reported(&self, round_context: &RoundContext) -> bool {
        round_context.round.is_counted || self.plan.load.search.is_some()
    }

    /// Starts all agents together after a countdown.
    fn arm(&mut self) {
        let Some(round_context) = self.round_context.clone() else { return };
        let countdown = muster_common::limits::ARM_COUNTDOWN;
        let starts_at = clock::since(self.clock_zero) + countdown;
        let arm = round_context.round.arm(countdown, starts_at, round_context.ran_before);
        for member in self.membership.running() {
            member.control.send(FromCoordinator::Arm(arm));
        }
        self.started = Some(clock::now() + countdown);
        self.publish_status();
        if round_context.round.is_counted {
            self.own_health = Some(OwnHealth::start());
            self.log(format!("all {} agents armed", self.membership.running().count()));
        }
        if self.is_reported(&round_context) {
            let at = jiff::Timestamp::try_from(std::time::SystemTime::now() + countdown);
            self.note(Fact::Armed { at: at.map(|at| format!("{at:.3}")).unwrap_or_default() });
        }
    }

    /// Closes the round when its time is over and every running agent has reported what it ran. The remaining rows are not run.
    pub(super) async fn close_time_if_over(&mut self) {
        let Some(round_context) = self.round_context.clone() else { return };
        let number = round_context.round.number;
        let Some(lasts) = round_context.round.lasts else { return };
        let since_start = self.started.map(clock::since).unwrap_or_default();
        if since_start + round_context.ran_before < lasts {
            return;
        }
        let has_reported = |member: &Member| member.round_over == Some(number);
        let all_reported =
            self.membership.running().next().is_some() && self.membership.running().all(has_reported);
        if all_reported && round_context.rows.close_time() && round_context.round.is_counted {
            self.note(Fact::TimeOver);
            self.write_down().await;
        }
    }
}

impl RoundContext {
    /// The number of queries of the round; 0 if the clock ends it.
    pub(super) fn rows_expected(&self) -> u64 {
        match self.round.lasts {
            Some(_) => 0,
            None => self.rows.passes().rows().into(),
        }
    }
}
