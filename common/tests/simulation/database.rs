//! The database: backends named by slot and epoch, and their queries. It is independent of leases: a query of a frozen or killed agent
//! goes on until it ends or its backend is ended.

use std::time::{Duration, Instant};

use muster_common::ids::{Epoch, RowId, SlotId};
use muster_common::slots::Grant;

use crate::agent::AgentEvent;
use crate::coordinator::CoordinatorEvent;
use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) enum DatabaseEvent {
    Connect(Client),
    Begin {
        backend: usize,
        execution: usize,
        row: RowId,
    },
    End {
        backend: usize,
        execution: usize,
    },
    /// The client closed the connection; if its cancel request arrived, the query ends too.
    Close {
        backend: usize,
    },
    /// Ends the backends of a slot's sessions before `below`, for the slot's new owner or the new owners of its hosts.
    EndBackends {
        life: u32,
        slot: SlotId,
        below: Epoch,
    },
}

/// One worker of one session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) agent: usize,
    pub(crate) life: u32,
    /// The connection to the coordinator, which identifies the session within the agent.
    pub(crate) session: usize,
    pub(crate) worker: u16,
    pub(crate) grant: Grant,
}

/// The outcome of a query as the worker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Completed,
    Failed,
    /// The server closed the connection while the query ran.
    Broken,
    /// The connection was closed before the query began.
    NotBegun,
}

#[derive(Debug)]
struct Backend {
    client: Client,
    is_open: bool,
    running: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Database {
    backends: Vec<Backend>,
    down_until: Instant,
}

impl Database {
    pub(crate) fn new(now: Instant) -> Self {
        Self { backends: Vec::new(), down_until: now }
    }

    pub(crate) fn connect(&self, world: &mut World, client: Client) {
        let delay = world.random.millis(1..=40);
        world.schedule(delay, Event::Database(DatabaseEvent::Connect(client)));
    }

    /// Sends a query. Returns the number of this execution.
    pub(crate) fn execute(&self, world: &mut World, backend: usize, row: RowId) -> usize {
        let client = self.backends[backend].client;
        let execution = world.checks.execution(row, &client);
        let delay = world.random.micros(50..=2_000);
        world.schedule(delay, Event::Database(DatabaseEvent::Begin { backend, execution, row }));
        execution
    }

    /// The client disconnects. PostgreSQL does not notice while a query runs, unless it receives a cancel request.
    pub(crate) fn leave(&self, world: &mut World, backend: usize) {
        if world.random.chance(75) {
            let delay = world.random.micros(50..=5_000);
            world.schedule(delay, Event::Database(DatabaseEvent::Close { backend }));
        }
    }

    pub(crate) fn handle(&mut self, world: &mut World, event: DatabaseEvent) {
        match event {
            DatabaseEvent::Connect(client) => self.accept(world, client),
            DatabaseEvent::Begin { backend, execution, row } => self.begin(world, backend, execution, row),
            DatabaseEvent::End { backend, execution } => self.end(world, backend, execution),
            DatabaseEvent::Close { backend } => self.close(world, backend),
            DatabaseEvent::EndBackends { life, slot, below } => self.end_backends(world, life, slot, below),
        }
    }

    /// Closes every connection and accepts none for a moment.
    pub(crate) fn restart(&mut self, world: &mut World) {
        self.down_until = world.now + world.random.millis(50..=3_000);
        for backend in 0..self.backends.len() {
            self.close(world, backend);
        }
    }

    fn accept(&mut self, world: &mut World, client: Client) {
        if world.now < self.down_until {
            let retry = self.down_until - world.now + world.random.millis(1..=100);
            return world.schedule(retry, Event::Database(DatabaseEvent::Connect(client)));
        }
        self.backends.push(Backend { client, is_open: true, running: None });
        let Client { agent, life, session, worker, grant: _ } = client;
        let event = AgentEvent::Connected { session, worker, backend: self.backends.len() - 1 };
        let delay = world.random.micros(50..=2_000);
        world.schedule(delay, Event::Agent { number: agent, life, event });
    }

    fn begin(&mut self, world: &mut World, number: usize, execution: usize, row: RowId) {
        let backend = &mut self.backends[number];
        if !backend.is_open {
            return self.answer(world, number, execution, Answer::NotBegun);
        }
        backend.running = Some(execution);
        world.note(|| format!("database: row {row} begins as {}", name_of(&self.backends[number].client)));
        world.checks.begun(execution);
        let service_time = world.scenario.rows[row.index()].service_time;
        let event = DatabaseEvent::End { backend: number, execution };
        world.schedule(service_time, Event::Database(event));
    }

    fn end(&mut self, world: &mut World, number: usize, execution: usize) {
        if self.backends[number].running != Some(execution) {
            return;
        }
        self.backends[number].running = None;
        world.checks.ended(execution);
        let fails = world.scenario.rows[world.checks.row_of(execution).index()].fails;
        self.answer(world, number, execution, if fails { Answer::Failed } else { Answer::Completed });
    }

    fn close(&mut self, world: &mut World, number: usize) {
        let backend = &mut self.backends[number];
        backend.is_open = false;
        if let Some(execution) = backend.running.take() {
            world.checks.ended(execution);
            self.answer(world, number, execution, Answer::Broken);
        }
    }

    fn end_backends(&mut self, world: &mut World, life: u32, slot: SlotId, below: Epoch) {
        if world.now < self.down_until {
            let retry = self.down_until - world.now + Duration::from_millis(100);
            let event = DatabaseEvent::EndBackends { life, slot, below };
            return world.schedule(retry, Event::Database(event));
        }
        let is_allowed = world.scenario.may_end_backends;
        if is_allowed {
            for number in 0..self.backends.len() {
                let Backend { client, running, .. } = &self.backends[number];
                if client.grant.slot == slot && client.grant.epoch < below {
                    if let Some(execution) = *running {
                        world.checks.ended_by_successor(execution);
                    }
                    self.close(world, number);
                }
            }
        }
        let delay = world.random.millis(1..=50);
        let event = CoordinatorEvent::BackendsEnded { slot, is_allowed };
        world.schedule(delay, Event::Coordinator { life, event });
    }

    fn answer(&self, world: &mut World, backend: usize, execution: usize, answer: Answer) {
        let Client { agent, life, session, worker, grant: _ } = self.backends[backend].client;
        let event = AgentEvent::Answered { session, worker, execution, answer };
        let delay = world.random.micros(50..=2_000);
        world.schedule(delay, Event::Agent { number: agent, life, event });
    }
}

fn name_of(client: &Client) -> String {
    format!("{}:{}/{} of agent {}", client.grant.slot, client.grant.epoch, client.worker, client.agent)
}
