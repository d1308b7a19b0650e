//! An agent's process: it joins, keeps its lease, ends its session when the lease lapses, and joins again with its unacknowledged
//! results. Thin glue around `Lease` and `Outbox`.

use std::time::{Duration, Instant};

use muster_common::lease::Lease;
use muster_common::limits;
use muster_common::outbox::{Outbox, Unacked};
use muster_common::slots::Grant;

use crate::database::{Answer, Database};
use crate::messages::{Envelope, FromAgent, FromCoordinator};
use crate::mutants::Mutant;
use crate::network::End;
use crate::session::Session;
use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) enum AgentEvent {
    Join,
    Beat { session: usize },
    Wake,
    Connected { session: usize, worker: u16, backend: usize },
    Answered { session: usize, worker: u16, execution: usize, answer: Answer },
}

pub(crate) struct Agent {
    number: usize,
    pub(crate) life: u32,
    pub(crate) is_alive: bool,
    is_leaving: bool,
    link: Option<CoordinatorLink>,
    /// Results of earlier sessions that were not acknowledged, and the time at which the last of these sessions ended.
    unacked: Vec<Unacked>,
    unacked_since: Option<Instant>,
    retry: Duration,
    wakes_at: Option<Instant>,
}

/// From Hello to the end of the session that it leads to, identified by the number of its connection.
struct CoordinatorLink {
    connection: usize,
    lease: Lease,
    beats: bool,
    session: Option<Session>,
}

impl Agent {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            life: 0,
            is_alive: false,
            is_leaving: false,
            link: None,
            unacked: Vec::new(),
            unacked_since: None,
            retry: limits::RETRY_FIRST,
            wakes_at: None,
        }
    }

    pub(crate) fn uses(&self, connection: usize) -> bool {
        self.link.as_ref().is_some_and(|link| link.connection == connection)
    }

    pub(crate) fn start(&mut self, world: &mut World) {
        *self = Self { life: self.life + 1, is_alive: true, ..Self::new(self.number) };
        self.schedule(world, Duration::ZERO, AgentEvent::Join);
    }

    /// SIGKILL, or the loss of the machine: then the coordinator is not notified.
    pub(crate) fn kill(&mut self, world: &mut World, with_machine: bool) {
        if let Some(link) = self.link.take()
            && !with_machine
        {
            world.close(link.connection, End::Agent);
        }
        self.is_alive = false;
    }

    /// SIGTERM: the rows in flight finish, the others are handed back.
    pub(crate) fn terminate(&mut self, world: &mut World, database: &Database) {
        self.is_leaving = true;
        match self.link.as_mut().and_then(|link| link.session.as_mut()) {
            Some(session) => session.leave(),
            None => self.disconnect(world, database),
        }
        self.proceed(world, database);
    }

    pub(crate) fn handle(&mut self, world: &mut World, database: &Database, event: AgentEvent) {
        self.self_fence(world, database);
        match event {
            AgentEvent::Join => self.join(world),
            AgentEvent::Beat { session } => self.beat(world, session),
            AgentEvent::Wake => self.wakes_at = None,
            AgentEvent::Connected { session, worker, backend } => match self.link_of(session) {
                Some(CoordinatorLink { session: Some(session), .. }) => {
                    session.connected(world, worker, backend)
                }
                Some(_) | None => database.leave(world, backend),
            },
            AgentEvent::Answered { session, worker, execution, answer } => {
                if let Some(CoordinatorLink { lease, session: Some(session), .. }) = self.link_of(session) {
                    let is_lapsed = lease.has_lapsed(world.now);
                    session.answered(world, worker, execution, answer, is_lapsed);
                }
            }
        }
        self.proceed(world, database);
    }

    pub(crate) fn receive(
        &mut self,
        world: &mut World,
        database: &Database,
        connection: usize,
        envelope: Envelope,
    ) {
        self.self_fence(world, database);
        let Some(link) = self.link.as_mut().filter(|link| link.connection == connection) else { return };
        match envelope {
            Envelope::FromCoordinator(FromCoordinator::Standby) => self.begin_beats(world),
            Envelope::FromCoordinator(FromCoordinator::Welcome(grant)) => {
                self.welcome(world, database, grant)
            }
            Envelope::FromCoordinator(FromCoordinator::BeatAck(number)) => {
                link.lease.acknowledged(number);
            }
            Envelope::FromCoordinator(FromCoordinator::Bye) | Envelope::Closed => {
                self.disconnect(world, database)
            }
            Envelope::FromCoordinator(message) => {
                if let Some(session) = &mut link.session {
                    session.handle_message(world, database, message);
                }
            }
            Envelope::FromAgent(_) => unreachable!("an agent does not write to itself"),
        }
        self.proceed(world, database);
    }

    /// A lapsed lease ends the session before anything else happens in it.
    fn self_fence(&mut self, world: &mut World, database: &Database) {
        let Some(link) = &self.link else { return };
        let continues = world.is(Mutant::NoSelfFencing) && link.session.is_some();
        if link.lease.has_lapsed(world.now) && !continues {
            world.note(|| format!("agent {}: its lease has lapsed", self.number));
            self.disconnect(world, database);
        }
    }

    fn link_of(&mut self, session: usize) -> Option<&mut CoordinatorLink> {
        self.link.as_mut().filter(|link| link.connection == session)
    }

    fn join(&mut self, world: &mut World) {
        if self.link.is_some() {
            return;
        }
        let Some(connection) = world.open(self.number, self.life) else { return self.join_later(world) };
        world.send_to_coordinator(connection, FromAgent::Hello((self.number, self.life)));
        self.link =
            Some(CoordinatorLink { connection, lease: Lease::new(world.now), beats: false, session: None });
    }

    fn begin_beats(&mut self, world: &mut World) {
        if let Some(link) = &mut self.link
            && !std::mem::replace(&mut link.beats, true)
        {
            let session = link.connection;
            self.schedule(world, Duration::ZERO, AgentEvent::Beat { session });
        }
    }

    fn beat(&mut self, world: &mut World, session: usize) {
        if let Some(link) = self.link_of(session) {
            let number = link.lease.beat(world.now);
            world.send_to_coordinator(session, FromAgent::Beat(number));
            self.schedule(world, limits::HEARTBEAT_EVERY, AgentEvent::Beat { session });
        }
    }

    fn welcome(&mut self, world: &mut World, database: &Database, grant: Grant) {
        if self.unacked_since.is_some_and(|since| world.now > since + limits::UNACKED_RESULTS_TIMEOUT) {
            for (_, measurement) in self.unacked.drain(..).flat_map(|unacked| unacked.measurements) {
                world.checks.expired(measurement.start_ns);
            }
        }
        self.begin_beats(world);
        self.retry = limits::RETRY_FIRST;
        let Some(link) = &mut self.link else { return };
        world.note(|| format!("agent {}: welcome as {}:{}", self.number, grant.slot, grant.epoch));
        let outbox = Outbox::new(world.scenario.workers, std::mem::take(&mut self.unacked));
        let mut session = Session::new(self.number, self.life, link.connection, grant, outbox);
        session.prepare(world, database);
        if self.is_leaving {
            session.leave();
        }
        link.session = Some(session);
    }

    /// Ends the connection and its session: cancels running queries and keeps the measurements.
    fn disconnect(&mut self, world: &mut World, database: &Database) {
        if let Some(CoordinatorLink { connection, session, .. }) = self.link.take() {
            world.close(connection, End::Agent);
            if let Some(session) = session {
                let unacked = session.end(world, database);
                if !world.is(Mutant::ForgottenResults) {
                    self.unacked = unacked;
                    self.unacked_since = Some(world.now);
                }
            }
        }
        if self.is_leaving {
            self.is_alive = false;
        } else {
            self.join_later(world);
        }
    }

    fn join_later(&mut self, world: &mut World) {
        let most = u64::try_from(self.retry.as_micros()).expect("at most two seconds");
        let delay = world.random.micros(most / 2..=most);
        self.retry = (self.retry * 2).min(limits::RETRY_MAX);
        self.schedule(world, delay, AgentEvent::Join);
    }

    fn proceed(&mut self, world: &mut World, database: &Database) {
        let Some(link) = &mut self.link else { return };
        let mut wakes_at = link.lease.lapses_at();
        if let Some(session) = &mut link.session {
            session.proceed(world, database);
            wakes_at = session.sends_at().map_or(wakes_at, |at| wakes_at.min(at));
        }
        if wakes_at > world.now && self.wakes_at.is_none_or(|at| wakes_at < at) {
            self.wakes_at = Some(wakes_at);
            self.schedule(world, wakes_at - world.now, AgentEvent::Wake);
        }
    }

    fn schedule(&self, world: &mut World, after: Duration, event: AgentEvent) {
        world.schedule(after, Event::Agent { number: self.number, life: self.life, event });
    }
}
