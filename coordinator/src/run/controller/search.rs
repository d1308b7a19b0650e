//! The search for the highest rate that meets an objective: a sequence of rounds, each with one rate. The steps are not counted; only their
//! outcomes are recorded. The rate that the search found is confirmed in a round that counts and is journaled, and the report shows the
//! figures of that round. If the rate does not hold, the aggregates are reset for the next confirmation. `common/core/src/search.rs` decides
//! which rate is next.

use std::sync::Arc;
use std::time::Duration;

use muster_core::passes::Passes;
use muster_core::schedule::Schedule;
use muster_core::search::{self, Figures, Next, Plan, Step};
use muster_report::result::{Ending, SearchStep};

use muster_report::units::{duration, figure};

use super::rounds::Rounds;
use super::sessions::Sessions;
use crate::run::keeper::{Keeper, KeeperHandle};
use crate::run::record::{Fact, Record};
use crate::run::round::{COUNTED, Layout, Round, RoundClock, RoundSpec};
use crate::run::rows::Rows;

/// The duration of the closed loop from which the first rate is estimated.
const PROBE: Duration = Duration::from_secs(2);

pub(super) struct Search<'s, 'a> {
    plan: Plan,
    seed: u64,
    passes: Passes,
    layout: &'s Layout,
    rounds: &'s mut Rounds<'a>,
    /// The keeper of the counted aggregates.
    keeper: &'s Keeper,
    handle: KeeperHandle,
    rows_of_worker: Vec<u64>,
    /// The rows of the round that counts.
    counted: Arc<Rows>,
    /// The number of the last round.
    number: u32,
}

impl<'s, 'a> Search<'s, 'a> {
    /// `round` is the round that counts until a confirmation replaces it.
    pub(super) fn new(
        plan: Plan,
        seed: u64,
        layout: &'s Layout,
        rounds: &'s mut Rounds<'a>,
        keeper: &'s Keeper,
        round: &Round,
    ) -> Self {
        Self {
            plan,
            seed,
            passes: *round.rows().passes(),
            layout,
            rounds,
            keeper,
            handle: round.keeper().clone(),
            rows_of_worker: layout.rows_of_worker(),
            counted: Arc::clone(round.rows()),
            number: COUNTED,
        }
    }

    /// Runs the whole search. Returns its end and the rows of the round that counts.
    pub(super) async fn run(mut self, round: Round) -> (Ending, Arc<Rows>) {
        // Losses between two rounds are handled in the context of the earlier one.
        self.sessions().set_round(Some(round.clone()));
        let ending = match self.run_steps().await {
            Ok(()) => Ending::Completed,
            Err(ending) => ending,
        };
        self.write().await;
        // Later facts are written to the journal of the counted rows.
        self.sessions().set_round(Some(round));
        (ending, self.counted)
    }

    async fn run_steps(&mut self) -> Result<(), Ending> {
        self.write().await;
        let Some(first) = self.first_rate().await? else {
            let log = self.sessions().log();
            log.report("no query completed in a closed loop, so there is no rate to start with");
            return Ok(());
        };
        while let Next::Run(step) =
            search::next(&self.plan, first, &self.rounds.events().sessions().record().search.steps)
        {
            let outcome = self.run_step(&step).await?;
            let message = describe(&outcome);
            self.sessions().log().note(Fact::Searched(Box::new(outcome)));
            self.sessions().log().display().println(&message);
            self.write().await;
        }
        Ok(())
    }

    /// The first rate: in a resumed search the earlier one, otherwise the requested one, otherwise an estimate from a closed loop.
    async fn first_rate(&mut self) -> Result<Option<f64>, Ending> {
        if let Some(first) = self.record().search.first_rate {
            return Ok(Some(first));
        }
        let first = match self.plan.from {
            Some(rate) => Some(rate),
            None => {
                self.rounds.regroup().await?;
                let lasts = PROBE.min(self.plan.step_time);
                let figures = self.run_uncounted("closed loop", lasts, None).await?;
                let mean_ms = figures.service.map(|service| service.mean);
                mean_ms.and_then(|mean| search::first_rate(mean, self.rows_of_worker.iter().copied()))
            }
        };
        if let Some(first_rate) = first {
            self.sessions().log().note(Fact::SearchBegan { first_rate });
        }
        Ok(first)
    }

    /// Runs one step, and repeats it once if an agent was lost during it, because then it measured fewer agents.
    async fn run_step(&mut self, step: &Step) -> Result<SearchStep, Ending> {
        let number = self.record().search.steps.len() + 1;
        let name = if step.is_confirmation { "confirmation" } else { "step" };
        let what = format!("{name} {number}: {} queries/s", figure(step.rate));
        let Some(schedule) = self.plan.schedule(step.rate, self.seed) else {
            return Err(Ending::Unfinished);
        };
        for _ in 0..2 {
            self.rounds.regroup().await?;
            let notice = format!("{what} for {}", duration(step.time.as_secs_f64() * 1e3));
            self.sessions().log().display().println(&notice);
            let losses = self.losses();
            let figures = match step.is_confirmation {
                true => self.confirm(&what, step, &schedule).await?,
                false => self.run_uncounted(&what, step.time, Some(&schedule)).await?,
            };
            if self.losses() == losses {
                let due = search::due_within(&schedule, &self.rows_of_worker, step.time);
                let workers = self.rows_of_worker.iter().filter(|rows| **rows > 0).count();
                return Ok(search::judge(&self.plan, step, due, workers, figures));
            }
            let log = self.sessions().log();
            log.report(format!("{what}: an agent was lost during it, so its result is discarded"));
        }
        self.sessions().log().report(format!(
            "{what}: agents were lost during it twice; the search ends with the steps so far"
        ));
        Err(Ending::AgentsLost)
    }

    /// Runs a round with separate aggregates. Without a schedule it is a closed loop.
    async fn run_uncounted(
        &mut self,
        what: &str,
        lasts: Duration,
        schedule: Option<&Schedule>,
    ) -> Result<Figures, Ending> {
        let spec = self.next_round(lasts, false);
        let (_keeper, round) = self.layout.uncounted(spec, self.passes, u32::MAX, schedule);
        let handle = round.keeper().clone();
        self.run_round(what, round, &handle).await
    }

    /// Runs a round that counts, unless a later one replaces it.
    async fn confirm(&mut self, what: &str, step: &Step, schedule: &Schedule) -> Result<Figures, Ending> {
        let spec = self.next_round(step.time, true);
        let (rows, tally) = self.layout.aggregates(spec.number, self.passes, u32::MAX, Some(schedule));
        let log = self.rounds.events().sessions().log();
        log.note(Fact::Confirming { rate: step.rate, lasts_ms: step.time.as_secs_f64() * 1e3 });
        let facts = log.take_unwritten();
        self.handle.restart(facts, Arc::clone(&rows), tally).await;
        self.counted = Arc::clone(&rows);
        let clock = RoundClock::new(spec, Duration::ZERO);
        let handle = self.handle.clone();
        let round = self.layout.round(clock, true, rows, self.keeper, handle.clone());
        self.run_round(what, round, &handle).await
    }

    fn next_round(&mut self, lasts: Duration, is_counted: bool) -> RoundSpec {
        self.number += 1;
        RoundSpec { number: self.number, lasts: Some(lasts), is_counted }
    }

    async fn run_round(
        &mut self,
        what: &str,
        mut round: Round,
        keeper: &KeeperHandle,
    ) -> Result<Figures, Ending> {
        round.step = Some(what.to_owned());
        match self.rounds.run(round).await {
            Ending::Completed => keeper.figures().await.ok_or(Ending::Unfinished),
            ending => Err(ending),
        }
    }

    /// The number of sessions that held a slot and were lost.
    fn losses(&mut self) -> usize {
        self.record().sessions.iter().filter(|session| session.lost.is_some()).count()
    }

    /// Writes the facts of uncounted rounds, too, so that a resumed search can continue from them.
    async fn write(&mut self) {
        let facts = self.sessions().log().take_unwritten();
        self.handle.note(facts).await;
    }

    fn sessions(&mut self) -> &mut Sessions<'a> {
        self.rounds.events().sessions()
    }

    fn record(&mut self) -> &Record {
        self.sessions().record()
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
