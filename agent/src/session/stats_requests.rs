//! Answers the coordinator's requests for server statistics and plans, because the coordinator has no connection to the database. They run
//! as separate tasks, so that no heartbeat waits for them.

use muster_common::ids::RunId;
use muster_common::limits;
use muster_proto::control::{Explain, Explained, FromAgent, StatsReply, StatsRequest};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::SessionError;
use crate::worker_set::WorkerSet;

/// Requests in progress. The coordinator sends one after the other.
#[derive(Default)]
pub(super) struct StatsRequests(JoinSet<FromAgent>);

impl StatsRequests {
    pub(super) fn read_stats(&mut self, worker_set: &WorkerSet, run: &RunId, request: StatsRequest) {
        let StatsRequest { number, is_last } = request;
        let stats = worker_set.read_stats(run, is_last);
        self.0.spawn(async move {
            let outcome = timeout(limits::STATS_TIMEOUT, stats).await;
            let outcome =
                outcome.unwrap_or_else(|_| Err(format!("no answer within {:?}", limits::STATS_TIMEOUT)));
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
        let explain = worker_set.explain(run, request);
        self.0.spawn(async move {
            let outcome = timeout(limit, explain).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
            FromAgent::Explained(Explained { number, outcome })
        });
    }

    /// Returns the next reply for the coordinator. Never returns while there are no requests.
    pub(super) async fn next(&mut self) -> Result<FromAgent, SessionError> {
        match self.0.join_next().await {
            Some(reply) => reply.map_err(|_| SessionError::WorkerLost),
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}
