//! Looks at the server for the coordinator, which has no connection to it: beside everything else that the session does, so that no
//! beat waits for them.

use muster_common::ids::RunId;
use muster_common::limits;
use muster_proto::control::{Explain, Explained, FromAgent, Look, Seen};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::SessionError;
use crate::crew::Crew;

/// Questions whose answers are awaited. A coordinator asks one after the other.
#[derive(Default)]
pub(super) struct Looks(JoinSet<FromAgent>);

impl Looks {
    pub(super) fn look(&mut self, crew: &Crew, run: &RunId, Look { number, is_last }: Look) {
        let look = crew.look(run, is_last);
        self.0.spawn(async move {
            let outcome = timeout(limits::LOOK_TIMEOUT, look).await;
            let outcome =
                outcome.unwrap_or_else(|_| Err(format!("no answer within {:?}", limits::LOOK_TIMEOUT)));
            if let Err(problem) = &outcome {
                debug!("cannot look at the server's counters: {problem}");
            }
            FromAgent::Seen(Seen { number, outcome: outcome.map(Box::new) })
        });
    }

    pub(super) fn explain(&mut self, crew: &Crew, run: &RunId, asked: Explain) {
        let number = asked.number;
        // The server ends it by itself in its time.
        let patience = asked.timeout + limits::LOOK_TIMEOUT;
        let explain = crew.explain(run, asked);
        self.0.spawn(async move {
            let outcome = timeout(patience, explain).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
            FromAgent::Explained(Explained { number, outcome })
        });
    }

    /// The next answer for the coordinator; pending for ever while none is due.
    pub(super) async fn next(&mut self) -> Result<FromAgent, SessionError> {
        match self.0.join_next().await {
            Some(answer) => answer.map_err(|_| SessionError::WorkerLost),
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}
