//! Where the simulated agents' workers run: tasks instead of threads, the simulated database instead of PostgreSQL. The workers are
//! the real ones.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_agent::AgentConfig;
use muster_agent::workplace::{Execute, Executed, Prepared, Shift, Worker, Workplace};
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::measurement::{Answer, Outcome, QueryError, SqlState};
use muster_proto::control::{self, PrepareFailed, RunConfig};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::database::{BackendId, Database};
use super::scenario::Row;

/// To the database and back.
const ROUND_TRIP: Duration = Duration::from_millis(2);
const CONNECTING: Duration = Duration::from_millis(8);
pub(super) const FAILURE: &str = "22012";

pub(super) struct Hall {
    pub(super) database: Arc<Database>,
    pub(super) rows: Arc<Vec<Row>>,
}

struct Tasks {
    database: Arc<Database>,
    workers: Vec<JoinHandle<()>>,
}

impl Workplace for Hall {
    fn start(
        &self,
        workers: Vec<Worker>,
        _: &AgentConfig,
        run: &RunConfig,
        application_name: String,
    ) -> Result<Box<dyn Shift>, PrepareFailed> {
        let start = |worker: Worker| {
            let (database, rows) = (Arc::clone(&self.database), Arc::clone(&self.rows));
            let (name, parameters) = (application_name.clone(), run.statements[0].parameters);
            tokio::spawn(worker.run(move |cancel| Connection::open(database, rows, name, parameters, cancel)))
        };
        let workers = workers.into_iter().map(start).collect();
        Ok(Box::new(Tasks { database: Arc::clone(&self.database), workers }))
    }

    fn is_real(&self) -> bool {
        false
    }
}

impl Shift for Tasks {
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
    reconnects: u64,
}

impl Connection {
    async fn open(
        database: Arc<Database>,
        rows: Arc<Vec<Row>>,
        name: String,
        parameters: usize,
        cancel: CancellationToken,
    ) -> Result<(Vec<Self>, Prepared), PrepareFailed> {
        sleep(CONNECTING).await;
        let (backend, ended) = database.connect(&name);
        let prepared = Prepared {
            connect: CONNECTING,
            prepare: ROUND_TRIP,
            database: control::Database::default(),
            sql: "SELECT".to_owned(),
            bucket_function: None,
            versus: None,
        };
        Ok((vec![Self { database, rows, name, parameters, backend, ended, cancel, reconnects: 0 }], prepared))
    }

    /// What arrives has to be what is in the file.
    fn check(&self, row: RowId, values: &[Option<&str>]) {
        let Row { host, takes, fails } = &self.rows[row.index()];
        let (takes, fails) = (takes.as_millis().to_string(), fails.to_string());
        if values != [Some(host.as_str()), Some(&takes), Some(&fails)] {
            self.database.violate(format!("row {row} came as {values:?}"));
        }
    }
}

impl Execute for Connection {
    const IS_REAL_TIME: bool = false;

    fn parameters(&self, statement: u16) -> Option<usize> {
        (statement == 0).then_some(self.parameters)
    }

    fn reconnects(&self) -> u64 {
        self.reconnects
    }

    async fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        sleep(ROUND_TRIP).await;
        self.name = application_name.to_owned();
        self.database.rename(self.backend, application_name);
        Ok(())
    }

    async fn execute(&mut self, row: RowId, _: u16, values: &[Option<&str>]) -> Option<Executed> {
        self.check(row, values);
        if self.ended.is_cancelled() {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return None,
                () = sleep(CONNECTING) => {}
            }
            (self.backend, self.ended) = self.database.connect(&self.name);
            self.reconnects += 1;
        }
        let Row { host, takes, fails } = &self.rows[row.index()];
        let start = tokio::time::Instant::now().into_std();
        let execution = self.database.begin(self.backend, row, host, *takes);
        let outcome = tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                sleep(ROUND_TRIP).await;
                self.database.stop(execution);
                return None;
            }
            () = self.ended.cancelled() => {
                Outcome::Failed(failure("57P01", "terminating connection due to administrator command"))
            }
            () = sleep(*takes) => {
                self.database.finish(execution);
                match fails {
                    true => Outcome::Failed(failure(FAILURE, "division by zero")),
                    false => Outcome::Completed(answer(row)),
                }
            }
        };
        let service_time = tokio::time::Instant::now().into_std() - start;
        Some(Executed { start, service_time, number: 1, outcome })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.database.disconnect(self.backend);
    }
}

/// Each row has another one, so that sums tell which are in them.
pub(super) fn answer(row: RowId) -> Answer {
    let digest = u64::from(row.get() + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Answer { rows: 1, bytes: 8, digest }
}

fn failure(sqlstate: &str, message: &str) -> QueryError {
    QueryError {
        sqlstate: SqlState::try_new(sqlstate).expect("five digits or letters"),
        message: message.to_owned(),
    }
}
