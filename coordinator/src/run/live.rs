//! The run while it goes on, for the page of `--web`: what is known so far, collected when a page asks for it. Without `--web` every method
//! returns at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_report::result::RunResult;
use muster_report::units::{count, counted};

use super::keeper::{KeeperHandle, WeakKeeper};
use super::metrics::{Stage, Status};
use super::plan::RunPlan;
use super::record::{Fact, Record};
use super::summary;
use crate::clock;
use crate::progress::clock_text;

/// A handle to the state of one run, shared by its clones. The default is disabled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live(Option<Arc<Mutex<State>>>);

#[derive(Debug, Default)]
struct State {
    record: Record,
    status: Status,
    /// The keeper of the current round. It may end while this exists.
    keeper: Option<WeakKeeper>,
    round: Round,
}

/// What is known of a round in advance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    /// The step of a search, or the warm-up. `None` for the round that counts.
    pub(crate) step: Option<String>,
    /// Rows in all passes; 0 if the clock ends the round.
    pub(crate) rows: u64,
    pub(crate) lasts: Option<Duration>,
}

/// What is known so far.
pub(crate) struct SoFar {
    pub(crate) result: RunResult,
    /// What the run does at the moment, such as `running: 1,234 of 20,000 rows`.
    pub(crate) stage: String,
}

impl Live {
    pub(crate) fn enabled() -> Self {
        Self(Some(Arc::default()))
    }

    pub(crate) fn resume(&self, record: &Record) {
        self.with(|state| state.record = record.clone());
    }

    pub(crate) fn apply(&self, fact: &Fact) {
        self.with(|state| state.record.apply(fact.clone()));
    }

    pub(crate) fn set_status(&self, status: impl FnOnce() -> Status) {
        self.with(|state| state.status = status());
    }

    pub(crate) fn begin(&self, keeper: &KeeperHandle, round: Round) {
        self.with(|state| (state.keeper, state.round) = (Some(keeper.downgrade()), round));
    }

    /// Returns what is known so far. `None` without `--web` and `--tui`, and when nothing changes any more, because the rows are added up.
    pub(crate) async fn so_far(&self, plan: &RunPlan) -> Option<SoFar> {
        let (record, status, keeper, round) = {
            let state = self.state()?;
            (state.record.clone(), state.status, state.keeper.clone(), state.round.clone())
        };
        let snapshot = match keeper {
            Some(keeper) => Some(keeper.upgrade()?.snapshot().await?),
            None => None,
        };
        let result = summary::so_far(&plan.subject(), &record, snapshot.as_ref());
        let done = result.queries.completed + result.queries.failed;
        let left = left(&status, &round, done).map(clock_text);
        let left = left.map_or(String::new(), |left| format!(", about {left} left"));
        Some(SoFar { stage: format!("{}{left}", stage(&status, &round, done)), result })
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        if let Some(mut state) = self.state() {
            change(&mut state);
        }
    }
}

/// The estimated time until the round ends; `None` unless rows run.
fn left(status: &Status, round: &Round, done: u64) -> Option<Duration> {
    let ran_for = clock::now().checked_duration_since(status.started?)?;
    match round.lasts {
        Some(lasts) => Some(lasts.saturating_sub(ran_for)),
        None if done == 0 => None,
        None => Some(ran_for.mul_f64(round.rows.checked_sub(done)? as f64 / done as f64)),
    }
}

fn stage(status: &Status, round: &Round, done: u64) -> String {
    let Status { stage, agents_wanted, agents_joined, .. } = *status;
    match stage {
        None | Some(Stage::WaitingForAgents) => {
            format!("waiting for agents: {} of {} joined", count(agents_joined), count(agents_wanted))
        }
        Some(Stage::Preparing) => "agents connect to the database and prepare".to_owned(),
        Some(Stage::Armed) => "about to start".to_owned(),
        Some(Stage::Running) => {
            let rows = match round.rows {
                0 => counted(done, "row"),
                rows => format!("{} of {}", count(done), counted(rows, "row")),
            };
            round.step.as_ref().map_or(rows.clone(), |step| format!("{step}: {rows}"))
        }
        Some(Stage::Draining | Stage::Over) => "waiting for the last queries".to_owned(),
    }
}
