//! The search for the highest rate that holds an objective: rounds of one rate each, one after the other. The steps are not counted, what
//! they showed is noted. What the search found is measured once more in a round that counts and is journaled: the figures of the report
//! are of that one. When it does not hold, the books begin anew with the next. Which rate comes next is `common/src/search.rs`'s.

use std::sync::Arc;
use std::time::Duration;

use muster_common::placement::Assignment;
use muster_common::result::{Ending, SearchStep};
use muster_common::schedule::Schedule;
use muster_common::search::{self, Figures, Next, Plan, Step};

use super::rounds::{COUNTED, Round};
use super::{Conductor, DISPLAY_EVERY, Field, Turn};
use crate::output::units::{duration, figure};
use crate::run::keeper::{Keeper, KeeperHandle};
use crate::run::record::Fact;
use crate::run::rows::Rows;

/// A closed loop shows within this time what may be possible.
const PROBE: Duration = Duration::from_secs(2);

/// What every round of a search needs.
struct Ground<'a> {
    plan: Plan,
    assignment: &'a Assignment,
    /// Of the books that count.
    keeper: &'a Keeper,
    handle: KeeperHandle,
    rows_of_worker: Vec<u64>,
    /// Of the last round.
    round: u32,
}

impl Conductor<'_> {
    /// Runs the whole search. `counted` becomes the rows of the round that counts.
    pub(super) async fn search(
        &mut self,
        assignment: &Assignment,
        field: Arc<Field>,
        keeper: &Keeper,
        counted: &mut Arc<Rows>,
    ) -> Ending {
        let Some(plan) = self.plan.load.search.clone() else { return Ending::Completed };
        let handle = field.keeper.clone();
        // Losses between two rounds are mended in the field of the one before.
        self.field = Some(Arc::clone(&field));
        let rows_of_worker = assignment.table().workers.iter().map(|load| load.rows).collect();
        let mut ground = Ground { plan, assignment, keeper, handle, rows_of_worker, round: COUNTED };
        let ending = match self.take_steps(&mut ground, counted).await {
            Ok(()) => Ending::Completed,
            Err(ending) => ending,
        };
        self.step = None;
        self.write_to(&ground.handle).await;
        // What follows is written down beside what counts.
        self.field = Some(field);
        ending
    }

    async fn take_steps(&mut self, ground: &mut Ground<'_>, counted: &mut Arc<Rows>) -> Result<(), Ending> {
        self.write_to(&ground.handle).await;
        let Some(first) = self.first_rate(ground).await? else {
            self.tell("no query completed in a closed loop, so there is no rate to begin with".to_owned());
            return Ok(());
        };
        while let Next::Run(step) = search::next(&ground.plan, first, &self.record.search.steps) {
            let shown = self.take_step(ground, &step, counted).await?;
            let sentence = what_it_showed(&shown);
            self.note(Fact::Searched(Box::new(shown)));
            self.display.say(&sentence);
            self.write_to(&ground.handle).await;
        }
        Ok(())
    }

    /// The one of before, in a search that goes on; the one that was asked for; else what a closed loop shows.
    async fn first_rate(&mut self, ground: &mut Ground<'_>) -> Result<Option<f64>, Ending> {
        if let Some(first) = self.record.search.first_rate {
            return Ok(Some(first));
        }
        let first = match ground.plan.from {
            Some(rate) => Some(rate),
            None => {
                let figures = self.probe(ground).await?;
                let mean_ms = figures.service.map(|service| service.mean);
                mean_ms.and_then(|mean| search::first_rate(mean, ground.rows_of_worker.iter().copied()))
            }
        };
        if let Some(first_rate) = first {
            self.note(Fact::SearchBegan { first_rate });
        }
        Ok(first)
    }

    async fn probe(&mut self, ground: &mut Ground<'_>) -> Result<Figures, Ending> {
        self.step = Some("what a closed loop does".to_owned());
        self.regroup().await?;
        let lasts = PROBE.min(ground.plan.step_time);
        self.run_uncounted(ground, lasts, None).await
    }

    /// One step, and once more when an agent was lost meanwhile: it showed what fewer agents do.
    async fn take_step(
        &mut self,
        ground: &mut Ground<'_>,
        step: &Step,
        counted: &mut Arc<Rows>,
    ) -> Result<SearchStep, Ending> {
        let number = self.record.search.steps.len() + 1;
        let name = if step.is_confirmation { "confirmation" } else { "step" };
        let what = format!("{name} {number}: {} queries/s", figure(step.rate));
        let Some(schedule) = ground.plan.schedule(step.rate, self.plan.load.seed) else {
            return Err(Ending::Unfinished);
        };
        for _ in 0..2 {
            self.step = Some(what.clone());
            self.regroup().await?;
            self.display.say(&format!("{what} for {}", duration(step.time.as_secs_f64() * 1e3)));
            let losses = self.losses();
            let figures = match step.is_confirmation {
                true => self.confirm(ground, step, &schedule, counted).await?,
                false => self.run_uncounted(ground, step.time, Some(&schedule)).await?,
            };
            if self.losses() == losses {
                let due = search::due_within(&schedule, &ground.rows_of_worker, step.time);
                let workers = ground.rows_of_worker.iter().filter(|rows| **rows > 0).count();
                return Ok(search::judge(&ground.plan, step, due, workers, figures));
            }
            self.tell(format!("{what}: an agent was lost meanwhile, so it says nothing"));
        }
        self.tell(format!("{what}: agents were lost in it twice; the search ends with what it has"));
        Err(Ending::AgentsLost)
    }

    /// A round with books of its own. A closed loop without a schedule.
    async fn run_uncounted(
        &mut self,
        ground: &mut Ground<'_>,
        lasts: Duration,
        schedule: Option<&Schedule>,
    ) -> Result<Figures, Ending> {
        ground.round += 1;
        let round = Round { number: ground.round, lasts: Some(lasts), is_counted: false };
        let passes = self.plan.passes;
        let (keeper, field) = self.lay_out_uncounted(ground.assignment, round, passes, u32::MAX, schedule);
        let handle = field.keeper.clone();
        match self.run_round(field, &keeper).await {
            Ending::Completed => handle.look().await.ok_or(Ending::Unfinished),
            ending => Err(ending),
        }
    }

    /// The round that counts, until the next one.
    async fn confirm(
        &mut self,
        ground: &mut Ground<'_>,
        step: &Step,
        schedule: &Schedule,
        counted: &mut Arc<Rows>,
    ) -> Result<Figures, Ending> {
        ground.round += 1;
        let round = Round { number: ground.round, lasts: Some(step.time), is_counted: true };
        let passes = self.plan.passes;
        let (rows, tally) =
            self.open_books(ground.assignment, round.number, passes, u32::MAX, Some(schedule));
        self.note(Fact::Confirming { rate: step.rate, lasts_ms: step.time.as_secs_f64() * 1e3 });
        let facts = std::mem::take(&mut self.unwritten);
        ground.handle.begin_anew(facts, Arc::clone(&rows), tally).await;
        *counted = Arc::clone(&rows);
        let field = self.field(round, true, Duration::ZERO, rows, ground.handle.clone());
        match self.run_round(Arc::new(field), ground.keeper).await {
            Ending::Completed => ground.handle.look().await.ok_or(Ending::Unfinished),
            ending => Err(ending),
        }
    }

    /// Until every slot is held by an agent that is prepared, or was given up: a round begins with all that take part.
    async fn regroup(&mut self) -> Result<(), Ending> {
        let interrupt = self.interrupt.clone();
        let mut ticks = tokio::time::interval(DISPLAY_EVERY);
        loop {
            let slots = self.roster.slots();
            if interrupt.is_cancelled() {
                return Err(self.note_interrupt());
            }
            if slots.vacant().is_empty() && slots.preparing().is_empty() && self.fences.is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = interrupt.cancelled() => {}
                _ = ticks.tick() => {
                    if let Some(ending) = self.field.clone().and_then(|field| self.mend(&field)) {
                        return Err(ending);
                    }
                }
                Some(call) = self.calls.recv() => {
                    if let Turn::Unreadable(problem) = self.take(call) {
                        return Err(self.give_up_workload(&problem));
                    }
                }
            }
        }
    }

    /// Sessions that held a slot and were lost.
    fn losses(&self) -> usize {
        self.record.sessions.iter().filter(|session| session.lost.is_some()).count()
    }

    /// Also what happened in rounds that are not counted is written down: the search goes on from there.
    async fn write_to(&mut self, handle: &KeeperHandle) {
        handle.note(std::mem::take(&mut self.unwritten)).await;
    }
}

/// `412 queries/s hold; response time median 12.1 ms`
fn what_it_showed(step: &SearchStep) -> String {
    let rate = figure(step.rate);
    let median = step.response_time_ms.as_ref().map(|response| duration(response.median)).unwrap_or_default();
    match &step.reason {
        None => format!("  {rate} queries/s hold; response time median {median}"),
        Some(reason) => format!("  {rate} queries/s do not hold: {reason}"),
    }
}
