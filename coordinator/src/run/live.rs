//! The run while it goes on, for the page of `--web`: what is known so far, collected when a page asks for it. Without `--web` every method
//! returns at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_report::result::RunResult;

use super::keeper::{KeeperHandle, WeakKeeper};
use super::metrics::{Stage, Status};
use super::plan::RunPlan;
use super::record::{Fact, Record};
use super::summary;
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
    /// The step of a search, or the warm-up.
    step: Option<String>,
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

    /// A round begins. `step` names it, unless it is the one that counts.
    pub(crate) fn begin(&self, keeper: &KeeperHandle, step: Option<String>) {
        self.with(|state| (state.keeper, state.step) = (Some(keeper.downgrade()), step));
    }

    /// Returns what is known so far; `None` without `--web`.
    pub(crate) async fn so_far(&self, plan: &RunPlan) -> Option<SoFar> {
        let (record, status, keeper, step) = {
            let state = self.state()?;
            (state.record.clone(), state.status, state.keeper.clone(), state.step.clone())
        };
        let snapshot = match keeper.and_then(|keeper| keeper.upgrade()) {
            Some(keeper) => keeper.snapshot().await,
            None => None,
        };
        let result = summary::so_far(&plan.subject(), &record, snapshot.as_ref());
        let done = result.queries.completed + result.queries.failed;
        let left = left(plan, &status, done, result.wall_time_ms).map(clock_text);
        let left = left.map_or(String::new(), |left| format!(", about {left} left"));
        Some(SoFar { stage: format!("{}{left}", stage(&status, step, done)), result })
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

/// The estimated time until the run ends; `None` unless rows run.
fn left(plan: &RunPlan, status: &Status, done: u64, ran_for_ms: f64) -> Option<Duration> {
    if status.stage != Some(Stage::Running) || done == 0 {
        return None;
    }
    let ran_for = Duration::try_from_secs_f64(ran_for_ms / 1e3).ok()?;
    match plan.spec.session.load.duration {
        Some(duration) => Some(duration.saturating_sub(ran_for)),
        None => {
            let rows_left = status.rows.checked_sub(done)?;
            Some(ran_for.mul_f64(rows_left as f64 / done as f64))
        }
    }
}

fn stage(status: &Status, step: Option<String>, done: u64) -> String {
    use muster_report::units::{count, counted};
    let Status { stage, rows, agents_wanted, agents_joined, .. } = *status;
    match stage {
        None | Some(Stage::WaitingForAgents) => {
            format!("waiting for agents: {} of {} joined", count(agents_joined), count(agents_wanted))
        }
        Some(Stage::Preparing) => "agents connect to the database and prepare".to_owned(),
        Some(Stage::Armed) => "about to start".to_owned(),
        Some(Stage::Running) => {
            let rows = match rows {
                0 => counted(done, "row"),
                rows => format!("{} of {}", count(done), counted(rows, "row")),
            };
            step.map_or(rows.clone(), |step| format!("{step}: {rows}"))
        }
        Some(Stage::Draining | Stage::Over) => "waiting for the last queries".to_owned(),
    }
}
