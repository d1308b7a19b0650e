//! The members of a run: the slots, the agents that hold them, and the standby agents. Decides on joining and leaving, and sends only the
//! messages that it is passed.

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

use super::link::{ControlSender, MemberId, Share, WorkPorts};

pub(crate) struct Membership {
    slots: Slots,
    /// All admitted agents in the order of joining. Lost agents remain for the report.
    members: BTreeMap<MemberId, Member>,
}

/// One participation of an agent in the run, with the state that it has reported so far.
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// Its slot. `None` while it is a standby.
    pub(crate) grant: Option<Grant>,
    pub(crate) hello: Hello,
    /// The agent may receive the connection string of the coordinator's database.
    pub(crate) is_private: bool,
    pub(crate) control: ControlSender,
    /// Cancelled when the session's tasks must end.
    pub(crate) ended: CancellationToken,
    pub(crate) share: watch::Sender<Option<Share>>,
    pub(crate) ready: Option<Ready>,
    pub(crate) has_work: bool,
    pub(crate) has_prefetched: bool,
    /// The last round whose end the agent has reported.
    pub(crate) round_over: Option<u32>,
    /// It runs its slot's rows, or has run them.
    pub(crate) has_begun: bool,
    /// The time at which its countdown ended, on the coordinator's clock.
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

    /// The agent's machine and process id, such as `db1/4711`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.hello.machine, self.hello.process_id)
    }
}

impl Membership {
    /// `first_epoch` must be above every epoch that was ever assigned in this run.
    pub(crate) fn new(agents: u16, first_epoch: Epoch) -> Self {
        Self { slots: Slots::new(agents, first_epoch), members: BTreeMap::new() }
    }

    /// Assigns this slot to an agent.
    pub(crate) fn join(
        &mut self,
        slot: SlotId,
        hello: Hello,
        control: ControlSender,
        now: Instant,
    ) -> Result<&mut Member, JoinError> {
        let grant = self.slots.join(Some(slot), now)?;
        Ok(self.add(Some(grant), hello, control))
    }

    /// Admits an agent as a standby, without a slot. Returns `None` if there are enough standbys.
    pub(crate) fn join_standby(&mut self, hello: Hello, control: ControlSender) -> Option<&mut Member> {
        (self.standbys().count() < limits::STANDBYS_MAX).then(|| self.add(None, hello, control))
    }

    fn add(&mut self, grant: Option<Grant>, hello: Hello, control: ControlSender) -> &mut Member {
        let id = MemberId(self.members.last_key_value().map_or(0, |(last, _)| last.0 + 1));
        let member = Member {
            id,
            grant,
            hello,
            is_private: false,
            control,
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

    /// Assigns a vacant slot to a prepared standby with this number of workers.
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
        // Its connections change to the slot's name first; then it reports Ready again.
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

    /// Ends a session and vacates its slot. Returns `None` if the session has already ended, so that every loss is handled once.
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

    /// Removes a lost member that never ran a row. The loss of a standby, or of an agent before the start, has no effect on the result.
    pub(crate) fn forget(&mut self, id: MemberId) {
        self.members.remove(&id);
    }

    /// Ends a session that disconnected after Bye, which is not a loss.
    pub(crate) fn disconnected(&mut self, id: MemberId, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match member.grant {
            Some(grant) => drop(self.slots.lost(grant, now)),
            None => drop(self.members.remove(&id)),
        }
    }

    /// Returns the member if it is still connected.
    pub(crate) fn present_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        let slots = &self.slots;
        let is_present = |grant: Option<Grant>| grant.is_none_or(|grant| slots.holds(grant));
        self.members.get_mut(&id).filter(|member| member.lost.is_none() && is_present(member.grant))
    }

    /// Succeeds once per session, because a second Work stream would get the same rows.
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

    /// The latest minus the earliest start among the agents that were armed together, which are the first to run each slot. `None` until
    /// all of them that are not lost have started. Replacements are not included, because they start when they join.
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

    /// The live agents that run rows, by slot.
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

    /// The agent's slot, or its machine and process id if it has none.
    pub(crate) fn name_of(&self, id: MemberId) -> Option<String> {
        let member = self.members.get(&id)?;
        Some(member.grant.map_or_else(|| member.name(), |grant| grant.slot.to_string()))
    }

    pub(crate) fn holder(&self, slot: SlotId) -> Option<&Member> {
        self.live().find(|member| member.grant.is_some_and(|grant| grant.slot == slot))
    }

    pub(crate) fn send_to_all(&self, message: &FromCoordinator) {
        for member in self.live() {
            // A full queue belongs to a dead peer, whose fence falls soon.
            member.control.send(message.clone());
        }
    }

    pub(crate) fn dismiss_all(&self, reason: &str) {
        for member in self.live().chain(self.standbys()) {
            member.control.send(FromCoordinator::Bye { reason: reason.to_owned() });
        }
    }

    /// Ends the tasks of every session and takes back their shares. The keeper closes when no session can settle rows any more.
    pub(crate) fn end_all(&self) {
        for member in self.members.values() {
            member.ended.cancel();
            member.share.send_replace(None);
        }
    }

    /// Sessions that ran rows and sent no final report.
    pub(crate) fn unreported(&self) -> impl Iterator<Item = Grant> {
        let unreported = self.members.values().filter(|member| member.has_begun && member.report.is_none());
        unreported.filter_map(|member| member.grant)
    }

    /// The first prepared agent and what it found in its database. All others should find the same.
    pub(crate) fn first_ready(&self) -> Option<(&Member, &Ready)> {
        self.live().find_map(|member| Some((member, member.ready.as_ref()?)))
    }
}
