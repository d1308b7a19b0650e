//! What agents and their streams say, and what follows from it: joins, readiness, losses, reports.

use std::time::Instant;

use muster_common::ids::SessionId;
use muster_common::slots::{Grant, JoinError};
use muster_proto::control::{FromAgent, FromCoordinator, Ready, Welcome};

use super::{Conductor, Phase, RunError, Turn};
use crate::run::link::{Admission, Call, Joining, Refusal};

impl Conductor<'_> {
    pub(super) fn take(&mut self, call: Call) -> Turn {
        match call {
            Call::Join { joining, answer } => {
                // The edge's task awaits the answer to the end, and reports the loss of an agent that has hung up.
                let _ = answer.send(self.admit(joining));
            }
            Call::OpenWork { session, answer } => {
                let ports = (session.run == self.plan.id).then(|| self.roster.open_work(&session)).flatten();
                let _ = answer.send(ports);
            }
            Call::Prefetched { grant } => {
                if let Some(member) = self.roster.member_mut(grant) {
                    member.has_prefetched = true;
                }
            }
            Call::Said { grant, message } => return self.hear(grant, message),
            Call::Lost { grant, reason } => {
                if let Some(member) = self.roster.lost(grant, &reason) {
                    let what = format!("{} lost ({}): {reason}", grant.slot, member.name());
                    self.tell(what);
                    return Turn::Lost;
                }
            }
        }
        Turn::Nothing
    }

    fn admit(&mut self, joining: Joining) -> Result<Admission, Refusal> {
        let Joining { hello, is_loopback, line } = joining;
        if self.phase != Phase::Gathering {
            return Err(Refusal { reason: "the run has started".to_owned(), retry: true });
        }
        let has_database = hello.has_database;
        let member = self.roster.join(hello, line).map_err(|error| Refusal {
            retry: !matches!(error, JoinError::NoSuchSlot { .. }),
            reason: error.to_string(),
        })?;
        let grant = member.grant;
        let workers = member.hello.workers;
        let what = format!("{} joined: {}, {workers} worker{}", grant.slot, member.name(), plural(workers));
        let ended = member.ended.clone();
        self.events.record(what);
        let session = SessionId { run: self.plan.id.clone(), slot: grant.slot, epoch: grant.epoch };
        let config = self.plan.config_for(has_database, is_loopback);
        if let Some(member) = self.roster.member_mut(grant) {
            member.line.say(FromCoordinator::Welcome(Welcome { session, config }));
        }
        Ok(Admission { grant, ended })
    }

    fn hear(&mut self, grant: Grant, message: FromAgent) -> Turn {
        match message {
            FromAgent::Ready(ready) => {
                self.note_difference(grant, &ready);
                self.roster.ready(grant, ready);
            }
            FromAgent::PrepareFailed(failed) => {
                let slot = grant.slot.to_string();
                return Turn::PrepareFailed(RunError::Prepare { slot, failed: Box::new(failed) });
            }
            FromAgent::Started { round_trip } => {
                if let Some(member) = self.roster.member_mut(grant) {
                    member.started = Instant::now().checked_sub(round_trip / 2);
                }
            }
            FromAgent::Report(_) if self.phase != Phase::Draining => {
                return self.take(Call::Lost { grant, reason: "reported before the end".to_owned() });
            }
            FromAgent::Report(report) => {
                if let Some(member) = self.roster.member_mut(grant) {
                    member.report = Some(report);
                }
            }
            // The edge answers beats, takes Hello once and turns Leave into a loss.
            FromAgent::Hello(_) | FromAgent::Beat(_) | FromAgent::Leave { .. } => {}
        }
        Turn::Nothing
    }

    /// Agents may each have a database of their own; whether they are alike decides what the numbers mean.
    fn note_difference(&mut self, grant: Grant, ready: &Ready) {
        let Some((member, first)) = self.roster.first_ready() else { return };
        let differs = first.database != ready.database || first.sql != ready.sql;
        if differs {
            let other = member.grant.slot;
            self.events.record(format!("{} and {other} found different databases", grant.slot));
        }
    }
}

fn plural(count: u16) -> &'static str {
    if count == 1 { "" } else { "s" }
}
