//! A workplace without a database: every row is executed at once and has an empty answer, so that what is measured is Muster itself.
//! For benchmarks. The report says that nothing was asked, and is VOID.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::measurement::{Answer, Outcome, QueryError};
use muster_proto::control::{Database, RunConfig, Statement};

use crate::config::AgentConfig;
use crate::threads::Threads;
use crate::workplace::{CannotStart, Execute, Executed, Prepared, Route, Shift, Worker, Workplace};

#[derive(Debug)]
pub struct NullDatabase;

/// What stands for a connection.
#[derive(Debug)]
pub struct NullConnection {
    /// By statement: values per row.
    parameters: Vec<usize>,
    executions: u32,
}

struct NullShift(Threads);

impl Workplace for NullDatabase {
    fn start(
        &self,
        workers: Vec<Worker>,
        _: &AgentConfig,
        run: &RunConfig,
        _: &Route,
        _: String,
    ) -> Result<Box<dyn Shift>, CannotStart> {
        let statements = run.statements.clone();
        let open = move |_, _| Ok((vec![NullConnection::to(&statements)], prepared()));
        Ok(Box::new(NullShift(Threads::start(workers, open)?)))
    }
}

impl Shift for NullShift {
    fn end_backends(&self, _: &RunId, _: SlotId, _: Epoch) -> BoxFuture<'static, Result<u32, String>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        Box::pin(self.0.join())
    }
}

impl NullConnection {
    pub fn to(statements: &[Statement]) -> Self {
        let parameters = statements.iter().map(|statement| statement.parameters).collect();
        Self { parameters, executions: 0 }
    }
}

/// Without the version of a server: there is none.
pub fn prepared() -> Prepared {
    Prepared {
        connect: Duration::ZERO,
        prepare: Duration::ZERO,
        database: Database::default(),
        sql: String::new(),
        bucket_function: None,
        is_pooled: false,
        versus: None,
        results: Vec::new(),
    }
}

impl Execute for NullConnection {
    fn parameters(&self, statement: u16) -> Option<usize> {
        self.parameters.get(usize::from(statement)).copied()
    }

    fn rename(&mut self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }

    /// Reads the clock as often as a real one does.
    fn execute(&mut self, _: RowId, _: u16, _: &[Option<&str>]) -> Option<Executed> {
        self.executions = self.executions.saturating_add(1);
        let start = Instant::now();
        let service_time = start.elapsed();
        let outcome = Outcome::Completed(Answer::default());
        Some(Executed {
            start,
            service_time,
            number: self.executions,
            outcome,
            connected_at: None,
            reconnect: None,
        })
    }
}
