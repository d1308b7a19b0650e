//! The search for the highest rate that meets an objective: a sequence of rounds, each with one rate. The steps are not counted; only their
//! outcomes are recorded. The rate that the search found is confirmed in a round that counts and is journaled, and the report shows the
//! figures of that round. If the rate does not hold, the aggregates are reset for the next confirmation. `common/src/search.rs` decides
//! which rate is next.

use std::sync::Arc;
use std::time::Duration;

use muster_common::placement::Assignment;
use muster_common::result::{Ending, SearchStep};
use muster_common::schedule::Schedule;
use muster_common::search::{self, Figures, Next, Plan, Step};

use super::rounds::{COUNTED, Round};
use super::{DISPLAY_EVERY, Handled, RoundContext, RunController};
use crate::output::units::{duration, figure};
use crate::run::keeper::{Keeper, KeeperHandle};
use crate::run::record::Fact;
use crate::run::rows::Rows;

/// The duration of the closed loop from which the first rate is estimated.
const PROBE: Duration = Duration::from_secs(2);

/// The state that every round of a search uses.
struct SearchContext<'a> {
    plan: Plan,
    assignment: &'a Assignment,
    /// The keeper of the counted aggregates.
    keeper: &'a Keeper,
    handle: KeeperHandle,
    rows_of_worker: Vec<u64>,
    /// The number of the last round.
    round: u32,
}

impl RunController<'_> {
    /// Runs the whole search. `counted` is set to the rows of the round that counts.
    pub(super) async fn search(
        &mut self,
        assignment: &Assignment,
        round_context: Arc<RoundContext>,
        keeper: &Keeper,
        counted: &mut Arc<Rows>,
    ) -> Ending {
        let Some(plan) = self.plan.load.search.clone() else { return Ending::Completed };
        let handle = round_context.keeper.clone();
        // Losses between two rounds are handled in the context of the earlier one.
        self.round_context = Some(Arc::clone(&round_context));
        let rows_of_worker = assignment.table().workers.iter().map(|load| load.rows).collect();
        let mut context = SearchContext { plan, assignment, keeper, handle, rows_of_worker, round: COUNTED };
        let ending = match self.run_steps(&mut context, counted).await {
            Ok(()) => Ending::Completed,
            Err(ending) => ending,
        };
        self.step = None;
        self.write_to(&context.handle).await;
        // Later facts are written to the journal of the counted rows.
        self.round_context = Some(round_context);
        ending
    }

    async fn run_steps(
        &mut self,
        context: &mut SearchContext<'_>,
        counted: &mut Arc<Rows>,
    ) -> Result<(), Ending> {
        self.write_to(&context.handle).await;
        let Some(first) = self.first_rate(context).await? else {
            self.report("no query completed in a closed loop, so there is no rate to start with".to_owned());
            return Ok(());
        };
        while let Next::Run(step) = search::next(&context.plan, first, &self.record.search.steps) {
            let outcome = self.run_step(context, &step, counted).await?;
            let message = describe(&outcome);
            self.note(Fact::Searched(Box::new(outcome)));
            self.display.println(&message);
            self.write_to(&context.handle).await;
        }
        Ok(())
    }

    /// The first rate: in a resumed search the earlier one, otherwise the requested one, otherwise an estimate from a closed loop.
    async fn first_rate(&mut self, context: &mut SearchContext<'_>) -> Result<Option<f64>, Ending> {
        if let Some(first) = self.record.search.first_rate {
            return Ok(Some(first));
        }
        let first = match context.plan.from {
            Some(rate) => Some(rate),
            None => {
                let figures = self.probe(context).await?;
                let mean_ms = figures.service.map(|service| service.mean);
                mean_ms.and_then(|mean| search::first_rate(mean, context.rows_of_worker.iter().copied()))
            }
        };
        if let Some(first_rate) = first {
            self.note(Fact::SearchBegan { first_rate });
        }
        Ok(first)
    }

    async fn probe(&mut self, context: &mut SearchContext<'_>) -> Result<Figures, Ending> {
        self.step = Some("closed loop".to_owned());
        self.regroup().await?;
        let lasts = PROBE.min(context.plan.step_time);
        self.run_uncounted(context, lasts, None).await
    }

    /// Runs one step, and repeats it once if an agent was lost during it, because then it measured fewer agents.
    async fn run_step(
        &mut self,
        context: &mut SearchContext<'_>,
        step: &Step,
        counted: &mut Arc<Rows>,
    ) -> Result<SearchStep, Ending> {
        let number = self.record.search.steps.len() + 1;
        let name = if step.is_confirmation { "confirmation" } else { "step" };
        let what = format!("{name} {number}: {} queries/s", figure(step.rate));
        let Some(schedule) = context.plan.schedule(step.rate, self.plan.load.seed) else {
            return Err(Ending::Unfinished);
        };
        for _ in 0..2 {
            self.step = Some(what.clone());
            self.regroup().await?;
            self.display.println(&format!("{what} for {}", duration(step.time.as_secs_f64() * 1e3)));
            let losses = self.losses();
            let figures = match step.is_confirmation {
                true => self.confirm(context, step, &schedule, counted).await?,
                false => self.run_uncounted(context, step.time, Some(&schedule)).await?,
            };
            if self.losses() == losses {
                let due = search::due_within(&schedule, &context.rows_of_worker, step.time);
                let workers = context.rows_of_worker.iter().filter(|rows| **rows > 0).count();
                return Ok(search::judge(&context.plan, step, due, workers, figures));
            }
            self.report(format!("{what}: an agent was lost during it, so its result is discarded"));
        }
        self.report(format!(
            "{what}: agents were lost during it twice; the search ends with the steps so far"
        ));
        Err(Ending::AgentsLost)
    }

    /// Runs a round with separate aggregates. Without a schedule it is a closed loop.
    async fn run_uncounted(
        &mut self,
        context: &mut SearchContext<'_>,
        lasts: Duration,
        schedule: Option<&Schedule>,
    ) -> Result<Figures, Ending> {
        context.round += 1;
        let round = Round { number: context.round, lasts: Some(lasts), is_counted: false };
        let passes = self.plan.passes;
        let (keeper, round_context) =
            self.lay_out_uncounted(context.assignment, round, passes, u32::MAX, schedule);
        let handle = round_context.keeper.clone();
        match self.run_round(round_context, &keeper).await {
            Ending::Completed => handle.figures().await.ok_or(Ending::Unfinished),
            ending => Err(ending),
        }
    }

    /// Runs a round that counts, unless a later one replaces it.
    async fn confirm(
        &mut self,
        context: &mut SearchContext<'_>,
        step: &Step,
        schedule: &Schedule,
        counted: &mut Arc<Rows>,
    ) -> Result<Figures, Ending> {
        context.round += 1;
        let round = Round { number: context.round, lasts: Some(step.time), is_counted: true };
        let passes = self.plan.passes;
        let (rows, tally) =
            self.new_aggregates(context.assignment, round.number, passes, u32::MAX, Some(schedule));
        self.note(Fact::Confirming { rate: step.rate, lasts_ms: step.time.as_secs_f64() * 1e3 });
        let facts = std::mem::take(&mut self.unwritten);
        context.handle.restart(facts, Arc::clone(&rows), tally).await;
        *counted = Arc::clone(&rows);
        let round_context = self.round_context(round, true, Duration::ZERO, rows, context.handle.clone());
        match self.run_round(Arc::new(round_context), context.keeper).await {
            Ending::Completed => context.handle.figures().await.ok_or(Ending::Unfinished),
            ending => Err(ending),
        }
    }

    /// Waits until every slot is held by a prepared agent or given up, so that a round begins with all agents.
    async fn regroup(&mut self) -> Result<(), Ending> {
        let interrupt = self.interrupt.clone();
        let mut ticks = tokio::time::interval(DISPLAY_EVERY);
        loop {
            let slots = self.membership.slots();
            if interrupt.is_cancelled() {
                return Err(self.note_interrupt());
            }
            if slots.vacant().is_empty() && slots.preparing().is_empty() && self.fences.is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = interrupt.cancelled() => {}
                _ = ticks.tick() => {
                    if let Some(ending) = self.round_context.clone().and_then(|round_context| self.handle_vacant_slots(&round_context)) {
                        return Err(ending);
                    }
                }
                Some(call) = self.calls.recv() => {
                    if let Handled::Unreadable(problem) = self.handle_call(call) {
                        return Err(self.end_for_workload(&problem));
                    }
                }
            }
        }
    }

    /// The number of sessions that held a slot and were lost.
    fn losses(&self) -> usize {
        self.record.sessions.iter().filter(|session| session.lost.is_some()).count()
    }

    /// Writes the facts of uncounted rounds, too, so that a resumed search can continue from them.
    async fn write_to(&mut self, handle: &KeeperHandle) {
        handle.note(std::mem::take(&mut self.unwritten)).await;
    }
}

/// `412 queries/s hold; response time median 12.1 ms`
fn describe(step: &SearchStep) -> String {
    let rate = figure(step.rate);
    let median = step.response_time_ms.as_ref().map(|response| duration(response.median)).unwrap_or_default();
    match &step.reason {
        None => format!("  {rate} queries/s hold; response time median {median}"),
        Some(reason) => format!("  {rate} queries/s do not hold: {reason}"),
    }
}
