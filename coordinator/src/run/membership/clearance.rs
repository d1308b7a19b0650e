//! In a resumed run: the wait until the database has no backends left of the agents of an earlier coordinator.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use muster_core::ids::SlotId;
use muster_core::limits;

/// How long to wait for each reply.
const PATIENCE: Duration = limits::END_BACKENDS_TIMEOUT.saturating_add(limits::FENCE);

#[derive(Debug)]
pub(super) struct Clearance {
    /// The slots for which no reply has arrived.
    open: BTreeSet<SlotId>,
    begins_at: Instant,
    give_up_at: Instant,
}

impl Clearance {
    pub(super) fn begin(slots: impl Iterator<Item = SlotId>, now: Instant) -> Self {
        Self { open: slots.collect(), begins_at: now, give_up_at: now + PATIENCE }
    }

    /// Takes the reply for a slot. `ends_at` is the time at which the server has ended backends that may be left.
    pub(super) fn replied(&mut self, slot: SlotId, ends_at: Option<Instant>, now: Instant) {
        if self.open.remove(&slot) {
            self.give_up_at = now + PATIENCE;
            self.begins_at = ends_at.unwrap_or(self.begins_at);
        }
    }

    /// The time at which rows may begin, as far as is known.
    pub(super) fn until(&self) -> Instant {
        if self.open.is_empty() { self.begins_at } else { self.give_up_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_when_every_slot_is_clear_or_its_backends_have_timed_out() {
        let start = Instant::now();
        let second = |count| start + Duration::from_secs(count);
        let slots = || (0..2).map(SlotId::new);
        let mut clearance = Clearance::begin(slots(), start);
        assert_eq!(clearance.until(), start + PATIENCE, "no agent replies");
        clearance.replied(SlotId::new(0), None, second(1));
        assert_eq!(clearance.until(), second(1) + PATIENCE, "each reply extends the patience");
        clearance.replied(SlotId::new(0), Some(second(99)), second(2));
        clearance.replied(SlotId::new(1), Some(second(8)), second(3));
        assert_eq!(clearance.until(), second(8), "a repeated reply has no effect");
        let mut clearance = Clearance::begin(slots(), start);
        slots().for_each(|slot| clearance.replied(slot, None, second(4)));
        assert_eq!(clearance.until(), start);
    }
}
