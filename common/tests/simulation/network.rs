//! Connections between agents and the coordinator with the guarantees of TCP: within a stream, order holds and nothing is duplicated. A
//! message may be delayed by seconds, a connection may break with messages in transit, and only one of its ends may notice. Messages of a
//! closed connection may still arrive, or arrive twice, when its agent already has a new session.

use std::time::{Duration, Instant};

use crate::messages::{Envelope, FromAgent, Stream};
use crate::random::Random;

/// Messages of a connection that may be delivered again after its end.
const REPLAYABLE_MAX: usize = 6;

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Agent,
    Coordinator,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) agent: usize,
    pub(crate) agent_life: u32,
    pub(crate) coordinator_life: u32,
    /// By channel.
    last_arrival: [Option<Instant>; 4],
    /// By channel: messages that would arrive later than this are lost.
    cut: Option<[Instant; 4]>,
    replayable: Vec<(End, Envelope)>,
}

/// The network path between one agent and the coordinator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub(crate) is_slow: bool,
    to_agent_blocked: bool,
    to_coordinator_blocked: bool,
    held: Vec<(usize, End, Envelope)>,
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) connections: Vec<Connection>,
    pub(crate) links: Vec<Link>,
    random: Random,
}

impl Network {
    pub(crate) fn new(agents: usize, random: Random) -> Self {
        Self { connections: Vec::new(), links: vec![Link::default(); agents], random }
    }

    pub(crate) fn open(&mut self, agent: usize, agent_life: u32, coordinator_life: u32) -> usize {
        self.connections.push(Connection {
            agent,
            agent_life,
            coordinator_life,
            last_arrival: [None; 4],
            cut: None,
            replayable: Vec::new(),
        });
        self.connections.len() - 1
    }

    /// Returns the time of arrival, or `None` when the message is held by a partition or lost with its connection.
    pub(crate) fn send(
        &mut self,
        number: usize,
        to: End,
        envelope: &Envelope,
        now: Instant,
    ) -> Option<Instant> {
        let connection = &mut self.connections[number];
        let link = &mut self.links[connection.agent];
        if link.is_blocked(to) {
            link.held.push((number, to, envelope.clone()));
            return None;
        }
        if connection.cut.is_some() {
            return None;
        }
        let slowest = if link.is_slow { 2_500_000 } else { 4_000 };
        let delay = self.random.micros(100..=slowest);
        let last_arrival = &mut connection.last_arrival[channel(to, envelope.stream())];
        let in_order = last_arrival.map_or(now, |last| last + Duration::from_nanos(1));
        let at = in_order.max(now + delay);
        *last_arrival = Some(at);
        if connection.replayable.len() < REPLAYABLE_MAX
            && !matches!(envelope, Envelope::Closed | Envelope::FromAgent(FromAgent::Hello(_)))
        {
            connection.replayable.push((to, envelope.clone()));
        }
        Some(at)
    }

    /// Returns true if the connection broke before the message was delivered.
    pub(crate) fn is_cut(&self, number: usize, to: End, stream: Stream, now: Instant) -> bool {
        self.connections[number].cut.is_some_and(|cut| now > cut[channel(to, stream)])
    }

    /// Breaks a connection. Messages in transit may be delivered for a while; the limit differs between channels.
    pub(crate) fn cut(&mut self, number: usize, now: Instant) {
        let until = [(); 4].map(|()| {
            let is_delayed = self.random.chance(40);
            now + if is_delayed { self.random.millis(0..=5_000) } else { Duration::ZERO }
        });
        self.connections[number].cut.get_or_insert(until);
    }

    /// Returns the messages that are delivered again after the end of a connection, with their delays. Happens once per connection.
    pub(crate) fn replays(&mut self, number: usize) -> Vec<(Duration, End, Envelope)> {
        let replayable = std::mem::take(&mut self.connections[number].replayable);
        let random = &mut self.random;
        if !random.chance(25) {
            return Vec::new();
        }
        let replayed = replayable
            .into_iter()
            .filter_map(|(to, envelope)| random.chance(50).then(|| (random.millis(0..=9_000), to, envelope)));
        replayed.collect()
    }

    pub(crate) fn block(&mut self, agent: usize, to_agent: bool, to_coordinator: bool) {
        let link = &mut self.links[agent];
        link.to_agent_blocked |= to_agent;
        link.to_coordinator_blocked |= to_coordinator;
    }

    /// Ends a partition. Returns the messages that were held, to be sent again, as TCP does.
    pub(crate) fn unblock(&mut self, agent: usize) -> Vec<(usize, End, Envelope)> {
        let link = &mut self.links[agent];
        (link.to_agent_blocked, link.to_coordinator_blocked) = (false, false);
        std::mem::take(&mut link.held)
    }

    /// The newest connection of an agent, if it has one.
    pub(crate) fn newest(&self, agent: usize) -> Option<usize> {
        self.connections.iter().rposition(|connection| connection.agent == agent)
    }
}

impl Link {
    pub(crate) fn is_healthy(&self) -> bool {
        !self.is_slow && !self.to_agent_blocked && !self.to_coordinator_blocked
    }

    fn is_blocked(&self, to: End) -> bool {
        match to {
            End::Agent => self.to_agent_blocked,
            End::Coordinator => self.to_coordinator_blocked,
        }
    }
}

fn channel(to: End, stream: Stream) -> usize {
    usize::from(to == End::Agent) * 2 + usize::from(stream == Stream::Work)
}
