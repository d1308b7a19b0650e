//! Applies faults to the simulated processes, network and database.

use std::time::Duration;

use crate::coordinator::Coordinator;
use crate::faults::Fault;
use crate::messages::Envelope;
use crate::network::End;
use crate::scenario::Policy;
use crate::schedule::Schedule;
use crate::tally::Counter;
use crate::world::Event;

impl Schedule {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.world.note(|| format!("-- {fault:?}"));
        let coordinator = self.agents.len();
        let Self { world, database, .. } = self;
        let mut disturbed = None;
        match fault {
            Fault::Kill { agent, with_machine } => {
                disturbed = Some(agent);
                self.agents[agent].kill(world, with_machine);
                self.frozen[agent] = None;
            }
            Fault::Start { agent } => {
                disturbed = Some(agent);
                if !self.agents[agent].is_alive {
                    self.agents[agent].start(world);
                }
            }
            Fault::Terminate { agent } => {
                disturbed = Some(agent);
                if self.agents[agent].is_alive && self.frozen[agent].is_none() {
                    self.agents[agent].terminate(world, database);
                }
            }
            Fault::Freeze { agent } => {
                disturbed = Some(agent);
                self.frozen[agent].get_or_insert_default();
            }
            Fault::Thaw { agent } => {
                disturbed = Some(agent);
                self.thaw(agent);
            }
            Fault::Partition { agent, to_agent, to_coordinator } => {
                disturbed = Some(agent);
                world.network.block(agent, to_agent, to_coordinator);
            }
            Fault::Heal { agent, with_reset } => {
                disturbed = Some(agent);
                self.heal(agent, with_reset);
            }
            Fault::Reset { agent, agent_notices, coordinator_notices } => {
                disturbed = Some(agent);
                self.reset(agent, agent_notices, coordinator_notices);
            }
            Fault::Slow { agent } => {
                disturbed = Some(agent);
                world.network.links[agent].is_slow = true;
            }
            Fault::Fast { agent } => {
                disturbed = Some(agent);
                world.network.links[agent].is_slow = false;
            }
            Fault::KillCoordinator { with_machine } => self.kill_coordinator(with_machine),
            Fault::StartCoordinator => self.start_coordinator(),
            Fault::FreezeCoordinator => drop(self.frozen[coordinator].get_or_insert_default()),
            Fault::ThawCoordinator => self.thaw(coordinator),
            Fault::RestartDatabase => database.restart(world),
            Fault::HealAll => self.heal_all(),
        }
        match disturbed {
            Some(agent) => self.disturbed_at[agent] = self.world.now,
            None => self.disturbed_at.fill(self.world.now),
        }
    }

    /// SIGCONT: the process handles everything that waited, in order.
    fn thaw(&mut self, party: usize) {
        for event in self.frozen[party].take().unwrap_or_default() {
            self.handle(event);
        }
    }

    fn heal(&mut self, agent: usize, with_reset: bool) {
        let held = self.world.network.unblock(agent);
        if with_reset {
            self.reset(agent, true, true);
        }
        for (connection, to, envelope) in held {
            self.world.send(connection, to, envelope);
        }
    }

    fn reset(&mut self, agent: usize, agent_notices: bool, coordinator_notices: bool) {
        let world = &mut self.world;
        let Some(connection) = world.network.newest(agent) else { return };
        world.network.cut(connection, world.now);
        for (to, notices) in [(End::Agent, agent_notices), (End::Coordinator, coordinator_notices)] {
            if notices {
                let after = world.random.micros(100..=50_000);
                let envelope = Envelope::Closed;
                world.schedule(after, Event::Arrival { connection, to, envelope, is_replay: false });
            }
        }
    }

    fn kill_coordinator(&mut self, with_machine: bool) {
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.kill(&mut self.world, with_machine);
            self.world.coordinator_life = None;
            self.frozen[self.agents.len()] = None;
        }
    }

    fn start_coordinator(&mut self) {
        if self.coordinator.is_none() {
            self.coordinator_life += 1;
            self.world.coordinator_life = Some(self.coordinator_life);
            self.world.checks.tally.add(Counter::CoordinatorsResumed, 1);
            self.frozen[self.agents.len()] = None;
            self.coordinator = Some(Coordinator::start(&mut self.world, self.coordinator_life));
        }
    }

    /// Ends all faults. With the policy `wait` every agent is started again; otherwise at least one.
    fn heal_all(&mut self) {
        for agent in 0..self.agents.len() {
            self.thaw(agent);
            self.heal(agent, false);
            self.world.network.links[agent].is_slow = false;
        }
        self.thaw(self.agents.len());
        self.start_coordinator();
        let survivor = self.world.random.index(self.agents.len());
        for (number, agent) in self.agents.iter_mut().enumerate() {
            let must_return = self.world.scenario.policy == Policy::Wait || number == survivor;
            if !agent.is_alive && (must_return || self.world.random.chance(40)) {
                agent.start(&mut self.world);
            }
        }
        // Agents that are shutting down are started again, too.
        for agent in 0..self.agents.len() {
            if self.world.scenario.policy == Policy::Wait || agent == survivor {
                self.world.schedule(Duration::from_secs(30), Event::Fault(Fault::Start { agent }));
            }
        }
    }
}
