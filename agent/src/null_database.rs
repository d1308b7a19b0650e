//! A driver without a database, for benchmarks of Muster itself: every row completes at once with an empty result. The report states that
//! no database was used, and its verdict is VOID.

use std::time::Instant;

use futures_util::future::BoxFuture;
use muster_core::ids::{Epoch, RowId, RunId, SlotId};
use muster_core::sample::{Answer, Outcome, QueryError};
use muster_core::session_spec::Statement;
use muster_proto::control::RunConfig;

use crate::config::AgentConfig;
use crate::driver::{CannotStart, Driver, Execute, Executed, Prepared, Route, Worker, WorkerPool};
use crate::threads::Threads;

#[derive(Debug)]
pub struct NullDatabase;

/// Takes the place of a connection.
#[derive(Debug)]
pub struct NullConnection {
    /// Number of values per row, for each statement.
    parameters: Vec<usize>,
    executions: u32,
}

struct NullWorkerPool(Threads);

impl Driver for NullDatabase {
    fn start(
        &self,
        workers: Vec<Worker>,
        _: &AgentConfig,
        run: &RunConfig,
        _: &Route,
        _: String,
    ) -> Result<Box<dyn WorkerPool>, CannotStart> {
        let statements = run.session.statements.clone();
        // The description has no server version, because there is no server.
        let open = move |_, _| Ok((vec![NullConnection::to(statements.as_slice())], Prepared::default()));
        Ok(Box::new(NullWorkerPool(Threads::start(workers, open)?)))
    }
}

impl WorkerPool for NullWorkerPool {
    fn end_backends(&self, _: &RunId, _: SlotId, _: Epoch) -> BoxFuture<'static, Result<u32, String>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        Box::pin(self.0.join())
    }
}

impl NullConnection {
    pub fn to(statements: &[Statement]) -> Self {
        let parameters = statements.iter().map(|statement| statement.template().columns().len()).collect();
        Self { parameters, executions: 0 }
    }
}

impl Execute for NullConnection {
    fn parameters(&self, statement: u16) -> Option<usize> {
        self.parameters.get(usize::from(statement)).copied()
    }

    fn rename(&mut self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }

    /// Reads the clock as often as a real connection does.
    fn execute(&mut self, _: RowId, _: u16, _: &[Option<&str>]) -> Option<Executed> {
        self.executions = self.executions.saturating_add(1);
        let start = Instant::now();
        let service_time = start.elapsed();
        let outcome = Outcome::Completed(Answer::default());
        Some(Executed::new(start, service_time, self.executions, outcome))
    }
}
