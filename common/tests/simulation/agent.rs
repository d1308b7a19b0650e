//! An agent's process: it joins, keeps its lease, ends its session when that lapses, and joins again with what nobody acknowledged.
//! Thin glue around `Lease` and `Outbox`.

use std::time::{Duration, Instant};

use muster_common::lease::Lease;
use muster_common::limits;
use muster_common::outbox::{Kept, Outbox};
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
    visit: Option<Visit>,
    /// What earlier sessions measured and nobody acknowledged, and since when nobody listens.
    kept: Vec<Kept>,
    kept_since: Option<Instant>,
    retry: Duration,
    wakes_at: Option<Instant>,
}

/// From Hello to the end of the session that it leads to. The number of its connection names it.
struct Visit {
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
            visit: None,
            kept: Vec::new(),
            kept_since: None,
            retry: limits::RETRY_FIRST,
            wakes_at: None,
        }
    }

    pub(crate) fn uses(&self, connection: usize) -> bool {
        self.visit.as_ref().is_some_and(|visit| visit.connection == connection)
    }

    pub(crate) fn start(&mut self, world: &mut World) {
        *self = Self { life: self.life + 1, is_alive: true, ..Self::new(self.number) };
        self.schedule(world, Duration::ZERO, AgentEvent::Join);
    }

    /// SIGKILL, or the machine is gone: then nobody tells the coordinator.
    pub(crate) fn kill(&mut self, world: &mut World, with_machine: bool) {
        if let Some(visit) = self.visit.take()
            && !with_machine
        {
            world.close(visit.connection, End::Agent);
        }
        self.is_alive = false;
    }

    /// SIGTERM: the rows in flight end, the rest is handed back.
    pub(crate) fn terminate(&mut self, world: &mut World, database: &Database) {
        self.is_leaving = true;
        match self.visit.as_mut().and_then(|visit| visit.session.as_mut()) {
            Some(session) => session.leave(),
            None => self.end_visit(world, database),
        }
        self.proceed(world, database);
    }

    pub(crate) fn handle(&mut self, world: &mut World, database: &Database, event: AgentEvent) {
        self.fence_itself(world, database);
        match event {
            AgentEvent::Join => self.join(world),
            AgentEvent::Beat { session } => self.beat(world, session),
            AgentEvent::Wake => self.wakes_at = None,
            AgentEvent::Connected { session, worker, backend } => match self.visit_of(session) {
                Some(Visit { session: Some(session), .. }) => session.connected(world, worker, backend),
                Some(_) | None => database.leave(world, backend),
            },
            AgentEvent::Answered { session, worker, execution, answer } => {
                if let Some(Visit { lease, session: Some(session), .. }) = self.visit_of(session) {
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
        it: Envelope,
    ) {
        self.fence_itself(world, database);
        let Some(visit) = self.visit.as_mut().filter(|visit| visit.connection == connection) else { return };
        match it {
            Envelope::FromCoordinator(FromCoordinator::StandBy) => self.begin_beats(world),
            Envelope::FromCoordinator(FromCoordinator::Welcome(grant)) => {
                self.welcome(world, database, grant)
            }
            Envelope::FromCoordinator(FromCoordinator::BeatAck(number)) => {
                visit.lease.acknowledged(number);
            }
            Envelope::FromCoordinator(FromCoordinator::Bye) | Envelope::Closed => {
                self.end_visit(world, database)
            }
            Envelope::FromCoordinator(message) => {
                if let Some(session) = &mut visit.session {
                    session.obey(world, database, message);
                }
            }
            Envelope::FromAgent(_) => unreachable!("an agent does not write to itself"),
        }
        self.proceed(world, database);
    }

    /// A lapsed lease ends the session before anything else happens in it.
    fn fence_itself(&mut self, world: &mut World, database: &Database) {
        let Some(visit) = &self.visit else { return };
        let goes_on = world.is(Mutant::NoSelfFencing) && visit.session.is_some();
        if visit.lease.has_lapsed(world.now) && !goes_on {
            world.note(|| format!("agent {}: its lease has lapsed", self.number));
            self.end_visit(world, database);
        }
    }

    fn visit_of(&mut self, session: usize) -> Option<&mut Visit> {
        self.visit.as_mut().filter(|visit| visit.connection == session)
    }

    fn join(&mut self, world: &mut World) {
        if self.visit.is_some() {
            return;
        }
        let Some(connection) = world.open(self.number, self.life) else { return self.join_later(world) };
        world.tell_coordinator(connection, FromAgent::Hello((self.number, self.life)));
        self.visit = Some(Visit { connection, lease: Lease::new(world.now), beats: false, session: None });
    }

    fn begin_beats(&mut self, world: &mut World) {
        if let Some(visit) = &mut self.visit
            && !std::mem::replace(&mut visit.beats, true)
        {
            let session = visit.connection;
            self.schedule(world, Duration::ZERO, AgentEvent::Beat { session });
        }
    }

    fn beat(&mut self, world: &mut World, session: usize) {
        if let Some(visit) = self.visit_of(session) {
            let number = visit.lease.beat(world.now);
            world.tell_coordinator(session, FromAgent::Beat(number));
            self.schedule(world, limits::BEAT_EVERY, AgentEvent::Beat { session });
        }
    }

    fn welcome(&mut self, world: &mut World, database: &Database, grant: Grant) {
        if self.kept_since.is_some_and(|since| world.now > since + limits::PARK) {
            for (_, measurement) in self.kept.drain(..).flat_map(|kept| kept.measurements) {
                world.checks.expired(measurement.start_ns);
            }
        }
        self.begin_beats(world);
        self.retry = limits::RETRY_FIRST;
        let Some(visit) = &mut self.visit else { return };
        world.note(|| format!("agent {}: welcome as {}:{}", self.number, grant.slot, grant.epoch));
        let outbox = Outbox::new(world.scenario.workers, std::mem::take(&mut self.kept));
        let mut session = Session::new(self.number, self.life, visit.connection, grant, outbox);
        session.prepare(world, database);
        if self.is_leaving {
            session.leave();
        }
        visit.session = Some(session);
    }

    /// Ends whatever there is with the coordinator: what ran is cancelled, what is measured is kept.
    fn end_visit(&mut self, world: &mut World, database: &Database) {
        if let Some(Visit { connection, session, .. }) = self.visit.take() {
            world.close(connection, End::Agent);
            if let Some(session) = session {
                let kept = session.end(world, database);
                if !world.is(Mutant::ForgottenResults) {
                    self.kept = kept;
                    self.kept_since = Some(world.now);
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
        let Some(visit) = &mut self.visit else { return };
        let mut wakes_at = visit.lease.lapses_at();
        if let Some(session) = &mut visit.session {
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
