//! The phases of a run: gather → run → drain → over. Whatever happened, `proceed` then does all that is due.

use std::time::Instant;

use muster_common::limits;

use super::losses::Ground;
use super::{Coordinator, CoordinatorEvent, Ending};
use crate::messages::FromCoordinator;
use crate::mutants::Mutant;
use crate::scenario::Policy;
use crate::world::{Event, World};

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Gathering,
    Running,
    Draining { ending: Ending, until: Instant, is_cancelled: bool },
    Over(Ending),
}

impl Coordinator {
    /// Does whatever is due, in every phase.
    pub(super) fn proceed(&mut self, world: &mut World) {
        self.lose_fallen(world);
        self.clear_grounds(world);
        match self.phase {
            Phase::Gathering => {
                self.promote(world);
                self.gather(world);
            }
            Phase::Running => {
                self.promote(world);
                self.run(world);
            }
            Phase::Draining { .. } | Phase::Over(_) => {}
        }
        if let Phase::Draining { ending, until, is_cancelled } = self.phase {
            self.drain(world, ending, until, is_cancelled);
        }
        self.journal.schedule(world, self.life);
        self.wake_when_due(world);
    }

    /// Until every slot is ready. A run that is taken up again gives up slots for which nobody comes.
    fn gather(&mut self, world: &mut World) {
        let grace = limits::FENCE + limits::SLOT_GRACE;
        let may_give_up = self.life > 1 && world.scenario.policy == Policy::Reassign;
        let is_clear = self.grounds.iter().all(|ground| *ground == Ground::Clear);
        let may_begin = is_clear || world.is(Mutant::ResumeSlotBySlot);
        let is_anybody_ready = self.members.values().any(|member| member.is_ready);
        if self.dispatch.is_finished() {
            self.end(world, Ending::Completed);
        } else if may_begin && self.slots.all_ready() {
            self.place(world);
        } else if may_begin && may_give_up && world.now >= self.began + grace && is_anybody_ready {
            for slot in self.slots.vacant() {
                self.retire(world, slot);
            }
            self.place(world);
        } else if world.now >= self.began + limits::JOIN_TIMEOUT {
            self.end(world, Ending::NotJoined);
        }
    }

    pub(super) fn run(&mut self, world: &mut World) {
        self.judge_suspects(world);
        self.judge_vacant(world);
        self.begin_ready(world);
        self.move_retired(world);
        self.send_rows(world);
        if self.dispatch.is_finished() {
            self.end(world, Ending::Completed);
        }
    }

    /// Every agent ends what it runs and sends what it has.
    pub(super) fn end(&mut self, world: &mut World, ending: Ending) {
        world.note(|| format!("coordinator: {ending:?}, drain"));
        for member in self.members.values() {
            world.tell_agent(member.connection, FromCoordinator::Drain);
        }
        let patience = match ending {
            Ending::Completed => limits::FAREWELL_TIMEOUT,
            Ending::AgentsLost | Ending::NotJoined => limits::DRAIN_TIMEOUT,
        };
        self.phase = Phase::Draining { ending, until: world.now + patience, is_cancelled: false };
    }

    fn drain(&mut self, world: &mut World, ending: Ending, until: Instant, is_cancelled: bool) {
        let all_reported = self.members.values().all(|member| member.has_reported);
        if all_reported || (is_cancelled && world.now >= until) {
            self.journal.sync(world);
            self.phase = Phase::Over(ending);
        } else if world.now >= until {
            for member in self.members.values() {
                world.tell_agent(member.connection, FromCoordinator::Cancel);
            }
            let until = world.now + limits::CANCEL_GRACE + limits::FAREWELL_TIMEOUT;
            self.phase = Phase::Draining { ending, until, is_cancelled: true };
        }
    }

    fn wake_when_due(&mut self, world: &mut World) {
        let fences = self.members.values().map(|member| self.falls_at(world, &member.fence));
        let standbys = self.standbys.iter().map(|standby| standby.fence.falls_at());
        let grounds = self.grounds.iter().filter_map(Ground::due_at);
        let suspects = self.suspects.iter().map(|(until, _)| *until);
        let phase = match self.phase {
            Phase::Gathering => {
                vec![self.began + limits::FENCE + limits::SLOT_GRACE, self.began + limits::JOIN_TIMEOUT]
            }
            Phase::Running => self.slots.next_overdue(limits::SLOT_GRACE).into_iter().collect(),
            Phase::Draining { until, .. } => vec![until],
            Phase::Over(_) => return,
        };
        let all = fences.chain(standbys).chain(grounds).chain(suspects).chain(phase);
        let Some(at) = all.filter(|at| *at > world.now).min() else { return };
        if self.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            self.wakes_at = Some(at);
            world.schedule_at(at, Event::Coordinator { life: self.life, event: CoordinatorEvent::Wake });
        }
    }
}
