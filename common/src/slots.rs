//! The places of a run: who holds which slot, under which epoch. Decides; does no I/O, and takes `now` as an argument.
//! A session that was lost never comes back: its agent joins again and gets a new epoch.

use std::time::{Duration, Instant};

use crate::ids::{Epoch, SlotId};

/// One granted place.
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
    #[error("{slot} was given up: its hosts run elsewhere")]
    Retired { slot: SlotId },
    #[error("there is no {slot}: this run has {slots} slots, slot-0 to slot-{}", .slots - 1)]
    NoSuchSlot { slot: SlotId, slots: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Vacant {
        /// When its last prepared session was lost; `None` when there was none yet.
        since: Option<Instant>,
    },
    /// Joined, still preparing.
    Joined { epoch: Epoch, since: Instant, vacant_since: Option<Instant> },
    /// Connected and prepared.
    Ready(Epoch),
    /// Given up; its hosts run elsewhere.
    Retired,
}

/// All places of one run.
#[derive(Debug)]
pub struct Slots {
    places: Vec<Place>,
    next_epoch: u64,
}

impl Slots {
    /// `first_epoch` must be above every epoch ever given in this run.
    pub fn new(count: u16, first_epoch: Epoch) -> Self {
        let vacant = Place::Vacant { since: None };
        Self { places: vec![vacant; count.into()], next_epoch: first_epoch.get() }
    }

    /// Gives the wanted slot, or the first vacant one.
    pub fn join(&mut self, wanted: Option<SlotId>, now: Instant) -> Result<Grant, JoinError> {
        let slots = self.places.len();
        let slot = match wanted {
            Some(slot) => slot,
            None => *self.vacant().first().ok_or(JoinError::Full { slots })?,
        };
        let vacant_since = match self.places.get(slot.index()) {
            Some(Place::Vacant { since }) => *since,
            Some(Place::Retired) => return Err(JoinError::Retired { slot }),
            Some(Place::Joined { .. } | Place::Ready(_)) => return Err(JoinError::Taken { slot }),
            None => return Err(JoinError::NoSuchSlot { slot, slots }),
        };
        let epoch = Epoch::new(self.next_epoch);
        self.next_epoch += 1;
        self.places[slot.index()] = Place::Joined { epoch, since: now, vacant_since };
        Ok(Grant { slot, epoch })
    }

    /// Marks a session as prepared; false when it does not hold its slot any more.
    pub fn ready(&mut self, grant: Grant) -> bool {
        let holds = self.holds(grant);
        if holds {
            self.places[grant.slot.index()] = Place::Ready(grant.epoch);
        }
        holds
    }

    /// Vacates a lost session's slot; false when it does not hold it any more, so every loss is handled once.
    /// A replacement that is lost before it was ready does not begin the slot's grace anew.
    pub fn lost(&mut self, grant: Grant, now: Instant) -> bool {
        let holds = self.holds(grant);
        if holds {
            let place = &mut self.places[grant.slot.index()];
            let since = match *place {
                Place::Joined { vacant_since, .. } => vacant_since.or(Some(now)),
                _ => Some(now),
            };
            *place = Place::Vacant { since };
        }
        holds
    }

    /// Gives a vacant slot up for good.
    pub fn retire(&mut self, slot: SlotId) {
        if let Some(place @ Place::Vacant { .. }) = self.places.get_mut(slot.index()) {
            *place = Place::Retired;
        }
    }

    pub fn holds(&self, grant: Grant) -> bool {
        match self.places.get(grant.slot.index()) {
            Some(Place::Joined { epoch, .. } | Place::Ready(epoch)) => *epoch == grant.epoch,
            Some(Place::Vacant { .. } | Place::Retired) | None => false,
        }
    }

    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Slots that a session holds.
    pub fn joined(&self) -> usize {
        self.places.iter().filter(|place| matches!(place, Place::Joined { .. } | Place::Ready(_))).count()
    }

    pub fn all_ready(&self) -> bool {
        self.places.iter().all(|place| matches!(place, Place::Ready(_)))
    }

    /// The slots that nobody holds and that are not given up, ascending.
    pub fn vacant(&self) -> Vec<SlotId> {
        self.which(|place| matches!(place, Place::Vacant { .. }))
    }

    /// The slots whose agents joined but are still preparing, ascending.
    pub fn preparing(&self) -> Vec<SlotId> {
        self.which(|place| matches!(place, Place::Joined { .. }))
    }

    /// The slots whose agents began to prepare at least `patience` ago.
    pub fn stuck(&self, now: Instant, patience: Duration) -> Vec<SlotId> {
        self.which(|place| matches!(place, Place::Joined { since, .. } if now >= *since + patience))
    }

    /// The vacant slots whose grace is over: nobody came for them.
    pub fn overdue(&self, now: Instant, grace: Duration) -> Vec<SlotId> {
        self.which(|place| matches!(place, Place::Vacant { since: Some(since) } if now >= *since + grace))
    }

    /// When the next vacant slot becomes overdue, or was the first to be.
    pub fn next_overdue(&self, grace: Duration) -> Option<Instant> {
        let since = |place: &Place| match place {
            Place::Vacant { since } => *since,
            _ => None,
        };
        self.places.iter().filter_map(since).min().map(|since| since + grace)
    }

    fn which(&self, wanted: impl Fn(&Place) -> bool) -> Vec<SlotId> {
        let slots = (0u16..).zip(&self.places);
        slots.filter(|(_, place)| wanted(place)).map(|(number, _)| SlotId::new(number)).collect()
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
    fn slots_are_given_in_order_and_only_once() {
        let (mut slots, now) = (slots(2), Instant::now());
        assert_eq!(slots.join(None, now).unwrap().slot, SlotId::new(0));
        assert_eq!(slots.join(None, now).unwrap().slot, SlotId::new(1));
        assert_eq!(slots.join(None, now).unwrap_err().to_string(), "all 2 slots of this run are taken");
    }

    #[test]
    fn a_wanted_slot_is_given_or_refused_by_name() {
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
    fn a_replacement_gets_the_slot_with_a_higher_epoch_and_the_lost_session_nothing() {
        let (mut slots, now) = (slots(1), Instant::now());
        let old = slots.join(None, now).unwrap();
        assert!(slots.ready(old));
        assert!(slots.lost(old, now));
        assert!(!slots.lost(old, now), "a loss is handled once");
        let new = slots.join(None, now).unwrap();
        assert!(new.epoch > old.epoch);
        assert!(!slots.ready(old), "a lapsed session never resumes");
        assert!(!slots.all_ready());
        assert!(slots.ready(new) && slots.all_ready());
    }

    #[test]
    fn who_is_missing_is_known_by_name() {
        let (mut slots, now) = (slots(3), Instant::now());
        slots.join(Some(SlotId::new(1)), now).unwrap();
        assert_eq!(slots.vacant(), [SlotId::new(0), SlotId::new(2)]);
        assert_eq!(slots.preparing(), [SlotId::new(1)]);
        assert_eq!(slots.joined(), 1);
    }

    #[test]
    fn the_grace_of_a_lost_slot_is_not_begun_anew_by_replacements_that_fail() {
        let (mut slots, start) = (slots(1), Instant::now());
        let first = slots.join(None, start).unwrap();
        slots.ready(first);
        assert_eq!(slots.next_overdue(GRACE), None);
        slots.lost(first, start);
        let second = slots.join(None, start + GRACE / 2).unwrap();
        assert_eq!(slots.overdue(start + GRACE, GRACE), [], "somebody prepares to take it");
        slots.lost(second, start + GRACE * 2);
        assert_eq!(slots.next_overdue(GRACE), Some(start + GRACE));
        assert_eq!(slots.overdue(start + GRACE, GRACE), [SlotId::new(0)]);
    }

    #[test]
    fn a_slot_that_was_given_up_is_given_to_nobody() {
        let (mut slots, now) = (slots(2), Instant::now());
        let first = slots.join(None, now).unwrap();
        slots.lost(first, now);
        slots.retire(first.slot);
        assert_eq!(slots.join(None, now).unwrap().slot, SlotId::new(1));
        assert_eq!(
            slots.join(Some(first.slot), now).unwrap_err().to_string(),
            "slot-0 was given up: its hosts run elsewhere"
        );
        assert_eq!(slots.overdue(now + GRACE, GRACE), []);
    }

    #[test]
    fn a_session_that_never_gets_ready_is_found() {
        let (mut slots, now) = (slots(1), Instant::now());
        slots.join(None, now).unwrap();
        assert_eq!(slots.stuck(now + GRACE / 2, GRACE), []);
        assert_eq!(slots.stuck(now + GRACE, GRACE), [SlotId::new(0)]);
    }
}
