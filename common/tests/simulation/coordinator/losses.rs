//! The end of a session, by whatever cause, and what has to be over before its slot's rows are run again: the lease of its agent, which
//! may not know yet, and the queries that it left in the database.

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
use crate::tally::Seen;
use crate::world::{Event, World};

/// What a slot's former sessions may still do in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Nothing.
    Clear,
    /// Queries may run, and until this moment new ones may begin.
    Used { quiet_at: Instant },
    /// The database is asked to end them.
    Asked,
    /// It would not: they have run into the server's own timeout by then.
    TimingOut { until: Instant },
}

impl Ground {
    pub(super) fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Used { quiet_at: at } | Self::TimingOut { until: at } => Some(*at),
            Self::Clear | Self::Asked => None,
        }
    }
}

/// How a session ended, and with it what is known of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The stream broke. The agent may not have noticed: it goes on until its lease lapses.
    Broken,
    Fenced,
    /// The agent has told results of this session in a later one.
    Told,
    /// The agent said that it ran nothing but what it reported.
    HandedBack,
}

impl Coordinator {
    /// The one path for every end of a session. A session that is over already changes nothing.
    pub(super) fn over(&mut self, world: &mut World, grant: Grant, cause: Over) {
        if !self.slots.lost(grant, world.now) {
            return;
        }
        let Some(member) = self.members.remove(&grant.epoch) else { return };
        world.note(|| format!("coordinator: {}:{} is over: {cause:?}", grant.slot, grant.epoch));
        world.checks.session_over(grant);
        let workers = self.workers_of(world, grant.slot);
        if cause == Over::HandedBack {
            let rows = self.dispatch.handed_back(workers, grant.epoch);
            world.checks.tally.add(Seen::RowsHandedBack, rows);
            self.journal.add(Entry::HandedBack(grant.epoch));
        } else {
            let lost = self.dispatch.lost(workers, grant.epoch);
            world.checks.tally.add(Seen::RowsLost, lost.len());
            self.journal.add(Entry::Lost(grant.epoch));
            self.watch_suspects(world);
        }
        if member.has_begun {
            let quiet_at = match cause {
                Over::Broken if !world.is(Mutant::BrokenIsLapsed) => self.falls_at(world, &member.fence),
                Over::Broken | Over::Fenced | Over::Told | Over::HandedBack => world.now,
            };
            self.grounds[grant.slot.index()] = Ground::Used { quiet_at };
        }
        if cause == Over::HandedBack {
            self.journal.then_send(member.connection, FromCoordinator::Bye);
        } else if !world.is(Mutant::LapsedResume) {
            world.close(member.connection, End::Coordinator);
        }
    }

    /// A process that says Hello lives, whatever happened to its sessions.
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

    /// Gives up the rows whose processes did not come back.
    pub(super) fn judge_suspects(&mut self, world: &mut World) {
        let due: Vec<RowId> = self
            .suspects
            .extract_if(.., |(until, _)| world.now >= *until)
            .flat_map(|(_, rows)| rows)
            .collect();
        let given_up = self.dispatch.quarantine(due);
        if !given_up.is_empty() {
            world.note(|| format!("coordinator: rows {given_up:?} are given up"));
            world.checks.tally.add(Seen::RowsQuarantined, given_up.len());
            self.journal.add(Entry::Quarantined(given_up));
        }
    }

    pub(super) fn falls_at(&self, world: &World, fence: &Fence) -> Instant {
        let early = if world.is(Mutant::ShortFence) { Duration::from_millis(1_300) } else { Duration::ZERO };
        fence.falls_at() - early
    }

    pub(super) fn lose_fallen(&mut self, world: &mut World) {
        let now = world.now;
        let fallen = self.members.values().filter(|member| now >= self.falls_at(world, &member.fence));
        for grant in fallen.map(|member| member.grant).collect::<Vec<_>>() {
            self.over(world, grant, Over::Fenced);
        }
        self.standbys.retain(|standby| !standby.fence.has_fallen(now));
    }

    /// Whoever stands by takes the first slot that is free.
    pub(super) fn promote(&mut self, world: &mut World) {
        while !self.standbys.is_empty()
            && let Ok(grant) = self.slots.join(None, world.now)
        {
            let standby = self.standbys.remove(0);
            world.checks.tally.add(Seen::Promotions, 1);
            self.welcome(world, standby.connection, standby.process, grant);
        }
    }

    /// The slots that stayed vacant through their grace.
    pub(super) fn judge_vacant(&mut self, world: &mut World) {
        let overdue = self.slots.overdue(world.now, limits::SLOT_GRACE);
        if overdue.is_empty() {
            return;
        }
        let nobody_comes = self.members.is_empty() && overdue == self.slots.vacant();
        if world.scenario.policy == Policy::Fail || nobody_comes {
            return self.end(world, Ending::AgentsLost);
        }
        // Somebody has to be there who takes the hosts.
        if world.scenario.policy == Policy::Reassign && self.members.values().any(|member| member.has_begun) {
            for slot in overdue {
                self.retire(world, slot);
            }
        }
    }

    pub(super) fn retire(&mut self, world: &mut World, slot: SlotId) {
        world.note(|| format!("coordinator: {slot} is given up"));
        world.checks.tally.add(Seen::SlotsGivenUp, 1);
        self.slots.retire(slot);
        self.retired.push(slot);
    }

    /// Ends what former sessions left of each slot that somebody is about to take over, and of all slots before a run is taken up
    /// again: hosts that had moved before the crash are back at their first owners then.
    pub(super) fn clear_grounds(&mut self, world: &mut World) {
        let resumes = matches!(self.phase, Phase::Gathering) && !world.is(Mutant::ResumeSlotBySlot);
        for slot in (0..world.scenario.slots).map(SlotId::new) {
            let next = self.members.values().find(|member| member.grant.slot == slot && member.is_ready);
            let below = match next {
                _ if resumes => self.first_epoch,
                Some(member) => member.grant.epoch,
                None if self.retired.contains(&slot) => Epoch::new(u64::MAX),
                None => continue,
            };
            let ground = &mut self.grounds[slot.index()];
            match *ground {
                Ground::Used { quiet_at } if world.now >= quiet_at => {
                    if world.is(Mutant::BackendsNotEnded) {
                        *ground = Ground::Clear;
                        continue;
                    }
                    *ground = Ground::Asked;
                    let delay = world.random.millis(1..=100);
                    let event = DatabaseEvent::EndBackends { life: self.life, slot, below };
                    world.schedule(delay, Event::Database(event));
                }
                Ground::TimingOut { until } if world.now >= until => *ground = Ground::Clear,
                Ground::Clear | Ground::Used { .. } | Ground::Asked | Ground::TimingOut { .. } => {}
            }
        }
    }

    pub(super) fn backends_ended(&mut self, world: &mut World, slot: SlotId, is_allowed: bool) {
        let ground = &mut self.grounds[slot.index()];
        if *ground == Ground::Asked {
            let until = world.now + STATEMENT_TIMEOUT;
            let is_clear = is_allowed || world.is(Mutant::RefusalIgnored);
            *ground = if is_clear { Ground::Clear } else { Ground::TimingOut { until } };
        }
    }
}
