//! The end of a session: who asks for it, the last word, and what is left afterwards.

use std::time::Instant;

use muster_common::limits;
use muster_common::outbox::{Kept, Outbox};
use muster_common::session_token::GrantedSession;
use muster_common::slots::Grant;
use muster_proto::control::{FromAgent, Ran};
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

/// The remains of a session.
pub(super) struct Left {
    /// Results that were not acknowledged.
    pub(super) results: Vec<Kept>,
    /// The sessions that measured them.
    pub(super) sessions: Vec<GrantedSession>,
    /// The session itself, if it held a slot and none of its queries runs any more.
    pub(super) ended: Option<GrantedSession>,
    /// How far the session came, if it ran rows.
    pub(super) ran: Option<Ran>,
}

impl Session {
    /// Asked to stop: the queries in flight end, every result is delivered, then Leave.
    pub(super) fn begin_to_leave(&mut self) {
        info!("asked to stop: queries in flight may end, for at most {:?}", limits::DRAIN_TIMEOUT);
        self.farewell = Farewell::Agent { deadline: clock::now() + limits::DRAIN_TIMEOUT };
        self.drain();
    }

    /// Queries in flight may end, and no further row begins.
    pub(super) fn drain(&mut self) {
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
                self.report_reconnects()?;
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
        self.report_reconnects()?;
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

    /// Ends everything that this session started.
    pub(super) async fn stop(self) -> Left {
        self.fences.stop().await;
        self.looks.stop().await;
        self.crew.cancel();
        match self.work {
            Work::Open { mut stream, session } => {
                stream.end();
                let has_stopped = self.crew.stop().await;
                let outbox = stream.stop().await;
                // A session that ran nothing has no progress of its own, and does not hide that of an earlier one.
                let has_run = outbox.as_ref().is_some_and(Outbox::has_measured);
                let results = outbox.map(|outbox| outbox.into_kept(grant_of(&session))).unwrap_or_default();
                let mut sessions = self.former;
                sessions.push(session.clone());
                sessions.retain(|session| results.iter().any(|kept| kept.ran_under == grant_of(session)));
                let ran = self.round.filter(|_| has_run).map(|round| Ran {
                    session: session.clone(),
                    round: round.number,
                    ran_for: clock::since(round.starts_at),
                });
                Left { results, sessions, ended: has_stopped.then_some(session), ran }
            }
            Work::Waiting(cargo) => {
                self.crew.stop().await;
                let results = cargo.outbox.into_inherited();
                Left { results, sessions: self.former, ended: None, ran: None }
            }
            Work::Opening => Left { results: Vec::new(), sessions: Vec::new(), ended: None, ran: None },
        }
    }
}

fn grant_of(GrantedSession { id, .. }: &GrantedSession) -> Grant {
    Grant { slot: id.slot, epoch: id.epoch }
}
