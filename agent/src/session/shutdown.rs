//! The end of a session: what caused it, the final message, and the state that remains.

use std::time::Instant;

use muster_common::limits;
use muster_common::outbox::{Outbox, Unacked};
use muster_common::session_token::GrantedSession;
use muster_common::slots::Grant;
use muster_proto::control::{FromAgent, Ran};
use tokio::time::timeout;
use tracing::info;

use super::{Session, SessionError, Work};
use crate::clock;

/// The progress of the session's shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shutdown {
    NotYet,
    /// The run drains. Report is sent when that is done.
    Run,
    /// This agent was asked to stop. Leave is sent when it has drained, at the latest at the deadline.
    Agent {
        deadline: Instant,
    },
    /// The final message, Report or Leave, was sent.
    Sent,
}

/// The state that remains of a session that has ended.
pub(super) struct Remains {
    /// Results that were not acknowledged.
    pub(super) results: Vec<Unacked>,
    /// The sessions that measured them.
    pub(super) sessions: Vec<GrantedSession>,
    /// The session itself, if it held a slot and has no running queries.
    pub(super) ended: Option<GrantedSession>,
    /// The progress of the session, if it ran rows.
    pub(super) ran: Option<Ran>,
}

impl Session {
    /// Begins to stop this agent: queries in flight finish, every result is delivered, and then Leave is sent.
    pub(super) fn begin_leave(&mut self) {
        info!("asked to stop: waiting up to {:?} for queries in flight", limits::DRAIN_TIMEOUT);
        self.shutdown = Shutdown::Agent { deadline: clock::now() + limits::DRAIN_TIMEOUT };
        self.drain();
    }

    /// Lets the queries in flight finish. No further row begins.
    pub(super) fn drain(&mut self) {
        self.may_end = true;
        self.worker_set.drain();
        if !self.has_started {
            // No row has been run yet, and connecting may take long.
            self.worker_set.cancel();
        }
    }

    /// Sends Report or Leave once all workers have ended and all results are acknowledged. Returns true if that ends the session.
    pub(super) async fn finish_if_done(&mut self) -> Result<bool, SessionError> {
        let Some(reports) = self.worker_set.reports() else { return Ok(false) };
        let is_on_standby = matches!(self.work, Work::Waiting(_));
        match self.shutdown {
            Shutdown::Run if self.is_delivered => {
                self.finish_reporter().await;
                self.report_start()?;
                self.report_reconnects()?;
                self.control.send(FromAgent::Report(reports))?;
                self.shutdown = Shutdown::Sent;
                Ok(false)
            }
            Shutdown::Agent { .. } if self.is_delivered || is_on_standby => {
                self.leave(true).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Sends Leave and waits until the coordinator has closed the stream. If the agent closed it first, the coordinator could treat that as
    /// a lost session, without the reason.
    pub(super) async fn leave(&mut self, drained: bool) -> Result<(), SessionError> {
        self.shutdown = Shutdown::Sent;
        self.finish_reporter().await;
        self.worker_set.cancel();
        self.report_reconnects()?;
        self.control.send(FromAgent::Leave { reason: "asked to stop".to_owned(), drained })?;
        let closed = async { while self.control.receive().await.is_ok() {} };
        // The agent also stops when the coordinator does not answer.
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, closed).await;
        Ok(())
    }

    /// Sends the last health sample, which must come before the final message.
    pub(super) async fn finish_reporter(&mut self) {
        if let Some(reporter) = self.reporter.take() {
            reporter.finish().await;
        }
    }

    /// Ends everything that this session started.
    pub(super) async fn stop(self) -> Remains {
        self.fences.stop().await;
        self.stats_requests.stop().await;
        self.worker_set.cancel();
        match self.work {
            Work::Open { mut stream, session } => {
                stream.end();
                let has_stopped = self.worker_set.stop().await;
                let outbox = stream.stop().await;
                // A session that ran no rows must not hide the progress of an earlier one.
                let has_run = outbox.as_ref().is_some_and(Outbox::has_measured);
                let results =
                    outbox.map(|outbox| outbox.into_unacked(grant_of(&session))).unwrap_or_default();
                let mut sessions = self.former;
                sessions.push(session.clone());
                sessions
                    .retain(|session| results.iter().any(|unacked| unacked.ran_under == grant_of(session)));
                let ran = self.round.filter(|_| has_run).map(|round| Ran {
                    session: session.clone(),
                    round: round.number,
                    ran_for: clock::since(round.starts_at),
                });
                Remains { results, sessions, ended: has_stopped.then_some(session), ran }
            }
            Work::Waiting(context) => {
                self.worker_set.stop().await;
                let results = context.outbox.into_inherited();
                Remains { results, sessions: self.former, ended: None, ran: None }
            }
            Work::Opening => Remains { results: Vec::new(), sessions: Vec::new(), ended: None, ran: None },
        }
    }
}

fn grant_of(GrantedSession { id, .. }: &GrantedSession) -> Grant {
    Grant { slot: id.slot, epoch: id.epoch }
}
