//! One schedule from beginning to end: its processes, its faults, and the final checks.

use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::coordinator::{Coordinator, Ending};
use crate::database::Database;
use crate::invariants::{Invariant, Violation};
use crate::messages::Envelope;
use crate::mutants::Mutant;
use crate::network::End;
use crate::scenario::{Policy, Scenario};
use crate::tally::Tally;
use crate::world::{Event, World};

/// An agent that was undisturbed for this long has a slot or could have one: it covers the retry, a dead predecessor's fence and a slow
/// start.
const UNDISTURBED_MIN: Duration = Duration::from_secs(25);

pub(crate) struct Verdict {
    pub(crate) violation: Option<Violation>,
    pub(crate) ending: Option<Ending>,
    pub(crate) tally: Tally,
    pub(crate) trace: Vec<String>,
}

pub(crate) struct Schedule {
    pub(crate) world: World,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) coordinator_life: u32,
    pub(crate) agents: Vec<Agent>,
    pub(crate) database: Database,
    /// By agent: the events that wait for a stopped process. The coordinator is the last.
    pub(crate) frozen: Vec<Option<Vec<Event>>>,
    /// By agent: the time of its last fault.
    pub(crate) disturbed_at: Vec<Instant>,
}

/// Runs the schedule of one seed.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>, is_traced: bool) -> Verdict {
    let mut world = World::new(seed, mutant, is_traced);
    let count = world.scenario.agents.len();
    let coordinator = Coordinator::start(&mut world, 1);
    let mut schedule = Schedule {
        coordinator: Some(coordinator),
        coordinator_life: 1,
        agents: (0..count).map(Agent::new).collect(),
        database: Database::new(world.now),
        frozen: (0..=count).map(|_| None).collect(),
        disturbed_at: vec![world.now; count],
        world,
    };
    let ending = schedule.run();
    let Schedule { world, .. } = schedule;
    Verdict {
        violation: world.checks.violation.clone(),
        ending,
        tally: world.checks.tally,
        trace: world.into_trace(),
    }
}

impl Schedule {
    fn run(&mut self) -> Option<Ending> {
        let deadline = self.world.start + self.world.scenario.deadline;
        while self.world.checks.violation.is_none() {
            match self.world.next() {
                Some(event) if self.world.now < deadline => self.handle(event),
                Some(_) | None => {
                    self.world.checks.violated(Invariant::Ends, || "the run does not end".to_owned());
                }
            }
            if let Some(ending) = self.coordinator.as_ref().and_then(Coordinator::ending) {
                self.check_ending(ending);
                return Some(ending);
            }
        }
        None
    }

    pub(crate) fn handle(&mut self, event: Event) {
        let stopped = match &event {
            Event::Arrival { connection, to: End::Agent, .. } => {
                Some(self.world.network.connections[*connection].agent)
            }
            Event::Agent { number, .. } => Some(*number),
            Event::Arrival { to: End::Coordinator, .. } | Event::Coordinator { .. } => {
                Some(self.agents.len())
            }
            Event::Database(_) | Event::Fault(_) => None,
        };
        if let Some(waiting) = stopped.and_then(|party| self.frozen[party].as_mut()) {
            return waiting.push(event);
        }
        let Self { world, database, .. } = self;
        match event {
            Event::Arrival { connection, to, envelope, is_replay } => {
                let is_cut = world.network.is_cut(connection, to, envelope.stream(), world.now);
                // A break is noticed although no message is delivered; a replay reaches only an end that considers the connection closed.
                let is_lost = is_cut && !matches!(envelope, Envelope::Closed);
                let arrives = if is_replay { !self.is_open(connection, to) } else { !is_lost };
                if arrives {
                    self.deliver(connection, to, envelope);
                }
            }
            Event::Agent { number, life, event } => {
                let agent = &mut self.agents[number];
                if agent.is_alive && agent.life == life {
                    agent.handle(world, database, event);
                }
            }
            Event::Coordinator { life, event } if life == self.coordinator_life => {
                if let Some(coordinator) = &mut self.coordinator {
                    coordinator.handle(world, event);
                }
            }
            Event::Coordinator { .. } => {}
            Event::Database(event) => database.handle(world, event),
            Event::Fault(fault) => self.inject(fault),
        }
    }

    /// Returns true if an end still uses a connection.
    fn is_open(&self, number: usize, end: End) -> bool {
        match end {
            End::Agent => self.agents[self.world.network.connections[number].agent].uses(number),
            End::Coordinator => self.coordinator.as_ref().is_some_and(|coordinator| coordinator.uses(number)),
        }
    }

    /// Delivers a message, but only to the process that the connection belongs to.
    fn deliver(&mut self, number: usize, to: End, envelope: Envelope) {
        let Self { world, database, .. } = self;
        let connection = &world.network.connections[number];
        let agent = &mut self.agents[connection.agent];
        match to {
            End::Agent if agent.is_alive && agent.life == connection.agent_life => {
                let name = connection.agent;
                world.note(|| format!("agent {name} <- {envelope:?}"));
                agent.receive(world, database, number, envelope);
            }
            End::Coordinator if connection.coordinator_life == self.coordinator_life => {
                if let Some(coordinator) = &mut self.coordinator {
                    let name = connection.agent;
                    world.note(|| format!("coordinator <- agent {name}: {envelope:?}"));
                    coordinator.receive(world, number, envelope);
                }
            }
            End::Agent | End::Coordinator => {}
        }
    }

    fn check_ending(&mut self, ending: Ending) {
        let Some(coordinator) = &self.coordinator else { return };
        let reporters: Vec<(usize, u32)> = coordinator
            .reporters()
            .map(|number| &self.world.network.connections[number])
            .map(|connection| (connection.agent, connection.agent_life))
            .filter(|(agent, life)| self.agents[*agent].is_alive && self.agents[*agent].life == *life)
            .collect();
        self.world.checks.run_ended(ending, coordinator.dispatch(), &reporters);
        let healthy = (0..self.agents.len()).filter(|agent| self.is_healthy(*agent)).count();
        let Scenario { policy, slots, .. } = self.world.scenario;
        let is_justified = match ending {
            Ending::Completed => true,
            Ending::AgentsLost => policy == Policy::Fail || healthy == 0,
            Ending::NotJoined if self.coordinator_life > 1 && policy == Policy::Reassign => healthy == 0,
            Ending::NotJoined => healthy < slots.into(),
        };
        if !is_justified {
            self.world.checks.violated(Invariant::Ends, || {
                format!("{ending:?}, although {healthy} agents were undisturbed for {UNDISTURBED_MIN:?}")
            });
        }
    }

    fn is_healthy(&self, agent: usize) -> bool {
        let is_up = self.agents[agent].is_alive && self.frozen[agent].is_none();
        let is_reachable = self.world.network.links[agent].is_healthy();
        is_up && is_reachable && self.disturbed_at[agent] + UNDISTURBED_MIN <= self.world.now
    }
}
