//! Rounds: parts of a run in which all agents start together and run until the rows or the time are at their end. A warm-up is a round
//! of its own that nobody counts: its rows, its books and its results have nothing to do with those of the run.

use std::sync::Arc;
use std::time::Duration;

use muster_common::load::Warmup;
use muster_common::passes::Passes;
use muster_common::placement::Assignment;
use muster_common::result::Ending;
use muster_common::schedule::Schedule;
use muster_proto::control::{Arm, FromCoordinator};

use super::{Conductor, Field};
use crate::clock;
use crate::run::keeper::Keeper;
use crate::run::own_health::OwnHealth;
use crate::run::record::{Fact, Move};
use crate::run::roster::Member;

/// The round that is reported and journaled. Rounds are numbered in their order: agents hold rows of one that has not begun.
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

    /// For a session that begins when the round has run for `offset`. `starts_at` is by the clock that agents are told of.
    pub(super) fn arm(&self, countdown: Duration, starts_at: Duration, offset: Duration) -> Arm {
        let lasts = self.lasts.map(|lasts| lasts.saturating_sub(offset));
        Arm { countdown, starts_at, round: self.number, offset, lasts }
    }
}

impl Conductor<'_> {
    /// One round from its first row to its last.
    pub(super) async fn run_round(&mut self, field: Arc<Field>, keeper: &Keeper) -> Ending {
        // Slots that were given up in a round before have no hosts in this one either.
        for Move { from, to } in &self.record.moves {
            field.move_hosts(*from, to);
        }
        self.started = None;
        let is_counted = field.round.is_counted;
        self.hand_out(field);
        self.tell_standing();
        self.write_down().await;
        let mut prepared = self.prefetch().await;
        if prepared.is_ok() {
            prepared = self.look_before(is_counted).await;
        }
        if prepared.is_ok() {
            prepared = self.calm_down().await;
        }
        match prepared {
            Ok(()) => {
                self.arm();
                self.watch(keeper).await
            }
            Err(ending) => ending,
        }
    }

    /// Runs what is not counted; `Err` when that ended the run.
    pub(super) async fn warm_up(&mut self, assignment: &Assignment) -> Result<(), Ending> {
        let Some(warmup) = self.plan.load.warmup else { return Ok(()) };
        let records = self.plan.workload.rows();
        let seed = self.plan.load.seed;
        let (passes, records_max, lasts) = match warmup {
            Warmup::Rows(rows) => {
                let passes = self.plan.load.warmup_passes(records, rows);
                (passes.expect("checked before anything listened"), rows, None)
            }
            Warmup::Time(time) => {
                (Passes::endless(records, self.plan.passes.targets(), seed), u32::MAX, Some(time))
            }
        };
        let round = Round { number: WARMUP, lasts, is_counted: false };
        let schedule = self.plan.load.schedule.as_ref().map(Schedule::at_its_beginning);
        let (keeper, field) =
            self.lay_out_uncounted(assignment, round, passes, records_max, schedule.as_ref());
        let began = clock::now();
        let ending = self.run_round(Arc::clone(&field), &keeper).await;
        self.warmed_up = field.keeper.slowest().await.unwrap_or_default();
        self.field = None;
        self.started = None;
        let books = keeper.progress().borrow().clone();
        let (completed, failed) = (books.completed, books.failed);
        self.log(format!(
            "warm-up: {completed} queries completed and {failed} failed in {:.1} s; they are not counted",
            clock::since(began).as_secs_f64()
        ));
        match ending {
            Ending::Completed => Ok(()),
            ending => Err(ending),
        }
    }

    /// Who takes part in a round is part of the record: of the one that counts, and of those that a search learns from.
    pub(super) fn is_told_of(&self, field: &Field) -> bool {
        field.round.is_counted || self.plan.load.search.is_some()
    }

    /// All agents start together after a countdown.
    fn arm(&mut self) {
        let Some(field) = self.field.clone() else { return };
        let countdown = muster_common::limits::ARM_COUNTDOWN;
        let starts_at = clock::since(self.clock_zero) + countdown;
        let arm = field.round.arm(countdown, starts_at, field.ran_before);
        for member in self.roster.running() {
            member.line.say(FromCoordinator::Arm(arm));
        }
        self.started = Some(clock::now() + countdown);
        self.tell_standing();
        if field.round.is_counted {
            self.own_health = Some(OwnHealth::start());
            self.log(format!("all {} agents armed", self.roster.running().count()));
        }
        if self.is_told_of(&field) {
            let at = jiff::Timestamp::try_from(std::time::SystemTime::now() + countdown);
            self.note(Fact::Armed { at: at.map(|at| format!("{at:.3}")).unwrap_or_default() });
        }
    }

    /// When the time of the round is over and every agent that runs has told what it ran, the rest is not run.
    pub(super) async fn close_time_if_over(&mut self) {
        let Some(field) = self.field.clone() else { return };
        let number = field.round.number;
        let Some(lasts) = field.round.lasts else { return };
        let since_start = self.started.map(clock::since).unwrap_or_default();
        if since_start + field.ran_before < lasts {
            return;
        }
        let has_told = |member: &Member| member.round_over == Some(number);
        let all_told = self.roster.running().next().is_some() && self.roster.running().all(has_told);
        if all_told && field.rows.close_time() && field.round.is_counted {
            self.note(Fact::TimeOver);
            self.write_down().await;
        }
    }
}

impl Field {
    /// Queries that the round has, as far as that is known.
    pub(super) fn rows_expected(&self) -> u64 {
        match self.round.lasts {
            Some(_) => 0,
            None => self.rows.passes().rows().into(),
        }
    }
}
