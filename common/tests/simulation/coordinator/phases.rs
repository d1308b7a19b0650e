//! The phases of a run: wait for agents → run → drain → over. After every event, `proceed` does everything that is due.

use std::time::Instant;

use muster_common::limits;

use super::losses::Cleanup;
use super::{Coordinator, CoordinatorEvent, Ending};
use crate::messages::FromCoordinator;
use crate::mutants::Mutant;
use crate::scenario::Policy;
use crate::world::{Event, World};

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    WaitingForAgents,
    Running,
    Draining { ending: Ending, until: Instant, is_cancelled: bool },
    Finished(Ending),
}

impl Coordinator {
    /// Does everything that is due in the current phase.
    pub(super) fn proceed(&mut self, world: &mut World) {
        self.fence_expired(world);
        self.start_cleanups(world);
        match self.phase {
            Phase::WaitingForAgents => {
                self.promote(world);
                self.wait_for_agents(world);
            }
            Phase::Running => {
                self.promote(world);
                self.run(world);
            }
            Phase::Draining { .. } | Phase::Finished(_) => {}
        }
        if let Phase::Draining { ending, until, is_cancelled } = self.phase {
            self.drain(world, ending, until, is_cancelled);
        }
        self.journal.schedule(world, self.life);
        self.wake_when_due(world);
    }

    /// Waits until every slot is ready. A resumed run retires slots that stay vacant.
    fn wait_for_agents(&mut self, world: &mut World) {
        let grace = limits::FENCE + limits::SLOT_GRACE;
        let may_retire = self.life > 1 && world.scenario.policy == Policy::Reassign;
        let is_clean = self.cleanups.iter().all(|cleanup| *cleanup == Cleanup::Done);
        let may_begin = is_clean || world.is(Mutant::ResumeSlotBySlot);
        let has_ready = self.members.values().any(|member| member.is_ready);
        if self.dispatch.is_finished() {
            self.end(world, Ending::Completed);
        } else if may_begin && self.slots.all_ready() {
            self.place(world);
        } else if may_begin && may_retire && world.now >= self.began + grace && has_ready {
            for slot in self.slots.vacant() {
                self.retire(world, slot);
            }
            self.place(world);
        } else if world.now >= self.began + limits::JOIN_TIMEOUT {
            self.end(world, Ending::NotJoined);
        }
    }

    pub(super) fn run(&mut self, world: &mut World) {
        self.quarantine_suspects(world);
        self.handle_vacant_slots(world);
        self.begin_ready(world);
        self.move_retired(world);
        self.send_rows(world);
        if self.dispatch.is_finished() {
            self.end(world, Ending::Completed);
        }
    }

    /// Starts to drain: every agent finishes its rows in flight and sends its results.
    pub(super) fn end(&mut self, world: &mut World, ending: Ending) {
        world.note(|| format!("coordinator: {ending:?}, drain"));
        for member in self.members.values() {
            world.send_to_agent(member.connection, FromCoordinator::Drain);
        }
        let timeout = match ending {
            Ending::Completed => limits::SHUTDOWN_TIMEOUT,
            Ending::AgentsLost | Ending::NotJoined => limits::DRAIN_TIMEOUT,
        };
        self.phase = Phase::Draining { ending, until: world.now + timeout, is_cancelled: false };
    }

    fn drain(&mut self, world: &mut World, ending: Ending, until: Instant, is_cancelled: bool) {
        let all_reported = self.members.values().all(|member| member.has_reported);
        if all_reported || (is_cancelled && world.now >= until) {
            self.journal.sync(world);
            self.phase = Phase::Finished(ending);
        } else if world.now >= until {
            for member in self.members.values() {
                world.send_to_agent(member.connection, FromCoordinator::Cancel);
            }
            let until = world.now + limits::CANCEL_GRACE + limits::SHUTDOWN_TIMEOUT;
            self.phase = Phase::Draining { ending, until, is_cancelled: true };
        }
    }

    fn wake_when_due(&mut self, world: &mut World) {
        let fences = self.members.values().map(|member| self.expires_at(world, &member.fence));
        let standbys = self.standbys.iter().map(|standby| standby.fence.expires_at());
        let cleanups = self.cleanups.iter().filter_map(Cleanup::due_at);
        let suspects = self.suspects.iter().map(|(until, _)| *until);
        let phase = match self.phase {
            Phase::WaitingForAgents => {
                vec![self.began + limits::FENCE + limits::SLOT_GRACE, self.began + limits::JOIN_TIMEOUT]
            }
            Phase::Running => self.slots.next_overdue(limits::SLOT_GRACE).into_iter().collect(),
            Phase::Draining { until, .. } => vec![until],
            Phase::Finished(_) => return,
        };
        let all = fences.chain(standbys).chain(cleanups).chain(suspects).chain(phase);
        let Some(at) = all.filter(|at| *at > world.now).min() else { return };
        if self.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            self.wakes_at = Some(at);
            world.schedule_at(at, Event::Coordinator { life: self.life, event: CoordinatorEvent::Wake });
        }
    }
}
