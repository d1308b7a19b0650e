//! Ending what lost sessions left in the database, for the coordinator, which has no connection to it.

use std::sync::Arc;

use muster_common::ids::{Epoch, RunId, SlotId};
use muster_common::limits;
use muster_proto::control::BackendsEnded;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::SessionError;
use crate::crew::Crew;

/// Backends that are being ended.
#[derive(Default)]
pub(super) struct Fences {
    endings: JoinSet<BackendsEnded>,
    /// One after the other: the workers have taken most of the connections that the server allows.
    turn: Arc<Mutex<()>>,
}

impl Fences {
    /// Begins to end a slot's backends of lost sessions.
    pub(super) fn end_backends(&mut self, crew: &Crew, run: &RunId, slot: SlotId, below: Epoch) {
        let ending = crew.end_backends(run, slot, below);
        let turn = Arc::clone(&self.turn);
        self.endings.spawn(async move {
            let _turn = turn.lock().await;
            let outcome = timeout(limits::END_BACKENDS_TIMEOUT, ending).await;
            let outcome = outcome.unwrap_or_else(|_| {
                Err(format!("older backends did not end within {:?}", limits::END_BACKENDS_TIMEOUT))
            });
            if let Err(problem) = &outcome {
                warn!("cannot end older backends of {slot}: {problem}");
            }
            BackendsEnded { slot, outcome }
        });
    }

    /// The next answer for the coordinator; pending for ever while nothing is being ended.
    pub(super) async fn next(&mut self) -> Result<BackendsEnded, SessionError> {
        match self.endings.join_next().await {
            Some(ended) => ended.map_err(|_| SessionError::WorkerLost),
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(mut self) {
        self.endings.shutdown().await;
    }
}
