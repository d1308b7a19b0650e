//! The real workplace: threads and PostgreSQL. Each thread has a current_thread runtime of its own, so that gRPC and queries do not
//! distort each other. Several workers share a thread when there are more of them than processors.

use std::sync::Arc;
use std::thread;

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::limits;
use muster_common::measurement::QueryError;
use muster_proto::control::{PrepareFailed, RunConfig};
use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::AgentConfig;
use crate::postgres::{
    Environment, Executed, Executor, Prepared, SessionSetup, Settings, Target, end_backends, no_database,
};
use crate::worker::{Worker, WorkerEvent};
use crate::workplace::{Execute, Shift, Workplace};

pub(crate) struct Threads;

struct ThreadShift {
    threads: Vec<thread::JoinHandle<()>>,
    target: Arc<Target>,
}

impl Workplace for Threads {
    fn start(
        &self,
        workers: Vec<Worker>,
        config: &AgentConfig,
        run: &RunConfig,
        application_name: String,
    ) -> Result<Box<dyn Shift>, PrepareFailed> {
        let target = Arc::new(target(config, run, application_name)?);
        let threads = spawn_threads(workers, &target)?;
        Ok(Box::new(ThreadShift { threads, target }))
    }
}

impl Shift for ThreadShift {
    fn end_backends(
        &self,
        run: &RunId,
        slot: SlotId,
        below: Epoch,
    ) -> BoxFuture<'static, Result<u32, String>> {
        let (target, run) = (Arc::clone(&self.target), run.clone());
        Box::pin(async move { end_backends(&target.settings, &target.setup, &run, slot, below).await })
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        let Self { threads, target: _ } = *self;
        Box::pin(async move {
            let joined =
                tokio::task::spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok()));
            match timeout(limits::CANCEL_GRACE + limits::FAREWELL_TIMEOUT, joined).await {
                Ok(Ok(true)) => true,
                Ok(_) => {
                    warn!("a worker thread panicked");
                    true
                }
                Err(_) => {
                    warn!("a worker thread did not end; it is left to itself");
                    false
                }
            }
        })
    }
}

/// The agent's own database, else the coordinator's, else what libpq would take.
fn target(config: &AgentConfig, run: &RunConfig, application_name: String) -> Result<Target, PrepareFailed> {
    let settings = match (&config.database, &run.database_url) {
        (Some(own), _) => own.clone(),
        (None, handed) => {
            let url = handed.clone().map(SecretString::from);
            let environment = Environment::from_process();
            Settings::resolve(url.as_ref(), &environment).map_err(|error| no_database(&error))?
        }
    };
    Ok(Target {
        settings: Arc::new(settings),
        setup: SessionSetup {
            timezone: run.timezone.clone(),
            read_only: !config.allow_writes,
            // Cancelling is this agent's part; a query must not outlive it when the agent dies.
            statement_timeout: run.timeout.map(|limit| limit + limits::CANCEL_GRACE),
            plan_cache_mode: run.plan_cache_mode,
        },
        application_name,
        statements: run.statements.clone(),
        protocol: run.protocol,
        timeout: run.timeout,
    })
}

fn spawn_threads(
    workers: Vec<Worker>,
    target: &Arc<Target>,
) -> Result<Vec<thread::JoinHandle<()>>, PrepareFailed> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let count = processors.min(workers.len());
    let mut shares: Vec<Vec<Worker>> = (0..count).map(|_| Vec::new()).collect();
    for (position, worker) in workers.into_iter().enumerate() {
        shares[position % count].push(worker);
    }
    let spawn = |share: Vec<Worker>| {
        let target = Arc::clone(target);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name(format!("workers-{}", share[0].index))
            .spawn(move || runtime.block_on(run_share(share, target)))
    };
    let cannot = |error: std::io::Error| no_database(&format!("cannot start a worker thread: {error}"));
    shares.into_iter().map(|share| spawn(share).map_err(cannot)).collect()
}

async fn run_share(share: Vec<Worker>, target: Arc<Target>) {
    let events = share.first().map(|worker| worker.events.clone());
    let mut workers = tokio::task::JoinSet::new();
    for worker in share {
        let target = Arc::clone(&target);
        workers.spawn(worker.run(|cancel| open(target, cancel)));
    }
    while let Some(ended) = workers.join_next().await {
        if let (Err(broken), Some(events)) = (ended, &events) {
            error!("a worker broke: {broken}");
            let _ = events.send(WorkerEvent::Lost).await;
        }
    }
}

async fn open(
    target: Arc<Target>,
    cancel: CancellationToken,
) -> Result<(Vec<Executor>, Prepared), PrepareFailed> {
    let (executor, prepared) = Executor::open(target, cancel).await?;
    Ok((vec![executor], prepared))
}

impl Execute for Executor {
    const IS_REAL_TIME: bool = true;

    fn parameters(&self, statement: u16) -> Option<usize> {
        self.parameters(statement)
    }

    fn reconnects(&self) -> u64 {
        self.reconnects()
    }

    async fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        self.rename(application_name).await
    }

    async fn execute(&mut self, row: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        self.execute(row, statement, values).await
    }
}
