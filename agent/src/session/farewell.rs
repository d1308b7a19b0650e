//! The end of a session: who asks for it, the last word, and what is left afterwards.

use std::time::Instant;

use muster_common::ids::SessionId;
use muster_common::limits;
use muster_common::outbox::Kept;
use muster_proto::control::FromAgent;
use tokio::time::timeout;
use tracing::info;

use super::{Session, SessionError, Work};
use crate::clock;

/// Who ends the session, and how far that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    NotYet,
    /// The run drains; Report follows.
    Run,
    /// This agent was asked to stop; Leave follows, at the latest then.
    Agent {
        deadline: Instant,
    },
    /// The last word is said.
    Said,
}

impl Session {
    /// Asked to stop: the queries in flight end, every result is delivered, then Leave.
    pub(super) fn begin_to_leave(&mut self) {
        info!("asked to stop: queries in flight may end, for at most {:?}", limits::DRAIN_TIMEOUT);
        self.farewell = Farewell::Agent { deadline: clock::now() + limits::DRAIN_TIMEOUT };
        self.may_end = true;
        self.crew.drain();
        if !self.has_started {
            // Connecting may take long, and nothing is run yet.
            self.crew.cancel();
        }
    }

    /// Report or Leave, once all workers are done and all results are acknowledged. True when that ends the session.
    pub(super) async fn say_last_word(&mut self) -> Result<bool, SessionError> {
        let Some(reports) = self.crew.reports() else { return Ok(false) };
        let has_nothing = matches!(self.work, Work::Waiting(_));
        match self.farewell {
            Farewell::Run if self.is_delivered => {
                self.finish_reporter().await;
                self.tell_start()?;
                self.control.send(FromAgent::Report(reports))?;
                self.farewell = Farewell::Said;
                Ok(false)
            }
            Farewell::Agent { .. } if self.is_delivered || has_nothing => {
                self.leave(true).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Says Leave and waits until the coordinator has closed a stream: closed from here first, that would be the loss, and nobody
    /// would learn the reason.
    pub(super) async fn leave(&mut self, drained: bool) -> Result<(), SessionError> {
        self.farewell = Farewell::Said;
        self.finish_reporter().await;
        self.crew.cancel();
        self.control.send(FromAgent::Leave { reason: "asked to stop".to_owned(), drained })?;
        let closed = async { while self.control.receive().await.is_ok() {} };
        // Who does not answer is left without a word.
        let _ = timeout(limits::FAREWELL_TIMEOUT, closed).await;
        Ok(())
    }

    /// The last word on how this agent fared comes before its last word.
    pub(super) async fn finish_reporter(&mut self) {
        if let Some(reporter) = self.reporter.take() {
            reporter.finish().await;
        }
    }

    /// Ends everything that this session started. Returns the results that nobody acknowledged, and the session if it held a slot and
    /// nothing of it runs any more.
    pub(super) async fn stop(self) -> (Vec<Kept>, Option<SessionId>) {
        self.fences.stop().await;
        self.looks.stop().await;
        self.crew.cancel();
        match self.work {
            Work::Open { stream, grant } => {
                let (outbox, has_stopped) = tokio::join!(stream.stop(), self.crew.stop());
                let session = SessionId { run: self.run, slot: grant.slot, epoch: grant.epoch };
                let kept = outbox.map(|outbox| outbox.into_kept(grant)).unwrap_or_default();
                (kept, has_stopped.then_some(session))
            }
            Work::Waiting(cargo) => {
                self.crew.stop().await;
                (cargo.outbox.into_inherited(), None)
            }
            Work::Opening => (Vec::new(), None),
        }
    }
}
