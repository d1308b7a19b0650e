//! The slots of a run: which session holds which slot, and under which epoch. Decides, but does no I/O; `now` is an argument.
//! A lost session never comes back: its agent joins again and gets a new epoch.

use std::time::{Duration, Instant};

use crate::ids::{Epoch, SlotId};

/// A granted slot, with the epoch of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub slot: SlotId,
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("all {slots} slots of this run are taken")]
    Full { slots: usize },
    #[error("{slot} is taken by another agent")]
    Taken { slot: SlotId },
    #[error("{slot} was retired: its hosts were reassigned to other workers")]
    Retired { slot: SlotId },
    #[error("there is no {slot}: this run has {slots} slots, slot-0 to slot-{}", .slots - 1)]
    NoSuchSlot { slot: SlotId, slots: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Vacant {
        /// When its last prepared session was lost; `None` if it never had one.
        since: Option<Instant>,
    },
    /// An agent has joined and is still preparing.
    Joined { epoch: Epoch, since: Instant, vacant_since: Option<Instant> },
    /// Connected and prepared.
    Ready(Epoch),
    /// Given up for good; its hosts were reassigned.
    Retired,
}

/// All slots of one run.
#[derive(Debug)]
pub struct Slots {
    states: Vec<State>,
    next_epoch: u64,
}

impl Slots {
    /// `first_epoch` must be greater than every epoch granted in this run so far.
    pub fn new(count: u16, first_epoch: Epoch) -> Self {
        let vacant = State::Vacant { since: None };
        Self { states: vec![vacant; count.into()], next_epoch: first_epoch.get() }
    }

    /// Grants the wanted slot, or the first vacant one.
    pub fn join(&mut self, wanted: Option<SlotId>, now: Instant) -> Result<Grant, JoinError> {
        let slots = self.states.len();
        let slot = match wanted {
            Some(slot) => slot,
            None => *self.vacant().first().ok_or(JoinError::Full { slots })?,
        };
        let vacant_since = match self.states.get(slot.index()) {
            Some(State::Vacant { since }) => *since,
            Some(State::Retired) => return Err(JoinError::Retired { slot }),
            Some(State::Joined { .. } | State::Ready(_)) => return Err(JoinError::Taken { slot }),
            None => return Err(JoinError::NoSuchSlot { slot, slots }),
        };
        let epoch = Epoch::new(self.next_epoch);
        self.next_epoch += 1;
        self.states[slot.index()] = State::Joined { epoch, since: now, vacant_since };
        Ok(Grant { slot, epoch })
    }

    /// Marks a session as prepared. Returns false if it no longer holds its slot.
    pub fn ready(&mut self, grant: Grant) -> bool {
        let holds = self.holds(grant);
        if holds {
            self.states[grant.slot.index()] = State::Ready(grant.epoch);
        }
        holds
    }

    /// Vacates the slot of a lost session. Returns false if the session no longer holds it, so that every loss is handled once.
    /// Losing a replacement that was never ready does not restart the slot's grace period.
    pub fn lost(&mut self, grant: Grant, now: Instant) -> bool {
        let holds = self.holds(grant);
        if holds {
            let state = &mut self.states[grant.slot.index()];
            let since = match *state {
                State::Joined { vacant_since, .. } => vacant_since.or(Some(now)),
                _ => Some(now),
            };
            *state = State::Vacant { since };
        }
        holds
    }

    /// Retires a vacant slot for good.
    pub fn retire(&mut self, slot: SlotId) {
        if let Some(state @ State::Vacant { .. }) = self.states.get_mut(slot.index()) {
            *state = State::Retired;
        }
    }

    pub fn holds(&self, grant: Grant) -> bool {
        match self.states.get(grant.slot.index()) {
            Some(State::Joined { epoch, .. } | State::Ready(epoch)) => *epoch == grant.epoch,
            Some(State::Vacant { .. } | State::Retired) | None => false,
        }
    }

    pub fn count(&self) -> usize {
        self.states.len()
    }

    /// Returns the number of slots that are held by a session.
    pub fn joined(&self) -> usize {
        self.states.iter().filter(|state| matches!(state, State::Joined { .. } | State::Ready(_))).count()
    }

    pub fn all_ready(&self) -> bool {
        self.states.iter().all(|state| matches!(state, State::Ready(_)))
    }

    /// Returns the slots that are neither held by a session nor retired, ascending.
    pub fn vacant(&self) -> Vec<SlotId> {
        self.which(|state| matches!(state, State::Vacant { .. }))
    }

    /// Returns the slots whose agents have joined and are still preparing, ascending.
    pub fn preparing(&self) -> Vec<SlotId> {
        self.which(|state| matches!(state, State::Joined { .. }))
    }

    /// Returns the slots whose agents have been preparing for at least `timeout`.
    pub fn stuck(&self, now: Instant, timeout: Duration) -> Vec<SlotId> {
        self.which(|state| matches!(state, State::Joined { since, .. } if now >= *since + timeout))
    }

    /// Returns the vacant slots whose grace period has ended without a replacement.
    pub fn overdue(&self, now: Instant, grace: Duration) -> Vec<SlotId> {
        self.which(|state| matches!(state, State::Vacant { since: Some(since) } if now >= *since + grace))
    }

    /// Returns the earliest time at which a vacant slot becomes, or became, overdue.
    pub fn next_overdue(&self, grace: Duration) -> Option<Instant> {
        let since = |state: &State| match state {
            State::Vacant { since } => *since,
            _ => None,
        };
        self.states.iter().filter_map(since).min().map(|since| since + grace)
    }

    fn which(&self, is_wanted: impl Fn(&State) -> bool) -> Vec<SlotId> {
        let slots = (0u16..).zip(&self.states);
        slots.filter(|(_, state)| is_wanted(state)).map(|(number, _)| SlotId::new(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn slots(count: u16) -> Slots {
        Slots::new(count, Epoch::new(1))
    }

    #[test]
    fn slots_are_granted_in_order_and_only_once() {
        let (mut slots, now) = (slots(2), Instant::now());
        assert_eq!(slots.join(None, now).unwrap().slot, SlotId::new(0));
        assert_eq!(slots.join(None, now).unwrap().slot, SlotId::new(1));
        assert_eq!(slots.join(None, now).unwrap_err().to_string(), "all 2 slots of this run are taken");
    }

    #[test]
    fn a_wanted_slot_is_granted_or_refused_by_name() {
        let (mut slots, now) = (slots(2), Instant::now());
        let mut join = |number| slots.join(Some(SlotId::new(number)), now);
        assert_eq!(join(1).unwrap().slot, SlotId::new(1));
        assert_eq!(join(1).unwrap_err().to_string(), "slot-1 is taken by another agent");
        assert_eq!(
            join(2).unwrap_err().to_string(),
            "there is no slot-2: this run has 2 slots, slot-0 to slot-1"
        );
    }

    #[test]
    fn a_replacement_gets_the_slot_with_a_higher_epoch_and_the_lost_session_gets_nothing() {
        let (mut slots, now) = (slots(1), Instant::now());
        let old = slots.join(None, now).unwrap();
        assert!(slots.ready(old));
        assert!(slots.lost(old, now));
        assert!(!slots.lost(old, now), "a loss is handled once");
        let new = slots.join(None, now).unwrap();
        assert!(new.epoch > old.epoch);
        assert!(!slots.ready(old), "a lost session never resumes");
        assert!(!slots.all_ready());
        assert!(slots.ready(new) && slots.all_ready());
    }

    #[test]
    fn missing_and_preparing_agents_are_listed_by_slot() {
        let (mut slots, now) = (slots(3), Instant::now());
        slots.join(Some(SlotId::new(1)), now).unwrap();
        assert_eq!(slots.vacant(), [SlotId::new(0), SlotId::new(2)]);
        assert_eq!(slots.preparing(), [SlotId::new(1)]);
        assert_eq!(slots.joined(), 1);
    }

    #[test]
    fn a_failing_replacement_does_not_restart_the_grace_period() {
        let (mut slots, start) = (slots(1), Instant::now());
        let first = slots.join(None, start).unwrap();
        slots.ready(first);
        assert_eq!(slots.next_overdue(GRACE), None);
        slots.lost(first, start);
        let second = slots.join(None, start + GRACE / 2).unwrap();
        assert_eq!(slots.overdue(start + GRACE, GRACE), [], "a replacement is preparing");
        slots.lost(second, start + GRACE * 2);
        assert_eq!(slots.next_overdue(GRACE), Some(start + GRACE));
        assert_eq!(slots.overdue(start + GRACE, GRACE), [SlotId::new(0)]);
    }

    #[test]
    fn a_retired_slot_is_not_granted_again() {
        let (mut slots, now) = (slots(2), Instant::now());
        let first = slots.join(None, now).unwrap();
        slots.lost(first, now);
        slots.retire(first.slot);
        assert_eq!(slots.join(None, now).unwrap().slot, SlotId::new(1));
        assert_eq!(
            slots.join(Some(first.slot), now).unwrap_err().to_string(),
            "slot-0 was retired: its hosts were reassigned to other workers"
        );
        assert_eq!(slots.overdue(now + GRACE, GRACE), []);
    }

    #[test]
    fn a_session_that_never_becomes_ready_is_reported_as_stuck() {
        let (mut slots, now) = (slots(1), Instant::now());
        slots.join(None, now).unwrap();
        assert_eq!(slots.stuck(now + GRACE / 2, GRACE), []);
        assert_eq!(slots.stuck(now + GRACE, GRACE), [SlotId::new(0)]);
    }
}
