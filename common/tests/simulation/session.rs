//! An agent's session: workers that run their rows one at a time, and the results that are sent. Thin glue around `Outbox`.

use std::collections::VecDeque;
use std::time::Instant;

use muster_common::ids::RowId;
use muster_common::limits;
use muster_common::outbox::{Outbox, Unacked};
use muster_common::sample::{Answer as Digest, Execution, Lag, Outcome, QueryError, Sample, SqlState};
use muster_common::slots::Grant;

use crate::database::{Answer, Client, Database};
use crate::messages::{FromAgent, FromCoordinator};
use crate::world::World;

pub(crate) struct Session {
    agent: usize,
    life: u32,
    connection: usize,
    grant: Grant,
    outbox: Outbox,
    /// When the oldest unsent result was measured.
    waits_since: Option<Instant>,
    workers: Vec<Worker>,
    is_ready: bool,
    is_started: bool,
    /// Sent once the rows in flight have ended and all results are acknowledged. No further row is begun after it is set.
    final_message: Option<FromAgent>,
    is_closing: bool,
    /// Sent and unacknowledged batches: number and executions.
    batches: VecDeque<(u64, Vec<u64>)>,
}

#[derive(Debug, Default)]
struct Worker {
    queue: VecDeque<RowId>,
    backend: Option<usize>,
    is_connecting: bool,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    row: RowId,
    execution: usize,
    began: Instant,
}

impl Session {
    pub(crate) fn new(agent: usize, life: u32, connection: usize, grant: Grant, outbox: Outbox) -> Self {
        Self {
            agent,
            life,
            connection,
            grant,
            outbox,
            waits_since: None,
            workers: Vec::new(),
            is_ready: false,
            is_started: false,
            final_message: None,
            is_closing: false,
            batches: VecDeque::new(),
        }
    }

    /// Opens every worker's connection; Ready follows when all are open.
    pub(crate) fn prepare(&mut self, world: &mut World, database: &Database) {
        for worker in 0..world.scenario.workers {
            database.connect(world, self.client(worker));
            self.workers.push(Worker { is_connecting: true, ..Worker::default() });
        }
        for credit in self.outbox.first_credits() {
            world.send_to_coordinator(self.connection, FromAgent::Credit(self.grant, credit));
        }
        self.send_results(world);
    }

    pub(crate) fn connected(&mut self, world: &mut World, worker: u16, backend: usize) {
        let worker = &mut self.workers[usize::from(worker)];
        worker.is_connecting = false;
        worker.backend = Some(backend);
        if !self.is_ready && self.workers.iter().all(|worker| worker.backend.is_some()) {
            self.is_ready = true;
            world.send_to_coordinator(self.connection, FromAgent::Ready(self.grant));
        }
    }

    pub(crate) fn handle_message(
        &mut self,
        world: &mut World,
        database: &Database,
        message: FromCoordinator,
    ) {
        match message {
            FromCoordinator::Start => self.is_started = true,
            FromCoordinator::Assign { worker, rows } => self.workers[usize::from(worker)].queue.extend(rows),
            FromCoordinator::Ack(number) => self.acknowledged(world, number),
            FromCoordinator::Drain => self.close_with(FromAgent::Report(self.grant)),
            FromCoordinator::Cancel => {
                for worker in &mut self.workers {
                    worker.cancel(world, database);
                }
            }
            FromCoordinator::Standby
            | FromCoordinator::Welcome(_)
            | FromCoordinator::BeatAck(_)
            | FromCoordinator::Bye => unreachable!("the agent handles these"),
        }
    }

    /// Finishes the rows in flight and hands the others back.
    pub(crate) fn leave(&mut self) {
        self.close_with(FromAgent::Leave(self.grant));
    }

    fn close_with(&mut self, message: FromAgent) {
        if !self.is_closing {
            self.is_closing = true;
            self.final_message = Some(message);
        }
    }

    fn acknowledged(&mut self, world: &mut World, number: u64) {
        while let Some((_, executions)) = self.batches.pop_front_if(|(sent, _)| *sent <= number) {
            executions.into_iter().for_each(|execution| world.checks.acknowledged(execution));
        }
        for credit in self.outbox.acknowledge(number) {
            if !self.is_closing {
                world.send_to_coordinator(self.connection, FromAgent::Credit(self.grant, credit));
            }
        }
    }

    pub(crate) fn answered(
        &mut self,
        world: &mut World,
        index: u16,
        execution: usize,
        answer: Answer,
        is_lapsed: bool,
    ) {
        let worker = &mut self.workers[usize::from(index)];
        let Some(running) = worker.running.take_if(|running| running.execution == execution) else { return };
        if matches!(answer, Answer::Broken | Answer::NotBegun) {
            worker.backend = None;
        }
        if answer == Answer::NotBegun {
            worker.queue.push_front(running.row);
            return;
        }
        let outcome = match answer {
            Answer::Completed => Outcome::Completed(Digest::default()),
            _ => Outcome::Failed(QueryError::new(SqlState::CONNECTION_FAILURE, "")),
        };
        let service_time = world.now - running.began;
        // `start_ns` carries the number of the execution, which identifies the measurement everywhere.
        let measurement = Sample {
            row: running.row,
            start_ns: execution as u64,
            lag: Lag::default(),
            execution: Execution::default(),
            service_time_ns: u64::try_from(service_time.as_nanos()).expect("some seconds"),
            outcome,
        };
        world.checks.measured(execution, is_lapsed);
        self.outbox.add(index, measurement);
        self.waits_since.get_or_insert(world.now);
    }

    /// Does what is due: begins rows, sends results, sends the final message.
    pub(crate) fn proceed(&mut self, world: &mut World, database: &Database) {
        for index in 0..world.scenario.workers {
            self.run_next(world, database, index);
        }
        let is_idle = self.workers.iter().all(|worker| worker.running.is_none());
        let is_ending = self.is_closing && is_idle;
        if is_ending || self.has_to_send(world) {
            self.send_results(world);
        }
        if is_ending
            && !self.outbox.has_unacknowledged()
            && let Some(message) = self.final_message.take()
        {
            world.send_to_coordinator(self.connection, message);
        }
    }

    fn run_next(&mut self, world: &mut World, database: &Database, index: u16) {
        let client = self.client(index);
        let worker = &mut self.workers[usize::from(index)];
        let may_run = self.is_started && !self.is_closing && worker.running.is_none();
        if !may_run || worker.queue.is_empty() {
            return;
        }
        if let Some(backend) = worker.backend {
            let Some(row) = worker.queue.pop_front() else { return };
            let execution = database.execute(world, backend, row);
            worker.running = Some(Running { row, execution, began: world.now });
        } else if !std::mem::replace(&mut worker.is_connecting, true) {
            database.connect(world, client);
        }
    }

    fn has_to_send(&self, world: &World) -> bool {
        self.sends_at().is_some_and(|at| at <= world.now) || self.outbox.until_due().any(|rows| rows == 0)
    }

    /// Sends all results, the inherited ones first.
    fn send_results(&mut self, world: &mut World) {
        self.waits_since = None;
        while let Some(results) = self.outbox.take_batch() {
            let executions = results.measurements.iter().map(|(_, measurement)| measurement.start_ns);
            self.batches.push_back((results.number, executions.collect()));
            world.send_to_coordinator(self.connection, FromAgent::Results(self.grant, results));
        }
    }

    pub(crate) fn sends_at(&self) -> Option<Instant> {
        self.waits_since.map(|since| since + limits::RESULT_LINGER)
    }

    /// Cancels the running queries. Returns the results that were not acknowledged.
    pub(crate) fn end(mut self, world: &mut World, database: &Database) -> Vec<Unacked> {
        for worker in &mut self.workers {
            worker.cancel(world, database);
        }
        self.outbox.into_unacked(self.grant)
    }

    fn client(&self, worker: u16) -> Client {
        Client { agent: self.agent, life: self.life, session: self.connection, worker, grant: self.grant }
    }
}

impl Worker {
    fn cancel(&mut self, world: &mut World, database: &Database) {
        self.running = None;
        if let Some(backend) = self.backend.take() {
            database.leave(world, backend);
        }
    }
}
