//! What the pages get: the body so far, rendered again only if it is old, and the files of the finished run.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use muster_core::limits;
use muster_process::blocking::blocking;
use muster_report::result::RunResult;
use muster_report::{Format, html, render};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::run::{Live, RunPlan, SoFar};

#[derive(Clone)]
pub(super) struct Pages(Arc<State>);

struct State {
    live: Live,
    /// Empty until the plan of the run is made.
    plan: OnceLock<Arc<RunPlan>>,
    latest: Mutex<Latest>,
    finished: watch::Sender<Option<Finished>>,
}

/// The latest body.
struct Latest {
    body: Bytes,
    /// When it was rendered, or began to be; `None` at first.
    at: Option<Instant>,
}

/// The files of a finished run.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) body: Bytes,
    pub(super) html: Bytes,
    pub(super) json: Bytes,
    pub(super) csv: Bytes,
}

impl Pages {
    pub(super) fn new(live: Live) -> Self {
        let body = Bytes::from_static(b"<main><p>The run is about to start.</p></main>");
        let latest = Mutex::new(Latest { body, at: None });
        Self(Arc::new(State { live, plan: OnceLock::new(), latest, finished: watch::Sender::new(None) }))
    }

    pub(super) fn set_plan(&self, plan: Arc<RunPlan>) {
        let _ = self.0.plan.set(plan);
    }

    /// The body of the page. Pages that ask at the same time share one rendering.
    pub(super) async fn body(&self) -> Bytes {
        const AGE_MAX: Duration = Duration::from_millis(1_000 / limits::WEB_RENDERS_PER_SECOND);
        let mut latest = self.0.latest.lock().await;
        if latest.at.is_none_or(|at| at.elapsed() >= AGE_MAX) && self.finished().is_none() {
            // Set first, because a client that goes away ends this function but not the rendering.
            latest.at = Some(Instant::now());
            if let Some(body) = self.render().await {
                latest.body = body;
            }
        }
        // The run may have finished meanwhile.
        self.finished().map_or_else(|| latest.body.clone(), |finished| finished.body)
    }

    /// Returns `None` if there is nothing newer than the latest body.
    async fn render(&self) -> Option<Bytes> {
        let SoFar { result, stage } = self.0.live.so_far(self.0.plan.get()?).await?;
        let rendered = blocking("web", move || html::in_progress(&result, &stage)).await;
        rendered
            .inspect_err(|broken| tracing::error!("cannot render the live page: {broken}"))
            .ok()
            .map(Bytes::from)
    }

    pub(super) fn finish(&self, result: &RunResult) {
        let [html, json, csv] =
            [Format::Html, Format::Json, Format::Csv].map(|format| render(format, result).into());
        let body = html::finished(result).into();
        self.0.finished.send_replace(Some(Finished { body, html, json, csv }));
    }

    pub(super) fn finished(&self) -> Option<Finished> {
        self.0.finished.borrow().clone()
    }

    /// Changes once, when the run has finished.
    pub(super) fn finishing(&self) -> watch::Receiver<Option<Finished>> {
        self.0.finished.subscribe()
    }

    /// The number of pages that wait for news or for the files.
    pub(super) fn waiting(&self) -> usize {
        self.0.finished.receiver_count()
    }

    /// Returns true if a page has asked for the body a short time ago.
    pub(super) async fn was_seen(&self) -> bool {
        self.0.latest.lock().await.at.is_some_and(|at| at.elapsed() < limits::WEB_FINISH_TIMEOUT)
    }
}
