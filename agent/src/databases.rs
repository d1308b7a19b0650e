//! The real workplace: workers on threads, connected to PostgreSQL.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::limits;
use muster_common::measurement::QueryError;
use muster_common::server_side::Sight;
use muster_proto::control::{Explain, PrepareFailed, RunConfig};
use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::postgres::{
    Environment, Executed, Executor, Lookout, Prepared, SessionSetup, Settings, Target, end_backends,
    no_database,
};
use crate::threads::Threads;
use crate::worker::Worker;
use crate::workplace::{Execute, Shift, Workplace};

pub(crate) struct Databases;

struct DatabaseShift {
    threads: Threads,
    targets: Targets,
    /// Made when somebody looks for the first time.
    lookout: OnceLock<Arc<Lookout>>,
}

/// The databases of a run.
#[derive(Clone)]
struct Targets {
    first: Arc<Target>,
    /// Where two are compared.
    versus: Option<Arc<Target>>,
}

impl Workplace for Databases {
    fn start(
        &self,
        workers: Vec<Worker>,
        config: &AgentConfig,
        run: &RunConfig,
        application_name: String,
    ) -> Result<Box<dyn Shift>, PrepareFailed> {
        let targets = targets(config, run, application_name)?;
        let opened = targets.clone();
        let threads = Threads::start(workers, config.threads, move |cancel| open(opened.clone(), cancel))?;
        Ok(Box::new(DatabaseShift { threads, targets, lookout: OnceLock::new() }))
    }
}

impl Shift for DatabaseShift {
    fn end_backends(
        &self,
        run: &RunId,
        slot: SlotId,
        below: Epoch,
    ) -> BoxFuture<'static, Result<u32, String>> {
        let (Targets { first, versus }, run) = (self.targets.clone(), run.clone());
        Box::pin(async move {
            let mut ended = 0;
            for target in std::iter::once(first).chain(versus) {
                ended += end_backends(&target.settings, &target.setup, &run, slot, below).await?;
            }
            Ok(ended)
        })
    }

    fn look(&self, run: &RunId, is_last: bool) -> BoxFuture<'static, Result<Sight, String>> {
        let lookout = self.lookout(run);
        Box::pin(async move { lookout.look(is_last).await })
    }

    fn explain(&self, run: &RunId, asked: Explain) -> BoxFuture<'static, Result<Vec<String>, String>> {
        let lookout = self.lookout(run);
        Box::pin(async move { lookout.explain(&asked).await })
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        let Self { threads, targets: _, lookout } = *self;
        Box::pin(async move {
            let closed = async {
                if let Some(lookout) = lookout.get() {
                    // One that does not end is left to itself: the server ends what it asked.
                    let _ = timeout(limits::SETTLE_TIMEOUT, lookout.close()).await;
                }
            };
            let ((), has_ended) = tokio::join!(closed, threads.join());
            has_ended
        })
    }
}

impl DatabaseShift {
    fn lookout(&self, run: &RunId) -> Arc<Lookout> {
        let lookout = || Arc::new(Lookout::new(Arc::clone(&self.targets.first), run.clone()));
        Arc::clone(self.lookout.get_or_init(lookout))
    }
}

/// The agent's own database, else the coordinator's, else what libpq would take.
fn targets(
    config: &AgentConfig,
    run: &RunConfig,
    application_name: String,
) -> Result<Targets, PrepareFailed> {
    let first = first_target(config, run, application_name)?;
    let versus = match run.versus_url.as_deref() {
        None => None,
        Some("") => {
            return Err(no_database(
                &"this run compares two databases (--versus), and only agents on the coordinator's own machine or in \
                  TLS (--join) are handed the address of the second one",
            ));
        }
        Some(url) => {
            let url = SecretString::from(url.to_owned());
            let settings = Settings::resolve(Some(&url), &Environment::from_process());
            let settings = Arc::new(settings.map_err(|error| of_second(no_database(&error)))?);
            Some(Arc::new(Target { settings, ..first.clone() }))
        }
    };
    Ok(Targets { first: Arc::new(first), versus })
}

fn first_target(
    config: &AgentConfig,
    run: &RunConfig,
    application_name: String,
) -> Result<Target, PrepareFailed> {
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

async fn open(
    targets: Targets,
    cancel: CancellationToken,
) -> Result<(Vec<Executor>, Prepared), PrepareFailed> {
    let Targets { first, versus } = targets;
    let (executor, mut prepared) = Executor::open(first, cancel.clone()).await?;
    let mut executors = vec![executor];
    if let Some(target) = versus {
        let opened = Executor::open(target, cancel).await;
        let (executor, Prepared { database, .. }) = opened.map_err(of_second)?;
        executors.push(executor);
        prepared.versus = Some(database);
    }
    Ok((executors, prepared))
}

/// Why a run cannot begin, with which of its databases that is.
fn of_second(failed: PrepareFailed) -> PrepareFailed {
    PrepareFailed { message: format!("the second database (--versus): {}", failed.message), ..failed }
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

    async fn execute(&mut self, _: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        self.execute(statement, values).await
    }
}
