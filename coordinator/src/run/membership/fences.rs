//! Slots whose rows wait until no query of a lost session can run any more: its lease has expired, and the backends that it left in the
//! database are ended.

use std::collections::BTreeMap;
use std::time::Instant;

use muster_core::ids::{Epoch, SlotId};
use muster_core::limits;
use muster_core::slots::Grant;

use super::effect::Effect;
use super::member::MemberId;

#[derive(Debug, Default)]
pub(super) struct Fences {
    fences: BTreeMap<SlotId, Fence>,
    /// Lost sessions whose agents may still run queries, and the time at which their leases expire.
    lapses: Vec<(Grant, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence {
    asked: Asked,
    /// The rows continue at this time at the latest.
    until: Instant,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The lost agent may still run queries until then.
    NotYet(Instant),
    Member(MemberId),
    /// No agent runs that could be asked. The next one that runs is asked.
    NoAgent,
    /// The agent that was asked could not end the backends, so the rows wait until they end.
    Failed,
}

/// What happens when the fence is lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The slot's new holder begins.
    Begin { member: MemberId, epoch: Epoch },
    /// The slot was given up: its hosts move.
    Move,
}

impl Fences {
    pub(super) fn is_empty(&self) -> bool {
        self.fences.is_empty()
    }

    pub(super) fn is_raised(&self, slot: SlotId) -> bool {
        self.fences.contains_key(&slot)
    }

    pub(super) fn all(&self) -> Vec<(SlotId, Fence)> {
        self.fences.iter().map(|(slot, fence)| (*slot, *fence)).collect()
    }

    /// The agent of a lost session may run queries until then.
    pub(super) fn lapse(&mut self, lost: Grant, at: Instant) {
        self.lapses.push((lost, at));
    }

    /// The agent of a lost session runs no query any more.
    pub(super) fn has_ended(&mut self, lost: Grant) {
        self.lapses.retain(|(grant, _)| *grant != lost);
    }

    /// Lets `agent` end the slot's older backends as soon as the lost session's lease has expired. Until then the slot's rows wait.
    pub(super) fn raise(
        &mut self,
        slot: SlotId,
        then: Then,
        agent: Option<MemberId>,
        now: Instant,
    ) -> Option<Effect> {
        self.lapses.retain(|(_, at)| now < *at);
        let lapses = self.lapses.iter().filter(|(grant, _)| grant.slot == slot);
        let asked = match (lapses.map(|(_, at)| *at).max(), agent) {
            (Some(at), _) => Asked::NotYet(at),
            (None, Some(member)) => Asked::Member(member),
            (None, None) => Asked::NoAgent,
        };
        // Includes the lease of the asked agent and that of the lost session.
        let until = now + limits::FENCE + limits::END_BACKENDS_TIMEOUT + limits::FENCE;
        self.fences.insert(slot, Fence { asked, until, then });
        let Asked::Member(member) = asked else { return None };
        let below = match then {
            Then::Begin { epoch, .. } => epoch,
            Then::Move => Epoch::new(u64::MAX),
        };
        Some(Effect::EndBackends { member, slot, below })
    }

    /// Returns true if this agent's reply for the slot is awaited.
    pub(super) fn awaits(&self, slot: SlotId, member: MemberId) -> bool {
        self.fences.get(&slot).is_some_and(|fence| fence.asked == Asked::Member(member))
    }

    /// The agent could not end the backends. The slot's rows wait until then.
    pub(super) fn wait(&mut self, slot: SlotId, until: Instant) {
        if let Some(fence) = self.fences.get_mut(&slot) {
            (fence.asked, fence.until) = (Asked::Failed, until);
        }
    }

    pub(super) fn lift(&mut self, slot: SlotId) -> Option<Then> {
        self.fences.remove(&slot).map(|fence| fence.then)
    }
}

impl Fence {
    /// Returns true if an agent has to be asked, or another one has to be asked again.
    pub(super) fn must_ask(&self, now: Instant, is_present: impl Fn(MemberId) -> bool) -> bool {
        match self.asked {
            Asked::Member(member) => !is_present(member),
            Asked::NoAgent => true,
            Asked::NotYet(at) => now >= at,
            Asked::Failed => false,
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }
}
