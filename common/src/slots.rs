//! The places of a run: who holds which slot, under which epoch. Decides; does no I/O.
//! A session that was lost never comes back: its agent joins again and gets a new epoch.

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
    #[error("there is no {slot}: this run has {slots} slots, slot-0 to slot-{}", .slots - 1)]
    NoSuchSlot { slot: SlotId, slots: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Vacant,
    /// Joined, still preparing.
    Joined(Epoch),
    /// Connected and prepared.
    Ready(Epoch),
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
        Self { places: vec![Place::Vacant; count.into()], next_epoch: first_epoch.get() }
    }

    /// Gives the wanted slot, or the first vacant one.
    pub fn join(&mut self, wanted: Option<SlotId>) -> Result<Grant, JoinError> {
        let slots = self.places.len();
        let index = match wanted {
            Some(slot) => match self.places.get(slot.index()) {
                Some(Place::Vacant) => slot.index(),
                Some(_) => return Err(JoinError::Taken { slot }),
                None => return Err(JoinError::NoSuchSlot { slot, slots }),
            },
            None => self
                .places
                .iter()
                .position(|place| *place == Place::Vacant)
                .ok_or(JoinError::Full { slots })?,
        };
        let epoch = Epoch::new(self.next_epoch);
        self.next_epoch += 1;
        self.places[index] = Place::Joined(epoch);
        let slot = SlotId::new(u16::try_from(index).expect("there are at most u16::MAX slots"));
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
    pub fn lost(&mut self, grant: Grant) -> bool {
        let holds = self.holds(grant);
        if holds {
            self.places[grant.slot.index()] = Place::Vacant;
        }
        holds
    }

    pub fn holds(&self, grant: Grant) -> bool {
        match self.places.get(grant.slot.index()) {
            Some(Place::Joined(epoch) | Place::Ready(epoch)) => *epoch == grant.epoch,
            Some(Place::Vacant) | None => false,
        }
    }

    pub fn count(&self) -> usize {
        self.places.len()
    }

    pub fn joined(&self) -> usize {
        self.places.iter().filter(|place| **place != Place::Vacant).count()
    }

    pub fn all_ready(&self) -> bool {
        self.places.iter().all(|place| matches!(place, Place::Ready(_)))
    }

    /// The slots that nobody holds, ascending.
    pub fn vacant(&self) -> Vec<SlotId> {
        let slots = (0u16..).zip(&self.places);
        slots.filter(|(_, place)| **place == Place::Vacant).map(|(number, _)| SlotId::new(number)).collect()
    }

    /// The slots whose agents joined but are still preparing, ascending.
    pub fn preparing(&self) -> Vec<SlotId> {
        let slots = (0u16..).zip(&self.places);
        slots
            .filter(|(_, place)| matches!(place, Place::Joined(_)))
            .map(|(number, _)| SlotId::new(number))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: u16) -> Slots {
        Slots::new(count, Epoch::new(1))
    }

    #[test]
    fn slots_are_given_in_order_and_only_once() {
        let mut slots = slots(2);
        assert_eq!(slots.join(None).unwrap().slot, SlotId::new(0));
        assert_eq!(slots.join(None).unwrap().slot, SlotId::new(1));
        assert_eq!(slots.join(None).unwrap_err().to_string(), "all 2 slots of this run are taken");
    }

    #[test]
    fn a_wanted_slot_is_given_or_refused_by_name() {
        let mut slots = slots(2);
        assert_eq!(slots.join(Some(SlotId::new(1))).unwrap().slot, SlotId::new(1));
        assert_eq!(
            slots.join(Some(SlotId::new(1))).unwrap_err().to_string(),
            "slot-1 is taken by another agent"
        );
        assert_eq!(
            slots.join(Some(SlotId::new(2))).unwrap_err().to_string(),
            "there is no slot-2: this run has 2 slots, slot-0 to slot-1"
        );
    }

    #[test]
    fn a_replacement_gets_the_slot_with_a_higher_epoch_and_the_lost_session_nothing() {
        let mut slots = slots(1);
        let old = slots.join(None).unwrap();
        assert!(slots.ready(old));
        assert!(slots.lost(old));
        assert!(!slots.lost(old), "a loss is handled once");
        let new = slots.join(None).unwrap();
        assert!(new.epoch > old.epoch);
        assert!(!slots.ready(old), "a lapsed session never resumes");
        assert!(!slots.all_ready());
        assert!(slots.ready(new) && slots.all_ready());
    }

    #[test]
    fn who_is_missing_is_known_by_name() {
        let mut slots = slots(3);
        slots.join(Some(SlotId::new(1))).unwrap();
        assert_eq!(slots.vacant(), [SlotId::new(0), SlotId::new(2)]);
        assert_eq!(slots.preparing(), [SlotId::new(1)]);
        assert_eq!(slots.joined(), 1);
    }
}
