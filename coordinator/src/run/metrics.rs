//! What a coordinator tells of its run to whoever watches it: where the conductor stands, as it last said, and what the keeper has counted,
//! as its progress shows; so it costs no row more than a place among the tally's buckets. Without `--metrics` every verb returns at once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use muster_agent::metrics::{BindError, Page, Server, Source};
use tokio::sync::watch;

use super::keeper::Progress;

/// A handle; all clones are of one run. The default tells nobody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(Option<Arc<Mutex<Seen>>>);

#[derive(Debug, Default)]
struct Seen {
    standing: Standing,
    /// Of the books that count; `None` before there are any.
    progress: Option<watch::Receiver<Progress>>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// `None` until agents may join.
    pub(crate) stage: Option<Stage>,
    /// Of all passes; 0 when the clock ends the run.
    pub(crate) rows: u64,
    pub(crate) agents_wanted: u64,
    /// They hold a slot.
    pub(crate) agents_joined: u64,
    /// Among those, the ones that have started and not reported.
    pub(crate) agents_running: u64,
    /// While they ran rows.
    pub(crate) agents_lost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Gathering,
    Preparing,
    Armed,
    Running,
    Draining,
    Over,
}

const STAGES: [(Stage, &str); 6] = [
    (Stage::Gathering, "gathering"),
    (Stage::Preparing, "preparing"),
    (Stage::Armed, "armed"),
    (Stage::Running, "running"),
    (Stage::Draining, "draining"),
    (Stage::Over, "over"),
];

impl Metrics {
    /// For a run that somebody watches.
    pub(crate) fn on() -> Self {
        Self(Some(Arc::default()))
    }

    /// Those of a run that is to serve them at `address`, and their server; without one, none.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) async fn serve(address: Option<SocketAddr>) -> Result<(Self, Option<Server>), BindError> {
        let Some(address) = address else { return Ok((Self::default(), None)) };
        let metrics = Self::on();
        let server = Server::start(address, metrics.clone()).await?;
        Ok((metrics, Some(server)))
    }

    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn stand(&self, standing: impl FnOnce() -> Standing) {
        self.with(|seen| seen.standing = standing());
    }

    /// Nobody takes part any more.
    pub(crate) fn stand_at_the_end(&self) {
        self.with(|seen| {
            let stage = Some(Stage::Over);
            seen.standing = Standing { stage, agents_joined: 0, agents_running: 0, ..seen.standing };
        });
    }

    /// These are the books that count.
    pub(crate) fn follow(&self, progress: impl FnOnce() -> watch::Receiver<Progress>) {
        self.with(|seen| seen.progress = Some(progress()));
    }

    fn with(&self, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = &self.0 {
            change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Source for Metrics {
    fn tell(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(seen) = &self.0 else { return Ok(()) };
        let (standing, progress) = {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            (seen.standing, seen.progress.as_ref().map(|progress| progress.borrow().clone()))
        };
        tell_standing(&standing, page)?;
        tell_progress(&progress.unwrap_or_default(), page)
    }
}

fn tell_standing(standing: &Standing, page: &mut Page<'_>) -> fmt::Result {
    let Standing { stage, rows, agents_wanted, agents_joined, agents_running, agents_lost } = *standing;
    page.gauge("muster_rows", "Rows of the run in all its passes; 0 when the clock ends it", rows)?;
    page.gauges(
        "muster_agents",
        "Agents that the run wants, that have a slot, and that run rows",
        "state",
        [("wanted", agents_wanted), ("joined", agents_joined), ("running", agents_running)],
    )?;
    page.counter("muster_agents_lost_total", "Agents that were lost while they ran rows", agents_lost)?;
    page.gauges(
        "muster_run_phase",
        "1 for the phase that the run is in; none before agents may join",
        "phase",
        STAGES.map(|(of, name)| (name, u64::from(stage == Some(of)))),
    )
}

fn tell_progress(progress: &Progress, page: &mut Page<'_>) -> fmt::Result {
    let Progress { completed, failed, retried, service_times, .. } = progress;
    page.counters(
        "muster_queries_total",
        "Rows that have a result; a warm-up and the steps of a search do not count",
        "outcome",
        [("completed", *completed), ("failed", *failed)],
    )?;
    page.histogram(
        "muster_service_time_seconds",
        "From sending a query to the last byte of its answer, of the completed ones",
        service_times.as_ref().unwrap_or(&Default::default()),
    )?;
    page.counter(
        "muster_rows_retried_total",
        "Rows with a result that may have run before, in a session that was lost",
        *retried,
    )
}
