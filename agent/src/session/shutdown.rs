//! The end of a session: the final message, and the state that remains for later sessions.

use muster_core::limits;
use muster_core::outbox::Outbox;
use muster_core::session_token::GrantedSession;
use muster_core::slots::Grant;
use muster_proto::control::{FromAgent, Ran};
use tokio::time::timeout;
use tracing::info;

use super::state::{Session, Shutdown, Work};
use crate::clock;
use crate::history::{History, UnackedResults};
use crate::session_end::SessionError;

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
        let is_on_standby = self.work.is_none();
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

    /// Ends everything that this session started, and records what later sessions need.
    pub(super) async fn stop(self, history: &mut History) {
        self.requests.stop().await;
        self.worker_set.cancel();
        history.got_ready |= self.got_ready;
        let (results, sessions) = match self.work {
            Some(Work { mut stream, session }) => {
                stream.end();
                if self.worker_set.stop().await {
                    history.ended = Some(session.clone());
                }
                let outbox = stream.stop().await;
                // A session that ran no rows must not hide the progress of an earlier one.
                let has_run = outbox.as_ref().is_some_and(Outbox::has_measured);
                if let Some(round) = self.round.filter(|_| has_run) {
                    let (session, ran_for) = (session.clone(), clock::since(round.starts_at));
                    history.ran = Some(Ran { session, round: round.number, ran_for });
                }
                let results = outbox.map(|outbox| outbox.into_unacked(grant_of(&session)));
                let results = results.unwrap_or_default();
                let mut sessions = self.former;
                sessions.push(session);
                sessions
                    .retain(|session| results.iter().any(|unacked| unacked.ran_under == grant_of(session)));
                (results, sessions)
            }
            None => {
                self.worker_set.stop().await;
                let inherited = self.waiting.map(|context| context.outbox.into_inherited());
                (inherited.unwrap_or_default(), self.former)
            }
        };
        if !results.is_empty() {
            history.unacked = Some(UnackedResults { run: self.run, results, sessions, since: clock::now() });
        }
    }
}

fn grant_of(GrantedSession { id, .. }: &GrantedSession) -> Grant {
    Grant { slot: id.slot, epoch: id.epoch }
}
