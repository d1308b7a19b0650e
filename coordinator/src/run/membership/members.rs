//! The slots and the members, without any policy: who is present, who runs, who stands by.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use muster_core::ids::{Epoch, SlotId};
use muster_core::slots::{Grant, JoinError, Slots};

use super::member::{Applicant, Member, MemberId};

#[derive(Debug)]
pub(crate) struct Members {
    slots: Slots,
    /// All admitted agents in the order of joining. Lost agents that ran rows remain for the report.
    members: BTreeMap<MemberId, Member>,
    joined: u32,
}

impl Members {
    pub(super) fn new(agents: u16, first_epoch: Epoch) -> Self {
        Self { slots: Slots::new(agents, first_epoch), members: BTreeMap::new(), joined: 0 }
    }

    /// Adds an agent with this slot, or a standby.
    pub(super) fn join(
        &mut self,
        applicant: Applicant,
        slot: Option<SlotId>,
        now: Instant,
    ) -> Result<(MemberId, Option<Grant>), JoinError> {
        let grant = slot.map(|slot| self.slots.join(Some(slot), now)).transpose()?;
        let id = MemberId(self.joined);
        self.joined += 1;
        let member = Member {
            id,
            applicant,
            grant,
            is_ready: false,
            has_begun: false,
            started: None,
            has_reported: false,
            is_lost: false,
        };
        self.members.insert(id, member);
        Ok((id, grant))
    }

    /// Assigns a vacant slot to a standby. It must become ready again, because its connections change to the slot's name.
    pub(super) fn promote(&mut self, id: MemberId, slot: SlotId, now: Instant) -> Option<Grant> {
        let member = self.members.get_mut(&id)?;
        let grant = self.slots.join(Some(slot), now).ok()?;
        (member.grant, member.is_ready) = (Some(grant), false);
        Some(grant)
    }

    /// Marks a present member as prepared.
    pub(super) fn ready(&mut self, id: MemberId) -> Option<&Member> {
        let grant = self.present(id)?.grant;
        if let Some(grant) = grant {
            self.slots.ready(grant);
        }
        let member = self.members.get_mut(&id)?;
        member.is_ready = true;
        Some(member)
    }

    /// Ends a session and vacates its slot. Returns the member as it was; `None` if the session has ended already. A member that never ran a
    /// row is forgotten, because its loss has no effect on the result.
    pub(super) fn lose(&mut self, id: MemberId, now: Instant) -> Option<Member> {
        let member = self.members.get_mut(&id).filter(|member| !member.is_lost)?;
        let lost = member.clone();
        member.is_lost = true;
        if let Some(grant) = member.grant {
            self.slots.lost(grant, now);
        }
        if !lost.has_begun {
            self.members.remove(&id);
        }
        Some(lost)
    }

    /// Ends a session that disconnected after Bye, which is not a loss.
    pub(super) fn disconnected(&mut self, id: MemberId, now: Instant) {
        match self.members.get(&id).map(|member| member.grant) {
            Some(Some(grant)) => drop(self.slots.lost(grant, now)),
            _ => drop(self.members.remove(&id)),
        }
    }

    /// Retires a vacant slot for good.
    pub(super) fn retire(&mut self, slot: SlotId) {
        self.slots.retire(slot);
    }

    /// Returns the member if it is still connected.
    pub(crate) fn present(&self, id: MemberId) -> Option<&Member> {
        let is_present =
            |member: &&Member| !member.is_lost && member.grant.is_none_or(|grant| self.slots.holds(grant));
        self.members.get(&id).filter(is_present)
    }

    pub(super) fn present_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.present(id)?;
        self.members.get_mut(&id)
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The agents that hold their slots, by slot.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Member, Grant)> + Clone {
        let with_grants = self.members.values().filter_map(|member| Some((member, member.grant?)));
        let mut live: Vec<_> = with_grants.filter(|(_, grant)| self.slots.holds(*grant)).collect();
        live.sort_by_key(|(_, grant)| grant.slot);
        live.into_iter()
    }

    /// The live agents that run rows, by slot.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&Member, Grant)> + Clone {
        self.live().filter(|(member, _)| member.has_begun)
    }

    /// The agents without a slot, in the order of joining.
    pub(crate) fn standbys(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.grant.is_none() && !member.is_lost)
    }

    /// The session that holds this slot.
    pub(crate) fn holder(&self, slot: SlotId) -> Option<&Member> {
        self.live().find(|(_, grant)| grant.slot == slot).map(|(member, _)| member)
    }

    /// No agent is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.live().next().is_none() && self.standbys().next().is_none()
    }

    /// Sessions that ran rows and sent no final report.
    pub(crate) fn unreported(&self) -> impl Iterator<Item = Grant> {
        let unreported = self.members.values().filter(|member| member.has_begun && !member.has_reported);
        unreported.filter_map(|member| member.grant)
    }

    /// The latest minus the earliest start among the agents that were armed together, which are the first to run each slot. `None` until
    /// all of them that are not lost have started. Replacements are not included, because they start when they join.
    pub(crate) fn start_skew(&self) -> Option<Duration> {
        let mut first_of_slot = BTreeMap::new();
        for member in self.members.values().filter(|member| member.has_begun) {
            first_of_slot.entry(member.grant?.slot).or_insert(member);
        }
        let together = first_of_slot.values().filter(|member| !member.is_lost || member.started.is_some());
        let starts: Option<Vec<Instant>> = together.map(|member| member.started).collect();
        let starts = starts?;
        Some(starts.iter().max()?.duration_since(*starts.iter().min()?))
    }
}
