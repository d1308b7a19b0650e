//! The end of a session, from any cause, and what has to end before its slot's rows run again: the lease of its agent, which may not
//! know of the loss yet, and the queries that it left in the database.

use std::time::{Duration, Instant};

use muster_common::ids::{Epoch, RowId, SlotId};
use muster_common::lease::Fence;
use muster_common::limits;
use muster_common::slots::Grant;

use super::journal::Entry;
use super::phases::Phase;
use super::{Coordinator, Ending};
use crate::database::DatabaseEvent;
use crate::messages::{FromCoordinator, Process};
use crate::mutants::Mutant;
use crate::network::End;
use crate::scenario::{Policy, STATEMENT_TIMEOUT};
use crate::tally::Counter;
use crate::world::{Event, World};

/// What earlier sessions of a slot may still run in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleanup {
    /// Nothing runs.
    Done,
    /// Queries may run, and new ones may begin until `quiet_at`.
    Pending { quiet_at: Instant },
    /// The database was asked to end them.
    Requested,
    /// The database refused: the queries reach the statement timeout by `until`.
    TimingOut { until: Instant },
}

impl Cleanup {
    pub(super) fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Pending { quiet_at: at } | Self::TimingOut { until: at } => Some(*at),
            Self::Done | Self::Requested => None,
        }
    }
}

/// How a session ended, and therefore what is known of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndCause {
    /// The stream broke. The agent may not have noticed and goes on until its lease lapses.
    Broken,
    Fenced,
    /// The agent sent results of this session in a later one.
    Superseded,
    /// The agent reported that it ran only the rows with a result.
    HandedBack,
}

impl Coordinator {
    /// Every end of a session takes this path. Does nothing for a session that is already over.
    pub(super) fn end_session(&mut self, world: &mut World, grant: Grant, cause: EndCause) {
        if !self.slots.lost(grant, world.now) {
            return;
        }
        let Some(member) = self.members.remove(&grant.epoch) else { return };
        world.note(|| format!("coordinator: {}:{} is over: {cause:?}", grant.slot, grant.epoch));
        world.checks.session_over(grant);
        let workers = self.workers_of(world, grant.slot);
        if cause == EndCause::HandedBack {
            let rows = self.dispatch.handed_back(workers, grant.epoch);
            world.checks.tally.add(Counter::RowsHandedBack, rows);
            self.journal.add(Entry::HandedBack(grant.epoch));
        } else {
            let lost = self.dispatch.lost(workers, grant.epoch);
            world.checks.tally.add(Counter::RowsLost, lost.len());
            self.journal.add(Entry::Lost(grant.epoch));
            self.watch_suspects(world);
        }
        if member.has_begun {
            let quiet_at = match cause {
                EndCause::Broken if !world.is(Mutant::BrokenIsLapsed) => {
                    self.expires_at(world, &member.fence)
                }
                EndCause::Broken | EndCause::Fenced | EndCause::Superseded | EndCause::HandedBack => {
                    world.now
                }
            };
            self.cleanups[grant.slot.index()] = Cleanup::Pending { quiet_at };
        }
        if cause == EndCause::HandedBack {
            self.journal.then_send(member.connection, FromCoordinator::Bye);
        } else if !world.is(Mutant::LapsedResume) {
            world.close(member.connection, End::Coordinator);
        }
    }

    /// A process that sends Hello is alive, whatever happened to its sessions.
    pub(super) fn returned(&mut self, world: &mut World, process: Process) {
        world.checks.returned(process);
        let sessions = self.processes.iter().filter(|(_, of)| **of == process);
        let sessions: Vec<Epoch> = sessions.map(|(epoch, _)| *epoch).collect();
        if !sessions.is_empty() && !world.is(Mutant::LossIsDeath) {
            self.dispatch.discount(sessions);
            self.journal.add(Entry::Returned(process));
        }
    }

    pub(super) fn watch_suspects(&mut self, world: &World) {
        let suspects = self.dispatch.suspects();
        if !suspects.is_empty() {
            self.suspects.push((world.now + limits::RETURN_GRACE, suspects));
        }
    }

    /// Quarantines the rows whose processes did not return.
    pub(super) fn quarantine_suspects(&mut self, world: &mut World) {
        let due: Vec<RowId> = self
            .suspects
            .extract_if(.., |(until, _)| world.now >= *until)
            .flat_map(|(_, rows)| rows)
            .collect();
        let quarantined = self.dispatch.quarantine(due);
        if !quarantined.is_empty() {
            world.note(|| format!("coordinator: rows {quarantined:?} are quarantined"));
            world.checks.tally.add(Counter::RowsQuarantined, quarantined.len());
            self.journal.add(Entry::Quarantined(quarantined));
        }
    }

    pub(super) fn expires_at(&self, world: &World, fence: &Fence) -> Instant {
        let early = if world.is(Mutant::ShortFence) { Duration::from_millis(1_300) } else { Duration::ZERO };
        fence.expires_at() - early
    }

    pub(super) fn fence_expired(&mut self, world: &mut World) {
        let now = world.now;
        let fallen = self.members.values().filter(|member| now >= self.expires_at(world, &member.fence));
        for grant in fallen.map(|member| member.grant).collect::<Vec<_>>() {
            self.end_session(world, grant, EndCause::Fenced);
        }
        self.standbys.retain(|standby| !standby.fence.has_expired(now));
    }

    /// Gives vacant slots to standbys, oldest first.
    pub(super) fn promote(&mut self, world: &mut World) {
        while !self.standbys.is_empty()
            && let Ok(grant) = self.slots.join(None, world.now)
        {
            let standby = self.standbys.remove(0);
            world.checks.tally.add(Counter::Promotions, 1);
            self.welcome(world, standby.connection, standby.process, grant);
        }
    }

    /// Handles the slots that stayed vacant through their grace period.
    pub(super) fn handle_vacant_slots(&mut self, world: &mut World) {
        let overdue = self.slots.overdue(world.now, limits::SLOT_GRACE);
        if overdue.is_empty() {
            return;
        }
        let all_lost = self.members.is_empty() && overdue == self.slots.vacant();
        if world.scenario.policy == Policy::Fail || all_lost {
            return self.end(world, Ending::AgentsLost);
        }
        // At least one session has to be able to take the hosts.
        if world.scenario.policy == Policy::Reassign && self.members.values().any(|member| member.has_begun) {
            for slot in overdue {
                self.retire(world, slot);
            }
        }
    }

    pub(super) fn retire(&mut self, world: &mut World, slot: SlotId) {
        world.note(|| format!("coordinator: {slot} is retired"));
        world.checks.tally.add(Counter::SlotsRetired, 1);
        self.slots.retire(slot);
        self.retired.push(slot);
    }

    /// Ends the backends that earlier sessions left for each slot that is about to be taken over, and those of all slots before a run is
    /// resumed: hosts that had moved before the crash return to their first owners then.
    pub(super) fn start_cleanups(&mut self, world: &mut World) {
        let resumes = matches!(self.phase, Phase::WaitingForAgents) && !world.is(Mutant::ResumeSlotBySlot);
        for slot in (0..world.scenario.slots).map(SlotId::new) {
            let next = self.members.values().find(|member| member.grant.slot == slot && member.is_ready);
            let below = match next {
                _ if resumes => self.first_epoch,
                Some(member) => member.grant.epoch,
                None if self.retired.contains(&slot) => Epoch::new(u64::MAX),
                None => continue,
            };
            let cleanup = &mut self.cleanups[slot.index()];
            match *cleanup {
                Cleanup::Pending { quiet_at } if world.now >= quiet_at => {
                    if world.is(Mutant::BackendsNotEnded) {
                        *cleanup = Cleanup::Done;
                        continue;
                    }
                    *cleanup = Cleanup::Requested;
                    let delay = world.random.millis(1..=100);
                    let event = DatabaseEvent::EndBackends { life: self.life, slot, below };
                    world.schedule(delay, Event::Database(event));
                }
                Cleanup::TimingOut { until } if world.now >= until => *cleanup = Cleanup::Done,
                Cleanup::Done | Cleanup::Pending { .. } | Cleanup::Requested | Cleanup::TimingOut { .. } => {}
            }
        }
    }

    pub(super) fn backends_ended(&mut self, world: &mut World, slot: SlotId, is_allowed: bool) {
        let cleanup = &mut self.cleanups[slot.index()];
        if *cleanup == Cleanup::Requested {
            let until = world.now + STATEMENT_TIMEOUT;
            let is_clean = is_allowed || world.is(Mutant::RefusalIgnored);
            *cleanup = if is_clean { Cleanup::Done } else { Cleanup::TimingOut { until } };
        }
    }
}
