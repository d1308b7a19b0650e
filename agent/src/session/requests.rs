//! Answers the coordinator's requests for which the database is needed, because the coordinator has no connection to it: statistics, plans,
//! and the termination of backends that lost sessions left. They run as separate tasks, so that no heartbeat waits for them.

use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{Epoch, RunId, SlotId};
use muster_core::limits;
use muster_core::server_side::Explain;
use muster_proto::control::{BackendsEnded, Explained, FromAgent, StatsReply, StatsRequest};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::session_end::SessionError;
use crate::worker_set::WorkerSet;

/// Requests in progress.
#[derive(Default)]
pub(super) struct Requests {
    replies: JoinSet<FromAgent>,
    /// Serializes the termination of backends, because the workers use most of the connections that the server allows.
    fencing: Arc<Mutex<()>>,
}

impl Requests {
    /// Begins to terminate the backends of a slot's lost sessions.
    pub(super) fn end_backends(&mut self, worker_set: &WorkerSet, run: &RunId, slot: SlotId, below: Epoch) {
        let request = worker_set.request(|pool| pool.end_backends(run, slot, below));
        let fencing = Arc::clone(&self.fencing);
        self.replies.spawn(async move {
            let _guard = fencing.lock().await;
            let outcome = within(limits::END_BACKENDS_TIMEOUT, "older backends did not end", request).await;
            if let Err(problem) = &outcome {
                warn!("cannot terminate older backends of {slot}: {problem}");
            }
            FromAgent::BackendsEnded(BackendsEnded { slot, outcome })
        });
    }

    pub(super) fn read_stats(&mut self, worker_set: &WorkerSet, run: &RunId, request: StatsRequest) {
        let StatsRequest { number, is_last } = request;
        let stats = worker_set.request(|pool| pool.read_stats(run, is_last));
        self.replies.spawn(async move {
            let outcome = within(limits::STATS_TIMEOUT, "no answer", stats).await;
            if let Err(problem) = &outcome {
                debug!("cannot read the server's statistics: {problem}");
            }
            FromAgent::StatsReply(StatsReply { number, outcome: outcome.map(Box::new) })
        });
    }

    pub(super) fn explain(&mut self, worker_set: &WorkerSet, run: &RunId, request: Explain) {
        let number = request.number;
        // Longer than the request's timeout, at which the server ends the query.
        let limit = request.timeout + limits::STATS_TIMEOUT;
        let plan = worker_set.request(|pool| pool.explain(run, request));
        self.replies.spawn(async move {
            let outcome = within(limit, "no answer", plan).await;
            FromAgent::Explained(Explained { number, outcome })
        });
    }

    /// Returns the next reply for the coordinator. Never returns while there are no requests.
    pub(super) async fn next(&mut self) -> Result<FromAgent, SessionError> {
        match self.replies.join_next().await {
            Some(reply) => reply.map_err(|_| SessionError::WorkerLost),
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(mut self) {
        self.replies.shutdown().await;
    }
}

async fn within<T>(
    limit: Duration,
    problem: &str,
    request: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    timeout(limit, request).await.unwrap_or_else(|_| Err(format!("{problem} within {limit:?}")))
}
