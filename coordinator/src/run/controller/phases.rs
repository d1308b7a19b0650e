//! The order of a run: wait for agents → place hosts → rounds (warm-up, steps of a search), of which the last counts → drain → read server
//! statistics → bye.

use std::sync::Arc;

use muster_core::load::Warmup;
use muster_core::passes::Passes;
use muster_core::placement::Assignment;
use muster_core::schedule::Schedule;
use muster_report::result::Ending;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ending::{bye_reason, dismiss, drain};
use super::error::RunError;
use super::event_loop::EventLoop;
use super::joining::prepare_agents;
use super::log::RunLog;
use super::messages::ListenAddress;
use super::rounds::Rounds;
use super::search::Search;
use super::sessions::Sessions;
use super::statistics::{collect_stats_after, explain_slowest};
use crate::clock;
use crate::journal::Writer;
use crate::progress::ProgressDisplay;
use crate::run::keeper::Keeper;
use crate::run::link::Call;
use crate::run::plan::RunPlan;
use crate::run::record::{Fact, Record};
use crate::run::replay::Replayed;
use crate::run::results::Dropped;
use crate::run::round::{Layout, Round, RoundSpec, WARMUP};
use crate::run::rows::Rows;
use crate::run::slowest::Slowest;

pub(crate) struct RunController<'a> {
    plan: Arc<RunPlan>,
    rounds: Rounds<'a>,
}

/// The state at the end of the run. No handle of the keeper is left, so it can be closed.
pub(crate) struct Conclusion {
    pub(crate) record: Record,
    pub(crate) assignment: Assignment,
    pub(crate) keeper: Keeper,
    pub(crate) rows: Arc<Rows>,
}

impl<'a> RunController<'a> {
    pub(crate) fn new(
        plan: Arc<RunPlan>,
        listen_address: ListenAddress,
        calls: mpsc::Receiver<Call>,
        display: &'a ProgressDisplay,
        interrupt: CancellationToken,
    ) -> Self {
        let sessions =
            Sessions::new(Arc::clone(&plan), listen_address, RunLog::new(display, plan.live.clone()));
        Self { plan, rounds: Rounds::new(EventLoop::new(calls, interrupt, sessions)) }
    }

    pub(crate) async fn run(
        mut self,
        journal: Option<Writer>,
        mut resumed: Option<Replayed>,
    ) -> Result<Conclusion, RunError> {
        if let Some(replayed) = &mut resumed {
            self.sessions().resume(std::mem::take(&mut replayed.record));
        }
        let join_timeout = self.plan.join_timeout;
        if let Err(error) = prepare_agents(self.rounds.events(), join_timeout, resumed.is_some()).await {
            dismiss(self.rounds.events(), "the run did not start").await;
            return Err(error);
        }
        let (layout, keeper, round) = self.lay_out(journal, resumed);
        self.plan.metrics.set_progress(|| keeper.progress());
        let mut warmed_up = Slowest::default();
        let (ending, rows) = match self.warm_up(&layout, &mut warmed_up).await {
            Ok(()) => self.run_rows(&layout, &keeper, round).await,
            Err(ending) => {
                // Events of the warm-up are written to the journal even so.
                let rows = Arc::clone(round.rows());
                self.sessions().set_round(Some(round));
                self.rounds.events().write_down().await;
                (ending, rows)
            }
        };
        drain(self.rounds.events(), ending).await;
        let start_skew = self.sessions().members().start_skew();
        self.rounds.close().await;
        let is_open = self.rounds.has_stats_before();
        collect_stats_after(self.rounds.events(), ending, is_open).await;
        explain_slowest(self.rounds.events(), &self.plan, &warmed_up, ending).await;
        dismiss(self.rounds.events(), bye_reason(ending)).await;
        self.close_if_endless(&layout, &rows);
        if ending != Ending::WorkloadUnreadable {
            self.report_changed_workload();
        }
        let Dropped { duplicates, stale } = rows.dropped();
        let start_skew_ns = start_skew.map(|skew| u64::try_from(skew.as_nanos()).unwrap_or(u64::MAX));
        self.sessions().log().note(Fact::Ended { ending, start_skew_ns, duplicates, stale });
        self.rounds.events().write_down().await;
        // The keeper ends when no session can settle rows any more.
        let record = self.rounds.into_events().into_sessions().into_record();
        Ok(Conclusion { record, assignment: layout.into_assignment(), keeper, rows })
    }

    fn sessions(&mut self) -> &mut Sessions<'a> {
        self.rounds.events().sessions()
    }

    /// Starts the run with the agents that have joined: places the hosts, and lays out the round that counts.
    fn lay_out(&mut self, journal: Option<Writer>, resumed: Option<Replayed>) -> (Layout, Keeper, Round) {
        let plan = Arc::clone(&self.plan);
        let sessions = self.sessions();
        sessions.start();
        let layout = Layout::new(plan, sessions.record());
        let ran_for_ns = sessions.former_sessions_ran_for_ns();
        let (keeper, round) = layout.counted(journal, resumed, sessions.record(), ran_for_ns);
        (layout, keeper, round)
    }

    /// Runs the warm-up, which is not counted. Returns `Err` if the run ended during it.
    async fn warm_up(&mut self, layout: &Layout, warmed_up: &mut Slowest) -> Result<(), Ending> {
        let load = &self.plan.spec.session.load;
        let Some(warmup) = load.warmup else { return Ok(()) };
        let records = self.plan.workload.rows();
        let (passes, records_max, lasts) = match warmup {
            Warmup::Rows(rows) => {
                let passes = load.warmup_passes(records, rows);
                (passes.expect("checked before the port was bound"), rows, None)
            }
            Warmup::Time(time) => {
                (Passes::endless(records, self.plan.passes.targets(), load.seed), u32::MAX, Some(time))
            }
        };
        let spec = RoundSpec { number: WARMUP, lasts, is_counted: false };
        let schedule = load.schedule.as_ref().map(Schedule::at_initial_rate);
        let (keeper, round) = layout.uncounted(spec, passes, records_max, schedule.as_ref());
        let (handle, began) = (round.keeper().clone(), clock::now());
        let ending = self.rounds.run(round).await;
        *warmed_up = handle.slowest().await.unwrap_or_default();
        self.sessions().set_round(None);
        let (completed, failed) = {
            let aggregates = keeper.progress();
            let aggregates = aggregates.borrow();
            (aggregates.completed, aggregates.failed)
        };
        self.sessions().log().log(format!(
            "warm-up: {completed} queries completed and {failed} failed in {:.1} s; they are not counted",
            clock::since(began).as_secs_f64()
        ));
        match ending {
            Ending::Completed => Ok(()),
            ending => Err(ending),
        }
    }

    /// Runs the round that is reported, or a search. Returns the rows that count.
    async fn run_rows(&mut self, layout: &Layout, keeper: &Keeper, round: Round) -> (Ending, Arc<Rows>) {
        if let Some(plan) = self.plan.spec.session.load.search.clone() {
            let search =
                Search::new(plan, self.plan.spec.session.load.seed, layout, &mut self.rounds, keeper, &round);
            return search.run(round).await;
        }
        // The joins are written to the journal before the first row.
        let facts = self.sessions().log().take_unwritten();
        round.keeper().note(facts).await;
        let rows = Arc::clone(round.rows());
        let ending = self.rounds.run(round).await;
        self.rounds.events().write_down().await;
        (ending, rows)
    }

    /// In passes that the clock ends, only rows of sessions without a final report can be missing.
    fn close_if_endless(&mut self, layout: &Layout, rows: &Rows) {
        let sessions = self.sessions();
        let unreported = sessions.members().unreported().filter(|grant| {
            let session = sessions.record().session(grant.epoch);
            session.and_then(|session| session.lost.as_ref()).is_none_or(|loss| !loss.is_drained)
        });
        rows.close_if_endless(unreported.map(|grant| (layout.workers_of(grant.slot), grant.epoch)));
    }

    /// Reports that the workload file has changed. Every row that ran had the verified values: a row with other values would have ended the
    /// run.
    fn report_changed_workload(&mut self) {
        let workload = Arc::clone(&self.plan.workload);
        if clock::blocking(|| workload.has_changed()) {
            let log = self.sessions().log();
            log.report(format!("workload file '{}' changed while the run was reading it", workload.file()));
            log.note(Fact::WorkloadChanged);
        }
    }
}
