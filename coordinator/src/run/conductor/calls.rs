//! What agents and their streams say, and what follows from it: joins, readiness, losses, reports.

use muster_common::ids::{Epoch, SlotId};
use muster_common::session_token::GrantedSession;
use muster_common::slots::{Grant, JoinError};
use muster_proto::control::{
    Database, FromAgent, FromCoordinator, Hello, PrepareFailed, Ready, RunConfig, StandBy, Welcome,
};

use tracing::{debug, warn};

use super::{Conductor, Phase, RunError, Turn};
use crate::clock;
use crate::run::link::{Admission, Call, Joining, Line, Loss, MemberId, Refusal, WorkPorts};
use crate::run::record::{Fact, Found};
use crate::run::roster::Member;

impl Conductor<'_> {
    pub(super) fn take(&mut self, call: Call) -> Turn {
        match call {
            Call::Join { joining, answer } => {
                // The edge's task awaits the answer to the end, and reports the loss of an agent that has hung up.
                let _ = answer.send(self.admit(joining));
            }
            Call::OpenWork { session, answer } => {
                let is_granted = self.plan.has_granted(&session);
                let ports = is_granted.then(|| self.roster.open_work(session.id)).flatten();
                if let (Some(WorkPorts { member, .. }), Some(field)) = (&ports, self.field.clone()) {
                    self.share_early(*member, &field);
                }
                let _ = answer.send(ports);
            }
            Call::Prefetched { member } => {
                if let Some(member) = self.roster.present_mut(member) {
                    member.has_prefetched = true;
                }
            }
            Call::RoundOver { member, round } => {
                if let Some(member) = self.roster.present_mut(member) {
                    member.round_over = Some(round);
                }
            }
            Call::Said { member, message } => return self.hear(member, message),
            Call::Unreadable { problem } => return Turn::Unreadable(problem),
            Call::Lost { member, loss } => self.lose(member, &loss),
        }
        Turn::Nothing
    }

    /// The one path for every kind of loss.
    pub(super) fn lose(&mut self, id: MemberId, loss: &Loss) {
        let Some(member) = self.roster.lost(id, &loss.reason, clock::now()) else { return };
        let (name, grant, has_begun) = (member.name(), member.grant, member.has_begun);
        let was_ready = member.ready.is_some();
        if let Some(grant) = grant {
            self.close_health(grant.epoch);
        }
        match (grant, self.field.clone()) {
            (Some(grant), Some(field)) if self.phase == Phase::Running => {
                self.note_loss(grant, &name, was_ready, loss, &field);
            }
            (Some(Grant { slot, epoch }), _) => {
                let what = format!("{slot} lost ({name}): {}", loss.reason);
                match was_ready {
                    true => self.tell(what),
                    false => self.tell_unready_loss(slot, &loss.reason, what),
                }
                self.note(loss.fact(epoch));
            }
            (None, _) => {}
        }
        if !has_begun {
            self.roster.forget(id);
        }
    }

    fn admit(&mut self, joining: Joining) -> Result<Admission, Refusal> {
        let Joining { hello, is_private, line } = joining;
        let hello = self.without_unproven(hello);
        if self.phase == Phase::Draining {
            return Err(Refusal { reason: "the run is over".to_owned(), retry: true });
        }
        self.note_return(&hello);
        let config = self.plan.config_for(hello.has_database, is_private);
        let joined = match self.slot_for(&hello)? {
            Some(slot) => self.roster.join(slot, hello, line, clock::now()),
            None => return self.let_stand_by(hello, is_private, line, config),
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
        member.line.say(FromCoordinator::Welcome(Welcome { session, config }));
        let joined = Fact::joined(grant, &member.hello);
        self.note(joined);
        let what = joined_event(grant.slot, &name, workers);
        match self.loses_again_and_again(grant.slot) {
            // It is an event if it gets ready.
            true => debug!("{what}"),
            false => self.log(what),
        }
        Ok(Admission { member: id, ended, clock_zero: self.clock_zero })
    }

    /// Removes the sessions that the agent cannot prove to have been its own. Others could evict an agent, or report results for it.
    fn without_unproven(&self, mut hello: Hello) -> Hello {
        let all = hello.former.iter().chain(&hello.ended).chain(hello.ran.as_ref().map(|ran| &ran.session));
        let own = |session: &&GrantedSession| session.id.run == self.plan.id;
        let unproven = all.filter(own).find(|session| !self.plan.has_granted(session));
        if let Some(GrantedSession { id, .. }) = unproven {
            let (machine, process) = (&hello.machine, hello.process_id);
            warn!(
                "{machine}/{process} names the session of {} and epoch {}, but does not know its token",
                id.slot, id.epoch
            );
        }
        hello.ended = hello.ended.filter(|session| self.plan.has_granted(session));
        hello.ran = hello.ran.filter(|ran| self.plan.has_granted(&ran.session));
        hello.former.retain(|session| self.plan.has_granted(session));
        hello
    }

    /// A process that says Hello lives and has no other session. Its earlier session is over, perhaps before this coordinator noticed, and
    /// was lost without a death.
    fn note_return(&mut self, hello: &Hello) {
        let ended = hello.ended.as_ref().map(|ended| Grant { slot: ended.id.slot, epoch: ended.id.epoch });
        let is_its = |member: &Member| {
            member.grant == ended || (member.hello.instance == hello.instance && hello.instance != 0)
        };
        let former: Vec<MemberId> =
            self.roster.live().filter(|member| is_its(member)).map(|member| member.id).collect();
        for id in former {
            self.lose(id, &Loss::because("its agent joined anew"));
        }
        if let Some(ended) = ended
            && self.lapses.get(&ended.slot).is_some_and(|(lost, _)| *lost == ended)
        {
            self.lapses.remove(&ended.slot);
        }
        let returned: Vec<Epoch> = self.record.taken_for_dead(hello.instance).collect();
        if hello.instance != 0 && !returned.is_empty() {
            self.note(Fact::Returned { instance: hello.instance });
            if let Some(field) = &self.field {
                field.rows.discount(returned);
                // A row that is no suspect any more waits anew when another process dies with it.
                let suspects = field.rows.suspects();
                self.suspects.iter_mut().for_each(|(_, rows)| rows.retain(|row| suspects.contains(row)));
            }
        }
    }

    /// The slot that an agent may ask for; `None` when it has to wait for one. Once hosts are placed none may move, so a slot wants as
    /// many workers as it had: with fewer, some of its hosts would be nobody's.
    fn slot_for(&self, hello: &Hello) -> Result<Option<SlotId>, Refusal> {
        let had = |slot: SlotId| self.record.workers_of(slot).len();
        let is_placed = !self.record.workers_of_slot.is_empty();
        let fits = |slot: SlotId| !is_placed || had(slot) == usize::from(hello.workers);
        let Some(wanted) = hello.slot else {
            let vacant = self.roster.slots().vacant();
            let mut fitting = vacant.into_iter().filter(|slot| fits(*slot));
            // Who comes back has the results of its slot's rows, which nobody else is to run meanwhile.
            let own = hello.ended.as_ref().map(|ended| ended.id.slot);
            let first = fitting.clone().next();
            return Ok(fitting.find(|slot| own == Some(*slot)).or(first));
        };
        // Somebody else may have its slot for a moment longer than it lives: it asks again.
        if fits(wanted) || had(wanted) == 0 {
            return Ok(Some(wanted));
        }
        let (needed, own) = (had(wanted), hello.workers);
        let reason = format!("{wanted} has hosts for {needed} workers in this run, the agent has {own}");
        Err(Refusal { reason, retry: true })
    }

    fn let_stand_by(
        &mut self,
        hello: Hello,
        is_private: bool,
        line: Line,
        config: RunConfig,
    ) -> Result<Admission, Refusal> {
        let run = self.plan.id.clone();
        let Some(member) = self.roster.stand_by(hello, line) else {
            return Err(Refusal {
                reason: "all slots are taken, and enough agents stand by".to_owned(),
                retry: true,
            });
        };
        member.is_private = is_private;
        member.line.say(FromCoordinator::StandBy(StandBy { run, config }));
        Ok(Admission { member: member.id, ended: member.ended.clone(), clock_zero: self.clock_zero })
    }

    fn hear(&mut self, id: MemberId, message: FromAgent) -> Turn {
        match message {
            FromAgent::Ready(ready) => self.note_ready(id, ready),
            FromAgent::PrepareFailed(failed) => return self.note_unprepared(id, failed),
            FromAgent::Started { at } => {
                if let Some(member) = self.roster.present_mut(id) {
                    member.started = at.and_then(|at| self.clock_zero.checked_add(at));
                }
            }
            FromAgent::Report(_) if self.phase != Phase::Draining => {
                self.lose(id, &Loss::because("reported before the end"));
            }
            FromAgent::Report(report) => {
                let Some(member) = self.roster.present_mut(id) else { return Turn::Nothing };
                member.report = Some(report.clone());
                if let Some(Grant { slot, epoch }) = member.grant {
                    self.close_health(epoch);
                    self.note_report(slot, epoch.get(), &report);
                }
            }
            FromAgent::BackendsEnded(answer) => match self.field.clone() {
                Some(field) if self.phase == Phase::Running => self.backends_ended(id, answer, &field),
                Some(_) => {}
                None => self.note_clear(&answer),
            },
            FromAgent::Health(interval) => self.note_health(id, &interval),
            FromAgent::Seen(seen) => self.lookout.seen(seen),
            FromAgent::Explained(explained) => self.lookout.explained(explained),
            FromAgent::Reconnected(round, reconnects) => self.note_reconnects(id, round, reconnects),
            // The edge answers beats, takes Hello once and turns Leave into a loss.
            FromAgent::Hello(_) | FromAgent::Beat(_) | FromAgent::Leave { .. } => {}
        }
        Turn::Nothing
    }

    fn note_ready(&mut self, id: MemberId, ready: Ready) {
        self.note_difference(id, &ready);
        let found = Box::new(Found::from(&ready));
        self.roster.ready(id, ready);
        let Some(member) = self.roster.present_mut(id) else { return };
        let (name, grant, has_begun) = (member.name(), member.grant, member.has_begun);
        let workers = member.hello.workers;
        if let Some(Grant { slot, epoch }) = grant {
            if self.loses_again_and_again(slot) {
                self.log(joined_event(slot, &name, workers));
            }
            self.unready.remove(&slot);
            self.note_with_changes(Fact::Ready { epoch: epoch.get(), found });
        }
        let Some(field) = self.field.clone().filter(|_| self.phase == Phase::Running) else { return };
        match grant {
            Some(_) if has_begun => {}
            Some(_) => self.take_over(id),
            None => {
                self.log(format!("{name} stands by"));
                for slot in self.roster.slots().vacant() {
                    self.fill(slot, &field);
                }
            }
        }
    }

    /// Before the start that ends the run: it would fail on this agent. Later it only ends this agent's part.
    fn note_unprepared(&mut self, id: MemberId, failed: PrepareFailed) -> Turn {
        let Some(member) = self.roster.present_mut(id) else { return Turn::Nothing };
        let reason = format!("cannot prepare: {}", failed.message);
        match member.grant {
            Some(Grant { slot, .. }) if self.phase == Phase::Gathering => {
                let slot = slot.to_string();
                return Turn::PrepareFailed(RunError::Prepare { slot, failed: Box::new(failed) });
            }
            Some(_) | None => {
                member.line.say(FromCoordinator::Bye { reason: reason.clone() });
                self.lose(id, &Loss::because(reason));
            }
        }
        Turn::Nothing
    }

    /// A slot that became vacant before the start goes to an agent that stands by.
    pub(super) fn fill_while_gathering(&mut self) {
        for slot in self.roster.slots().vacant() {
            let ready =
                self.roster.standbys().find(|member| member.ready.is_some() && member.hello.slot.is_none());
            let Some(workers) = ready.map(|member| usize::from(member.hello.workers)) else { return };
            self.fill_with(slot, workers);
        }
    }

    /// Agents may each have a database of their own; whether they are alike decides what the numbers mean.
    fn note_difference(&mut self, id: MemberId, ready: &Ready) {
        let Some((member, first)) = self.roster.first_ready() else { return };
        let Database { server_version, timescaledb, settings, identities: _ } = &ready.database;
        let of_first = &first.database;
        let differs = (&of_first.server_version, &of_first.timescaledb, &of_first.settings, &first.sql)
            != (server_version, timescaledb, settings, &ready.sql);
        if differs && let (Some(other), Some(own)) = (member.grant, self.roster.name_of(id)) {
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
