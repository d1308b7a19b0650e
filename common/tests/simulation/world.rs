//! The virtual clock, the queue of events, and the state that all processes share: the network, the disk, the checks.
//! Nothing waits for real time, and the seed alone determines the order of events.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::agent::AgentEvent;
use crate::checks::Checks;
use crate::coordinator::CoordinatorEvent;
use crate::coordinator::journal::Entry;
use crate::database::DatabaseEvent;
use crate::faults::Fault;
use crate::messages::{Envelope, FromAgent, FromCoordinator};
use crate::mutants::Mutant;
use crate::network::{End, Network};
use crate::random::Random;
use crate::scenario::Scenario;

#[derive(Debug)]
pub(crate) enum Event {
    Arrival { connection: usize, to: End, envelope: Envelope, is_replay: bool },
    Agent { number: usize, life: u32, event: AgentEvent },
    Coordinator { life: u32, event: CoordinatorEvent },
    Database(DatabaseEvent),
    Fault(Fault),
}

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) network: Network,
    /// The generation of the coordinator's process that is listening; `None` while none is.
    pub(crate) coordinator_life: Option<u32>,
    /// The part of the coordinator's journal that is on disk.
    pub(crate) disk: Vec<Entry>,
    pub(crate) checks: Checks,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        let scenario = Scenario::new(&mut random);
        let now = Instant::now();
        let mut world = Self {
            mutant,
            start: now,
            now,
            network: Network::new(scenario.agents.len(), random.fork()),
            coordinator_life: Some(1),
            random,
            disk: Vec::new(),
            checks: Checks::new(&scenario),
            queue: BinaryHeap::new(),
            scheduled: 0,
            trace: is_traced.then(Vec::new),
            scenario,
        };
        for (at, fault) in std::mem::take(&mut world.scenario.faults) {
            world.schedule(at, Event::Fault(fault));
        }
        for (agent, at) in world.scenario.agents.clone().into_iter().enumerate() {
            world.schedule(at, Event::Fault(Fault::Start { agent }));
        }
        world
    }

    pub(crate) fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    pub(crate) fn schedule_at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), number: self.scheduled, event }));
    }

    /// Advances the clock to the next event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let Reverse(Scheduled { at, event, .. }) = self.queue.pop()?;
        self.now = at;
        Some(event)
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Opens a connection for an agent; `None` if no coordinator is listening.
    pub(crate) fn open(&mut self, agent: usize, agent_life: u32) -> Option<usize> {
        self.coordinator_life.map(|life| self.network.open(agent, agent_life, life))
    }

    pub(crate) fn send_to_coordinator(&mut self, connection: usize, message: FromAgent) {
        self.send(connection, End::Coordinator, Envelope::FromAgent(message));
    }

    pub(crate) fn send_to_agent(&mut self, connection: usize, message: FromCoordinator) {
        self.send(connection, End::Agent, Envelope::FromCoordinator(message));
    }

    /// One end closes a connection; the other end is notified if the network delivers it.
    pub(crate) fn close(&mut self, connection: usize, by: End) {
        let to = if by == End::Agent { End::Coordinator } else { End::Agent };
        self.send(connection, to, Envelope::Closed);
        for (after, to, envelope) in self.network.replays(connection) {
            self.schedule(after, Event::Arrival { connection, to, envelope, is_replay: true });
        }
    }

    pub(crate) fn send(&mut self, connection: usize, to: End, envelope: Envelope) {
        if let Some(at) = self.network.send(connection, to, &envelope, self.now) {
            self.schedule_at(at, Event::Arrival { connection, to, envelope, is_replay: false });
        }
    }

    /// Writes a line into the trace of a replayed seed.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = (self.now - self.start).as_secs_f64();
            trace.push(format!("{at:11.6}  {}", line()));
        }
    }

    pub(crate) fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }
}

/// Ordered by time, then by the order of scheduling.
struct Scheduled {
    at: Instant,
    number: u64,
    event: Event,
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}
