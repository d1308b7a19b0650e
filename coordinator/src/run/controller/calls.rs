//! Handles the calls from agents and their streams: joins, readiness, losses and final reports.

use muster_common::ids::{Epoch, SlotId};
use muster_common::session_token::GrantedSession;
use muster_common::slots::{Grant, JoinError};
use muster_proto::control::{
    Database, FromAgent, FromCoordinator, Hello, PrepareFailed, Ready, RunConfig, Standby, Welcome,
};
use tracing::{debug, warn};

use super::{Handled, Phase, RunController, RunError};
use crate::clock;
use crate::run::link::{Admission, Call, ControlSender, Joining, Loss, MemberId, Refusal, WorkPorts};
use crate::run::membership::Member;
use crate::run::record::{Fact, Found};

impl RunController<'_> {
    pub(super) fn handle_call(&mut self, call: Call) -> Handled {
        match call {
            Call::Join { joining, answer } => {
                // The task of the Control stream always waits for this answer, and reports the loss of an agent that has disconnected.
                let _ = answer.send(self.admit(joining));
            }
            Call::OpenWork { session, answer } => {
                let is_granted = self.plan.has_granted(&session);
                let ports = is_granted.then(|| self.membership.open_work(session.id)).flatten();
                if let (Some(WorkPorts { member, .. }), Some(round_context)) =
                    (&ports, self.round_context.clone())
                {
                    self.share_early(*member, &round_context);
                }
                let _ = answer.send(ports);
            }
            Call::Prefetched { member } => {
                if let Some(member) = self.membership.present_mut(member) {
                    member.has_prefetched = true;
                }
            }
            Call::RoundOver { member, round } => {
                if let Some(member) = self.membership.present_mut(member) {
                    member.round_over = Some(round);
                }
            }
            Call::Received { member, message } => return self.handle_message(member, message),
            Call::Unreadable { problem } => return Handled::Unreadable(problem),
            Call::Lost { member, loss } => self.handle_loss(member, &loss),
        }
        Handled::Nothing
    }

    /// Handles every kind of loss.
    pub(super) fn handle_loss(&mut self, id: MemberId, loss: &Loss) {
        let Some(member) = self.membership.lost(id, &loss.reason, clock::now()) else { return };
        let (name, grant, has_begun) = (member.name(), member.grant, member.has_begun);
        let was_ready = member.ready.is_some();
        if let Some(grant) = grant {
            self.close_health(grant.epoch);
        }
        match (grant, self.round_context.clone()) {
            (Some(grant), Some(round_context)) if self.phase == Phase::Running => {
                self.note_loss(grant, &name, was_ready, loss, &round_context);
            }
            (Some(Grant { slot, epoch }), _) => {
                let what = format!("{slot} lost ({name}): {}", loss.reason);
                match was_ready {
                    true => self.report(what),
                    false => self.report_unready_loss(slot, &loss.reason, what),
                }
                self.note(loss.fact(epoch));
            }
            (None, _) => {}
        }
        if !has_begun {
            self.membership.forget(id);
        }
    }

    fn admit(&mut self, joining: Joining) -> Result<Admission, Refusal> {
        let Joining { hello, is_private, control } = joining;
        let hello = self.without_unproven(hello);
        if self.phase == Phase::Draining {
            return Err(Refusal { reason: "the run is over".to_owned(), retry: true });
        }
        self.note_return(&hello);
        let config = self.plan.config_for(hello.has_database, is_private);
        let joined = match self.slot_for(&hello)? {
            Some(slot) => self.membership.join(slot, hello, control, clock::now()),
            None => return self.admit_standby(hello, is_private, control, config),
        };
        let member = joined.map_err(|error| Refusal {
            retry: !matches!(error, JoinError::NoSuchSlot { .. }),
            reason: error.to_string(),
        })?;
        member.is_private = is_private;
        let (id, ended, name, workers) =
            (member.id, member.ended.clone(), member.name(), member.hello.workers);
        let Some(grant) = member.grant else {
            return Err(Refusal { reason: "no slot".to_owned(), retry: true });
        };
        let session = self.plan.session(grant);
        member.control.send(FromCoordinator::Welcome(Welcome { session, config }));
        let joined = Fact::joined(grant, &member.hello);
        self.note(joined);
        let what = joined_event(grant.slot, &name, workers);
        match self.is_lost_repeatedly(grant.slot) {
            // It becomes an event when the agent becomes ready.
            true => debug!("{what}"),
            false => self.log(what),
        }
        Ok(Admission { member: id, ended, clock_zero: self.clock_zero })
    }

    /// Removes the sessions that the agent cannot prove to have held. Otherwise another process could evict an agent or report results for
    /// it.
    fn without_unproven(&self, mut hello: Hello) -> Hello {
        let all = hello.former.iter().chain(&hello.ended).chain(hello.ran.as_ref().map(|ran| &ran.session));
        let own = |session: &&GrantedSession| session.id.run == self.plan.id;
        let unproven = all.filter(own).find(|session| !self.plan.has_granted(session));
        if let Some(GrantedSession { id, .. }) = unproven {
            let (machine, process) = (&hello.machine, hello.process_id);
            warn!(
                "{machine}/{process} names the session of {} with epoch {}, but does not have its token",
                id.slot, id.epoch
            );
        }
        hello.ended = hello.ended.filter(|session| self.plan.has_granted(session));
        hello.ran = hello.ran.filter(|ran| self.plan.has_granted(&ran.session));
        hello.former.retain(|session| self.plan.has_granted(session));
        hello
    }

    /// Handles the return of a process. A process that sends Hello is alive and has no other session. Its earlier session has ended,
    /// possibly before this coordinator noticed, and the process did not die with it.
    fn note_return(&mut self, hello: &Hello) {
        let ended = hello.ended.as_ref().map(|ended| Grant { slot: ended.id.slot, epoch: ended.id.epoch });
        let is_its = |member: &Member| {
            member.grant == ended || (member.hello.instance == hello.instance && hello.instance != 0)
        };
        let former: Vec<MemberId> =
            self.membership.live().filter(|member| is_its(member)).map(|member| member.id).collect();
        for id in former {
            self.handle_loss(id, &Loss::because("its agent joined again"));
        }
        if let Some(ended) = ended
            && self.lapses.get(&ended.slot).is_some_and(|(lost, _)| *lost == ended)
        {
            self.lapses.remove(&ended.slot);
        }
        let returned: Vec<Epoch> = self.record.presumed_dead(hello.instance).collect();
        if hello.instance != 0 && !returned.is_empty() {
            self.note(Fact::Returned { instance: hello.instance });
            if let Some(round_context) = &self.round_context {
                round_context.rows.discount(returned);
                // A row that is no longer a suspect gets a new waiting time if another process dies with it.
                let suspects = round_context.rows.suspects();
                self.suspects.iter_mut().for_each(|(_, rows)| rows.retain(|row| suspects.contains(row)));
            }
        }
    }

    /// The slot that an agent may take. `None` if it has to wait for one. Once hosts are placed, none may move, so a slot needs the same
    /// number of workers as before: with fewer, some of its hosts would have no worker.
    fn slot_for(&self, hello: &Hello) -> Result<Option<SlotId>, Refusal> {
        let had = |slot: SlotId| self.record.workers_of(slot).len();
        let is_placed = !self.record.workers_of_slot.is_empty();
        let fits = |slot: SlotId| !is_placed || had(slot) == usize::from(hello.workers);
        let Some(wanted) = hello.slot else {
            let vacant = self.membership.slots().vacant();
            let mut fitting = vacant.into_iter().filter(|slot| fits(*slot));
            // An agent that returns has results of its slot's rows, which no other agent should run meanwhile.
            let own = hello.ended.as_ref().map(|ended| ended.id.slot);
            let first = fitting.clone().next();
            return Ok(fitting.find(|slot| own == Some(*slot)).or(first));
        };
        // The slot may still be held by a session that has just died. The agent tries again.
        if fits(wanted) || had(wanted) == 0 {
            return Ok(Some(wanted));
        }
        let (needed, own) = (had(wanted), hello.workers);
        let reason = format!("{wanted} has hosts for {needed} workers in this run, the agent has {own}");
        Err(Refusal { reason, retry: true })
    }

    fn admit_standby(
        &mut self,
        hello: Hello,
        is_private: bool,
        control: ControlSender,
        config: RunConfig,
    ) -> Result<Admission, Refusal> {
        let run = self.plan.id.clone();
        let Some(member) = self.membership.join_standby(hello, control) else {
            return Err(Refusal {
                reason: "all slots are taken, and there are enough standby agents".to_owned(),
                retry: true,
            });
        };
        member.is_private = is_private;
        member.control.send(FromCoordinator::Standby(Standby { run, config }));
        Ok(Admission { member: member.id, ended: member.ended.clone(), clock_zero: self.clock_zero })
    }

    fn handle_message(&mut self, id: MemberId, message: FromAgent) -> Handled {
        match message {
            FromAgent::Ready(ready) => self.note_ready(id, ready),
            FromAgent::PrepareFailed(failed) => return self.note_unprepared(id, failed),
            FromAgent::Started { at } => {
                if let Some(member) = self.membership.present_mut(id) {
                    member.started = at.and_then(|at| self.clock_zero.checked_add(at));
                }
            }
            FromAgent::Report(_) if self.phase != Phase::Draining => {
                self.handle_loss(id, &Loss::because("reported before the end"));
            }
            FromAgent::Report(report) => {
                let Some(member) = self.membership.present_mut(id) else { return Handled::Nothing };
                member.report = Some(report.clone());
                if let Some(Grant { slot, epoch }) = member.grant {
                    self.close_health(epoch);
                    self.note_report(slot, epoch.get(), &report);
                }
            }
            FromAgent::BackendsEnded(reply) => match self.round_context.clone() {
                Some(round_context) if self.phase == Phase::Running => {
                    self.backends_ended(id, reply, &round_context)
                }
                Some(_) => {}
                None => self.note_cleared(&reply),
            },
            FromAgent::Health(sample) => self.note_health(id, &sample),
            FromAgent::StatsReply(reply) => self.stats_collector.stats_reply(reply),
            FromAgent::Explained(explained) => self.stats_collector.explained(explained),
            FromAgent::Reconnected(round, reconnects) => self.note_reconnects(id, round, reconnects),
            // The gRPC server answers heartbeats, accepts Hello once and turns Leave into a loss.
            FromAgent::Hello(_) | FromAgent::Beat(_) | FromAgent::Leave { .. } => {}
        }
        Handled::Nothing
    }

    fn note_ready(&mut self, id: MemberId, ready: Ready) {
        self.note_difference(id, &ready);
        let found = Box::new(Found::from(&ready));
        self.membership.ready(id, ready);
        let Some(member) = self.membership.present_mut(id) else { return };
        let (name, grant, has_begun) = (member.name(), member.grant, member.has_begun);
        let workers = member.hello.workers;
        if let Some(Grant { slot, epoch }) = grant {
            if self.is_lost_repeatedly(slot) {
                self.log(joined_event(slot, &name, workers));
            }
            self.unready.remove(&slot);
            self.note_with_changes(Fact::Ready { epoch: epoch.get(), found });
        }
        let Some(round_context) = self.round_context.clone().filter(|_| self.phase == Phase::Running) else {
            return;
        };
        match grant {
            Some(_) if has_begun => {}
            Some(_) => self.take_over(id),
            None => {
                self.log(format!("{name} is on standby"));
                for slot in self.membership.slots().vacant() {
                    self.fill(slot, &round_context);
                }
            }
        }
    }

    /// Handles an agent that cannot prepare. Before the start this ends the run, because the run would fail on this agent. Later it only
    /// ends the agent's session.
    fn note_unprepared(&mut self, id: MemberId, failed: PrepareFailed) -> Handled {
        let Some(member) = self.membership.present_mut(id) else { return Handled::Nothing };
        let reason = format!("cannot prepare: {}", failed.message);
        match member.grant {
            Some(Grant { slot, .. }) if self.phase == Phase::WaitingForAgents => {
                let slot = slot.to_string();
                return Handled::PrepareFailed(RunError::Prepare { slot, failed: Box::new(failed) });
            }
            Some(_) | None => {
                member.control.send(FromCoordinator::Bye { reason: reason.clone() });
                self.handle_loss(id, &Loss::because(reason));
            }
        }
        Handled::Nothing
    }

    /// Assigns slots that became vacant before the start to prepared standbys.
    pub(super) fn fill_vacant_slots(&mut self) {
        for slot in self.membership.slots().vacant() {
            let ready = self
                .membership
                .standbys()
                .find(|member| member.ready.is_some() && member.hello.slot.is_none());
            let Some(workers) = ready.map(|member| usize::from(member.hello.workers)) else { return };
            self.fill_with(slot, workers);
        }
    }

    /// Logs if this agent found a different database than the first one. Agents may use different databases, and the results are only
    /// comparable if these are alike.
    fn note_difference(&mut self, id: MemberId, ready: &Ready) {
        let Some((member, first)) = self.membership.first_ready() else { return };
        let Database { server_version, timescaledb, settings, identities: _ } = &ready.database;
        let of_first = &first.database;
        let differs = (&of_first.server_version, &of_first.timescaledb, &of_first.settings, &first.sql)
            != (server_version, timescaledb, settings, &ready.sql);
        if differs && let (Some(other), Some(own)) = (member.grant, self.membership.name_of(id)) {
            self.log(format!("{own} and {} found different databases", other.slot));
        }
    }
}

fn joined_event(slot: SlotId, name: &str, workers: u16) -> String {
    format!("{slot} joined: {name}, {workers} worker{}", plural(workers))
}

fn plural(count: u16) -> &'static str {
    if count == 1 { "" } else { "s" }
}
