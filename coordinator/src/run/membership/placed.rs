//! Which slot an agent may take. Once hosts are placed, none may move, so a slot needs the same number of workers as before: with fewer,
//! some of its hosts would have no worker.

use muster_core::ids::SlotId;
use muster_core::slots::Slots;

use super::member::{Applicant, Refusal};

/// The number of workers of each slot. Empty until hosts are placed.
#[derive(Debug)]
pub(super) struct PlacedWorkers(Vec<u16>);

impl PlacedWorkers {
    pub(super) fn new(workers_of_slot: Vec<u16>) -> Self {
        Self(workers_of_slot)
    }

    pub(super) fn fits(&self, slot: SlotId, applicant: &Applicant) -> bool {
        self.0.get(slot.index()).is_none_or(|needed| *needed == applicant.workers)
    }

    /// The slot that an agent may take. `None` if it has to wait for one.
    pub(super) fn slot_for(&self, applicant: &Applicant, slots: &Slots) -> Result<Option<SlotId>, Refusal> {
        let Some(wanted) = applicant.slot else {
            let mut fitting = slots.vacant().into_iter().filter(|slot| self.fits(*slot, applicant));
            // An agent that returns has results of its slot's rows, which no other agent should run meanwhile.
            let own = applicant.ended.map(|ended| ended.slot);
            let first = fitting.clone().next();
            return Ok(fitting.find(|slot| own == Some(*slot)).or(first));
        };
        // The slot may still be held by a session that has just died. The agent tries again.
        match self.0.get(wanted.index()) {
            Some(needed) if !self.fits(wanted, applicant) => {
                let own = applicant.workers;
                let reason =
                    format!("{wanted} has hosts for {needed} workers in this run, the agent has {own}");
                Err(Refusal { reason, retry: true })
            }
            _ => Ok(Some(wanted)),
        }
    }
}
