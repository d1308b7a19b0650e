//! The coordinator's Prometheus metrics: the status that the controller last set, and the counters from the keeper's progress. The only
//! cost per row is one update of the tally's buckets. Without `--metrics` every method returns at once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use muster_net::metrics::{BindError, Page, Server, Source};
use tokio::sync::watch;

use super::keeper::Progress;

/// A handle to the metrics of one run, shared by its clones. The default is disabled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(Option<Arc<Mutex<State>>>);

#[derive(Debug, Default)]
struct State {
    status: Status,
    /// The progress of the counted aggregates. `None` before they exist.
    progress: Option<watch::Receiver<Progress>>,
}

/// The status of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Status {
    /// `None` until agents may join.
    pub(crate) stage: Option<Stage>,
    /// The number of rows in all passes; 0 if the clock ends the run.
    pub(crate) rows: u64,
    pub(crate) agents_wanted: u64,
    /// Agents that hold a slot.
    pub(crate) agents_joined: u64,
    /// Joined agents that have started and not yet sent their final report.
    pub(crate) agents_running: u64,
    /// Agents that were lost while they ran rows.
    pub(crate) agents_lost: u64,
    /// When the rows of the current round started; not a metric.
    pub(crate) started: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    WaitingForAgents,
    Preparing,
    Armed,
    Running,
    Draining,
    Over,
}

const STAGES: [(Stage, &str); 6] = [
    (Stage::WaitingForAgents, "gathering"),
    (Stage::Preparing, "preparing"),
    (Stage::Armed, "armed"),
    (Stage::Running, "running"),
    (Stage::Draining, "draining"),
    (Stage::Over, "over"),
];

impl Metrics {
    /// Creates enabled metrics.
    pub(crate) fn enabled() -> Self {
        Self(Some(Arc::default()))
    }

    /// Creates metrics and starts their server at `address`. Without an address, the metrics are disabled and there is no server.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn serve(address: Option<SocketAddr>) -> Result<(Self, Option<Server>), BindError> {
        let Some(address) = address else { return Ok((Self::default(), None)) };
        let metrics = Self::enabled();
        let server = Server::start(address, metrics.clone()).await?;
        Ok((metrics, Some(server)))
    }

    pub(crate) fn are_enabled(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn set_status(&self, status: impl FnOnce() -> Status) {
        self.with(|state| state.status = status());
    }

    /// Sets the status of a run that is over: no agent takes part any more.
    pub(crate) fn set_over(&self) {
        self.with(|state| {
            let stage = Some(Stage::Over);
            state.status = Status { stage, agents_joined: 0, agents_running: 0, ..state.status };
        });
    }

    /// Sets the progress of the counted aggregates as the source of the counters.
    pub(crate) fn set_progress(&self, progress: impl FnOnce() -> watch::Receiver<Progress>) {
        self.with(|state| state.progress = Some(progress()));
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        if let Some(state) = &self.0 {
            change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Source for Metrics {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(state) = &self.0 else { return Ok(()) };
        let (status, progress) = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.status, state.progress.as_ref().map(|progress| progress.borrow().clone()))
        };
        write_status(&status, page)?;
        write_progress(&progress.unwrap_or_default(), page)
    }
}

fn write_status(status: &Status, page: &mut Page<'_>) -> fmt::Result {
    let Status { stage, rows, agents_wanted, agents_joined, agents_running, agents_lost, started: _ } =
        *status;
    page.gauge("muster_rows", "Rows of the run in all passes; 0 if the clock ends the run", rows)?;
    page.gauges(
        "muster_agents",
        "Agents that the run requires, that hold a slot, and that run rows",
        "state",
        [("wanted", agents_wanted), ("joined", agents_joined), ("running", agents_running)],
    )?;
    page.counter("muster_agents_lost_total", "Agents that were lost while they ran rows", agents_lost)?;
    page.gauges(
        "muster_run_phase",
        "1 for the current phase of the run, 0 for the others; all 0 before agents may join",
        "phase",
        STAGES.map(|(of, name)| (name, u64::from(stage == Some(of)))),
    )
}

fn write_progress(progress: &Progress, page: &mut Page<'_>) -> fmt::Result {
    let Progress { completed, failed, retried, service_times, .. } = progress;
    page.counters(
        "muster_queries_total",
        "Rows that have a result, except those of a warm-up and of the steps of a search",
        "outcome",
        [("completed", *completed), ("failed", *failed)],
    )?;
    page.histogram(
        "muster_service_time_seconds",
        "Service time of completed queries: from sending a query to the last byte of its result",
        service_times.as_ref().unwrap_or(&Default::default()),
    )?;
    page.counter(
        "muster_rows_retried_total",
        "Rows with a result that may have run before in a lost session",
        *retried,
    )
}
