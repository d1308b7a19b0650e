//! Terminates backends that lost sessions left in the database. The coordinator requests it, because it has no connection to the database.

use std::sync::Arc;

use muster_common::ids::{Epoch, RunId, SlotId};
use muster_common::limits;
use muster_proto::control::BackendsEnded;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::SessionError;
use crate::worker_set::WorkerSet;

/// Requests in progress.
#[derive(Default)]
pub(super) struct Fences {
    requests: JoinSet<BackendsEnded>,
    /// Serializes the requests, because the workers use most of the connections that the server allows.
    lock: Arc<Mutex<()>>,
}

impl Fences {
    /// Begins to terminate the backends of a slot's lost sessions.
    pub(super) fn end_backends(&mut self, worker_set: &WorkerSet, run: &RunId, slot: SlotId, below: Epoch) {
        let request = worker_set.end_backends(run, slot, below);
        let lock = Arc::clone(&self.lock);
        self.requests.spawn(async move {
            let _guard = lock.lock().await;
            let outcome = timeout(limits::END_BACKENDS_TIMEOUT, request).await;
            let outcome = outcome.unwrap_or_else(|_| {
                Err(format!("older backends did not end within {:?}", limits::END_BACKENDS_TIMEOUT))
            });
            if let Err(problem) = &outcome {
                warn!("cannot terminate older backends of {slot}: {problem}");
            }
            BackendsEnded { slot, outcome }
        });
    }

    /// Returns the next reply for the coordinator. Never returns while there are no requests.
    pub(super) async fn next(&mut self) -> Result<BackendsEnded, SessionError> {
        match self.requests.join_next().await {
            Some(ended) => ended.map_err(|_| SessionError::WorkerLost),
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(mut self) {
        self.requests.shutdown().await;
    }
}
