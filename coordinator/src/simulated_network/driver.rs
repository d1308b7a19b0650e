//! The driver of the simulated agents. It runs the real workers on threads in simulated time, with the simulated database instead of
//! PostgreSQL.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_agent::AgentConfig;
use muster_agent::driver::{CannotStart, Driver, Execute, Executed, Prepared, Route, Worker, WorkerPool};
use muster_core::ids::{Epoch, RowId, RunId, SlotId};
use muster_core::sample::{Answer, Outcome, QueryError, SqlState};
use muster_proto::control::RunConfig;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::coroutine::{self, Coroutine, CoroutineWaiter};
use super::database::{self, BackendId, Database};
use super::invariants::{Invariant, Violation};
use super::scenario::Row;

/// A round trip to the database.
const ROUND_TRIP: Duration = Duration::from_millis(2);
const CONNECTING: Duration = Duration::from_millis(8);
pub(super) const FAILURE: &str = "22012";
/// The SQLSTATE of a query whose backend was terminated.
pub(super) const TERMINATED: &str = "57P01";

pub(super) struct SimulatedDriver {
    pub(super) database: Arc<Database>,
    pub(super) rows: Arc<Vec<Row>>,
}

struct Tasks {
    database: Arc<Database>,
    workers: Vec<JoinHandle<()>>,
}

impl Driver for SimulatedDriver {
    fn start(
        &self,
        workers: Vec<Worker>,
        _: &AgentConfig,
        run: &RunConfig,
        _: &Route,
        application_name: String,
    ) -> Result<Box<dyn WorkerPool>, CannotStart> {
        let start = |worker: Worker| {
            let (database, rows) = (Arc::clone(&self.database), Arc::clone(&self.rows));
            let (name, parameters) =
                (application_name.clone(), run.session.statements.first().template().columns().len());
            tokio::spawn(coroutine::run(move |coroutine| {
                let coroutine = Rc::new(coroutine);
                let waiter = CoroutineWaiter { coroutine: Rc::clone(&coroutine), woken: Arc::default() };
                worker.run(waiter, move |cancel| {
                    let opening = Connection::open(database, rows, name, parameters, cancel);
                    let (connection, prepared) = coroutine.block_on(opening);
                    Ok((vec![Blocking { coroutine, connection: Some(connection) }], prepared))
                });
            }))
        };
        let workers = workers.into_iter().map(start).collect();
        Ok(Box::new(Tasks { database: Arc::clone(&self.database), workers }))
    }

    fn is_real(&self) -> bool {
        false
    }
}

impl WorkerPool for Tasks {
    fn end_backends(&self, _: &RunId, slot: SlotId, below: Epoch) -> BoxFuture<'static, Result<u32, String>> {
        let database = Arc::clone(&self.database);
        Box::pin(async move {
            sleep(CONNECTING).await;
            let ended = database.end_backends(slot, below);
            sleep(ROUND_TRIP).await;
            ended
        })
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        Box::pin(async move {
            for worker in self.workers {
                worker.await.expect("a worker does not panic");
            }
            true
        })
    }
}

/// A worker's connection.
struct Connection {
    database: Arc<Database>,
    rows: Arc<Vec<Row>>,
    name: String,
    parameters: usize,
    backend: BackendId,
    ended: CancellationToken,
    cancel: CancellationToken,
    /// When the connection was opened, on the clocks of the simulation and of the agent.
    opened: (Duration, tokio::time::Instant),
}

impl Connection {
    async fn open(
        database: Arc<Database>,
        rows: Arc<Vec<Row>>,
        name: String,
        parameters: usize,
        cancel: CancellationToken,
    ) -> (Self, Prepared) {
        sleep(CONNECTING).await;
        let (backend, ended) = database.connect(&name);
        let prepared = Prepared {
            connect: CONNECTING,
            prepare: ROUND_TRIP,
            database: muster_core::prepare::Database::default(),
            sql: "SELECT".to_owned(),
            bucket_function: None,
            is_pooled: false,
            versus: None,
            results: Vec::new(),
        };
        let opened = (database::now(), tokio::time::Instant::now());
        (Self { database, rows, name, parameters, backend, ended, cancel, opened }, prepared)
    }

    /// The row of the file; a run with a duration repeats the rows.
    fn record(&self, row: RowId) -> &Row {
        &self.rows[row.index() % self.rows.len()]
    }

    /// Reports a violation if the values differ from those in the file.
    fn check(&self, row: RowId, values: &[Option<String>]) {
        let Row { host, takes, fails } = self.record(row);
        let (takes, fails) = (takes.as_millis().to_string(), fails.to_string());
        if values != [Some(host.clone()), Some(takes), Some(fails)] {
            let what = format!("row {row} arrived as {values:?}");
            self.database.add_violation(Violation::new(Invariant::OwnResult, what));
        }
    }

    async fn rename(&mut self, application_name: String) {
        sleep(ROUND_TRIP).await;
        self.database.rename(self.backend, &application_name);
        self.name = application_name;
    }

    async fn execute(&mut self, row: RowId, values: &[Option<String>]) -> Option<Executed> {
        self.check(row, values);
        let mut connected_at = None;
        if self.ended.is_cancelled() {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return None,
                () = sleep(CONNECTING) => {}
            }
            (self.backend, self.ended) = self.database.connect(&self.name);
            connected_at = Some(tokio::time::Instant::now().into_std());
        }
        let Row { host, takes, fails } = self.record(row);
        let (takes, fails) = (*takes, *fails);
        let start = tokio::time::Instant::now().into_std();
        let execution = self.database.begin(self.backend, row, host, takes);
        let outcome = tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                sleep(ROUND_TRIP).await;
                self.database.stop(execution);
                return None;
            }
            () = self.ended.cancelled() => {
                Outcome::Failed(failure(TERMINATED, "terminating connection due to administrator command"))
            }
            () = sleep(takes) => {
                self.database.finish(execution);
                match fails {
                    true => Outcome::Failed(failure(FAILURE, "division by zero")),
                    false => Outcome::Completed(answer(row)),
                }
            }
        };
        let service_time = tokio::time::Instant::now().into_std() - start;
        Some(Executed { start, service_time, number: 1, outcome, connected_at, reconnect: None })
    }
}

/// A connection with the blocking interface that the worker's thread uses.
struct Blocking {
    coroutine: Rc<Coroutine>,
    /// `None` while the simulation runs a call on it.
    connection: Option<Connection>,
}

impl Execute for Blocking {
    fn parameters(&self, statement: u16) -> Option<usize> {
        self.connection.as_ref().filter(|_| statement == 0).map(|connection| connection.parameters)
    }

    fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        let (mut connection, name) = (self.take(), application_name.to_owned());
        self.connection = Some(self.coroutine.block_on(async move {
            connection.rename(name).await;
            connection
        }));
        Ok(())
    }

    fn execute(&mut self, row: RowId, _: u16, values: &[Option<&str>]) -> Option<Executed> {
        let values: Vec<_> = values.iter().map(|value| value.map(str::to_owned)).collect();
        let mut connection = self.take();
        let (connection, executed) = self.coroutine.block_on(async move {
            let executed = connection.execute(row, &values).await;
            (connection, executed)
        });
        self.connection = Some(connection);
        executed
    }
}

impl Blocking {
    fn take(&mut self) -> Connection {
        self.connection.take().expect("each call puts the connection back")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The worker's thread has only the agent's clock.
        let (at, opened) = self.opened;
        self.database.disconnect(self.backend, at + opened.elapsed());
    }
}

/// The result of a row. It differs for each row, so that a sum of digests shows which rows are in it.
pub(super) fn answer(row: RowId) -> Answer {
    let digest = u64::from(row.get() + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Answer { rows: 1, bytes: 8, digest }
}

fn failure(sqlstate: &str, message: &str) -> QueryError {
    QueryError::new(SqlState::try_new(sqlstate).expect("five digits or letters"), message)
}
