//! What the pages get: the body so far, rendered again only if it is old, and the files of the finished run.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
    /// `None` until the plan of the run is made.
    plan: OnceLock<Arc<RunPlan>>,
    latest: Mutex<Option<(Instant, Arc<str>)>>,
    finished: watch::Sender<Option<Finished>>,
}

/// The files of a finished run.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) body: Arc<str>,
    pub(super) html: Arc<str>,
    pub(super) json: Arc<str>,
    pub(super) csv: Arc<str>,
}

impl Pages {
    pub(super) fn new(live: Live) -> Self {
        let (plan, latest) = (OnceLock::new(), Mutex::new(None));
        Self(Arc::new(State { live, plan, latest, finished: watch::Sender::new(None) }))
    }

    pub(super) fn set_plan(&self, plan: Arc<RunPlan>) {
        let _ = self.0.plan.set(plan);
    }

    /// The body of the page. Pages that ask at the same time share one rendering.
    pub(super) async fn body(&self) -> Arc<str> {
        const AGE_MAX: Duration = Duration::from_millis(1_000 / limits::WEB_RENDERS_PER_SECOND);
        if let Some(finished) = self.finished() {
            return finished.body;
        }
        let mut latest = self.0.latest.lock().await;
        if let Some((at, body)) = latest.as_ref().filter(|(at, _)| at.elapsed() < AGE_MAX) {
            let _ = at;
            return Arc::clone(body);
        }
        let body = self.render().await;
        *latest = Some((Instant::now(), Arc::clone(&body)));
        body
    }

    async fn render(&self) -> Arc<str> {
        let so_far = match self.0.plan.get() {
            Some(plan) => self.0.live.so_far(plan).await,
            None => None,
        };
        let Some(SoFar { result, stage }) = so_far else {
            return "<main><p>The run is about to start.</p></main>".into();
        };
        let rendered = blocking("web", move || html::in_progress(&result, &stage)).await;
        rendered.unwrap_or_else(|broken| format!("<main><p>{broken}</p></main>")).into()
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

    /// The number of pages that wait for the end.
    pub(super) fn waiting(&self) -> usize {
        self.0.finished.receiver_count()
    }
}
