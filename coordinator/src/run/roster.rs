//! Who takes part: the slots, the agents that hold them, and those that stand by. Decides on joining and leaving; says nothing but
//! what it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::ids::{Epoch, SessionId, SlotId};
use muster_common::limits;
use muster_common::session_token::GrantedSession;
use muster_common::slots::{Grant, JoinError, Slots};
use muster_proto::control::{FromCoordinator, Hello, Ready, WorkerReport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::{Line, MemberId, Share, WorkPorts};

pub(crate) struct Roster {
    slots: Slots,
    /// Everybody who was let in, in the order of joining; those that are gone stay for the report.
    members: BTreeMap<MemberId, Member>,
}

/// One agent's stay, and what it said so far.
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// Its place; `None` while it stands by.
    pub(crate) grant: Option<Grant>,
    pub(crate) hello: Hello,
    /// It may be handed the coordinator's database.
    pub(crate) is_private: bool,
    pub(crate) line: Line,
    /// Cancelled when the session's tasks are to end.
    pub(crate) ended: CancellationToken,
    pub(crate) share: watch::Sender<Option<Share>>,
    pub(crate) ready: Option<Ready>,
    pub(crate) has_work: bool,
    pub(crate) has_prefetched: bool,
    /// The last round whose time was over for it.
    pub(crate) round_over: Option<u32>,
    /// It runs its slot's rows, or did.
    pub(crate) has_begun: bool,
    /// When its countdown ended, by the coordinator's clock.
    pub(crate) started: Option<Instant>,
    pub(crate) report: Option<Vec<WorkerReport>>,
    pub(crate) lost: Option<String>,
}

impl Member {
    /// Its earlier sessions whose results it still holds.
    pub(crate) fn former(&self) -> Arc<[Grant]> {
        let grant = |session: &GrantedSession| Grant { slot: session.id.slot, epoch: session.id.epoch };
        self.hello.former.iter().map(grant).collect()
    }

    /// `db1/4711`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.hello.machine, self.hello.process_id)
    }
}

impl Roster {
    /// `first_epoch` must be above every epoch ever given in this run.
    pub(crate) fn new(agents: u16, first_epoch: Epoch) -> Self {
        Self { slots: Slots::new(agents, first_epoch), members: BTreeMap::new() }
    }

    /// Gives an agent this slot.
    pub(crate) fn join(
        &mut self,
        slot: SlotId,
        hello: Hello,
        line: Line,
        now: Instant,
    ) -> Result<&mut Member, JoinError> {
        let grant = self.slots.join(Some(slot), now)?;
        Ok(self.add(Some(grant), hello, line))
    }

    /// Lets an agent in without a slot; `None` when enough stand by.
    pub(crate) fn stand_by(&mut self, hello: Hello, line: Line) -> Option<&mut Member> {
        (self.standbys().count() < limits::STANDBYS_MAX).then(|| self.add(None, hello, line))
    }

    fn add(&mut self, grant: Option<Grant>, hello: Hello, line: Line) -> &mut Member {
        let id = MemberId(self.members.last_key_value().map_or(0, |(last, _)| last.0 + 1));
        let member = Member {
            id,
            grant,
            hello,
            is_private: false,
            line,
            ended: CancellationToken::new(),
            share: watch::channel(None).0,
            ready: None,
            has_work: false,
            has_prefetched: false,
            round_over: None,
            has_begun: false,
            started: None,
            report: None,
            lost: None,
        };
        self.members.entry(id).insert_entry(member).into_mut()
    }

    /// Gives a vacant slot to a prepared agent that stands by and has as many workers.
    pub(crate) fn promote(&mut self, slot: SlotId, workers: usize, now: Instant) -> Option<&mut Member> {
        let fits = |member: &&Member| {
            member.ready.is_some()
                && usize::from(member.hello.workers) == workers
                && member.hello.slot.is_none_or(|wanted| wanted == slot)
        };
        let id = self.standbys().find(fits)?.id;
        let grant = self.slots.join(Some(slot), now).ok()?;
        let member = self.members.get_mut(&id)?;
        member.grant = Some(grant);
        // Its connections take the slot's name first; then it says so.
        member.ready = None;
        Some(member)
    }

    pub(crate) fn ready(&mut self, id: MemberId, ready: Ready) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match member.grant {
            Some(grant) if !self.slots.ready(grant) => {}
            Some(_) | None => member.ready = Some(ready),
        }
    }

    /// Ends a session and vacates its slot. `None` when it is over already: every loss is handled once.
    pub(crate) fn lost(&mut self, id: MemberId, reason: &str, now: Instant) -> Option<&Member> {
        let member = self.members.get_mut(&id).filter(|member| member.lost.is_none())?;
        if let Some(grant) = member.grant {
            self.slots.lost(grant, now);
        }
        member.ended.cancel();
        member.share.send_replace(None);
        member.lost = Some(reason.to_owned());
        Some(member)
    }

    /// Forgets those that never ran a row and are gone: before the start, and standing by, a loss costs nothing.
    pub(crate) fn forget(&mut self, id: MemberId) {
        self.members.remove(&id);
    }

    /// A session that hung up after Bye: no loss.
    pub(crate) fn hung_up(&mut self, id: MemberId, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match member.grant {
            Some(grant) => drop(self.slots.lost(grant, now)),
            None => drop(self.members.remove(&id)),
        }
    }

    /// An agent that is still here.
    pub(crate) fn present_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        let slots = &self.slots;
        let is_present = |grant: Option<Grant>| grant.is_none_or(|grant| slots.holds(grant));
        self.members.get_mut(&id).filter(|member| member.lost.is_none() && is_present(member.grant))
    }

    /// Once a session: a second Work stream would get the same rows.
    pub(crate) fn open_work(&mut self, SessionId { slot, epoch, .. }: SessionId) -> Option<WorkPorts> {
        let grant = Grant { slot, epoch };
        let id = self.live().find(|member| member.grant == Some(grant) && !member.has_work)?.id;
        let member = self.members.get_mut(&id)?;
        member.has_work = true;
        Some(WorkPorts { member: id, ended: member.ended.clone(), share: member.share.subscribe() })
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(crate) fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// Latest minus earliest start of those that were to start together, the first to run each slot, once all of them that live have
    /// started. A replacement begins when it comes.
    pub(crate) fn start_skew(&self) -> Option<Duration> {
        let mut first_of_slot = BTreeMap::new();
        for member in self.members.values().filter(|member| member.has_begun) {
            first_of_slot.entry(member.grant?.slot).or_insert(member);
        }
        let together =
            first_of_slot.values().filter(|member| member.lost.is_none() || member.started.is_some());
        let starts: Option<Vec<Instant>> = together.map(|member| member.started).collect();
        let starts = starts?;
        Some(starts.iter().max()?.duration_since(*starts.iter().min()?))
    }

    /// The agents that hold their slots, by slot.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Member> {
        let mut live: Vec<&Member> = self
            .members
            .values()
            .filter(|member| member.grant.is_some_and(|grant| self.slots.holds(grant)))
            .collect();
        live.sort_by_key(|member| member.grant.map(|grant| grant.slot));
        live.into_iter()
    }

    /// The live agents that run rows.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Member> {
        self.live().filter(|member| member.has_begun)
    }

    /// The agents without a slot, in the order of joining.
    pub(crate) fn standbys(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.grant.is_none() && member.lost.is_none())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live().next().is_none() && self.standbys().next().is_none()
    }

    /// Its slot, or `db1/4711` without one.
    pub(crate) fn name_of(&self, id: MemberId) -> Option<String> {
        let member = self.members.get(&id)?;
        Some(member.grant.map_or_else(|| member.name(), |grant| grant.slot.to_string()))
    }

    pub(crate) fn holder(&self, slot: SlotId) -> Option<&Member> {
        self.live().find(|member| member.grant.is_some_and(|grant| grant.slot == slot))
    }

    pub(crate) fn say_to_all(&self, message: &FromCoordinator) {
        for member in self.live() {
            // A line that is full belongs to a dead peer; its fence falls soon.
            member.line.say(message.clone());
        }
    }

    pub(crate) fn dismiss_all(&self, reason: &str) {
        for member in self.live().chain(self.standbys()) {
            member.line.say(FromCoordinator::Bye { reason: reason.to_owned() });
        }
    }

    /// Ends the tasks of every session and takes their shares back: the keeper closes when nobody can settle rows any more.
    pub(crate) fn end_all(&self) {
        for member in self.members.values() {
            member.ended.cancel();
            member.share.send_replace(None);
        }
    }

    /// Sessions that ran rows and did not report what became of them.
    pub(crate) fn unreported(&self) -> impl Iterator<Item = Grant> {
        let unreported = self.members.values().filter(|member| member.has_begun && member.report.is_none());
        unreported.filter_map(|member| member.grant)
    }

    /// What the first prepared agent found; all others should find the same.
    pub(crate) fn first_ready(&self) -> Option<(&Member, &Ready)> {
        self.live().find_map(|member| Some((member, member.ready.as_ref()?)))
    }
}
