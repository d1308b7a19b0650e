//! The real driver: workers on threads, connected to PostgreSQL.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::limits;
use muster_common::protocol::ResultFormat;
use muster_common::sample::QueryError;
use muster_common::server_side::{ExplainedPlan, StatsSnapshot};
use muster_proto::control::{Explain, PrepareFailed, RunConfig, WITHHELD};
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{AcceptDatabaseUrl, AgentConfig};
use crate::dial::causes;
use crate::driver::{CannotStart, Driver, Execute, WorkerPool};
use crate::route::Route;
use crate::threads::Threads;
use crate::worker::Worker;
use muster_postgres::{
    Demands, Environment, Executed, Executor, Fence, HandedOverError, Prepared, SessionSetup, Settings,
    StatsCollector, Target, no_database,
};

#[derive(Debug, Default)]
pub(crate) struct Databases {
    /// Databases for which the warning that the role is a superuser has been logged. It is logged once for each.
    warned: Arc<Mutex<BTreeSet<String>>>,
}

struct DatabaseWorkerPool {
    threads: Threads,
    targets: Targets,
    /// Created for the first request.
    stats_collector: OnceLock<Result<Arc<StatsCollector>, String>>,
    fences: OnceLock<Result<Arc<Vec<Fence>>, String>>,
}

/// The databases of a run.
#[derive(Clone)]
struct Targets {
    first: Arc<Target>,
    /// The second database of a run that compares two.
    versus: Option<Arc<Target>>,
}

impl Driver for Databases {
    fn start(
        &self,
        workers: Vec<Worker>,
        config: &AgentConfig,
        run: &RunConfig,
        route: &Route,
        application_name: String,
    ) -> Result<Box<dyn WorkerPool>, CannotStart> {
        let targets = targets(config, run, route, application_name, &self.warned)?;
        let opened = targets.clone();
        let runtime = Handle::current();
        let threads = Threads::start(workers, move |worker, cancel| {
            open(opened.clone(), worker, cancel, runtime.clone())
        })?;
        let (stats_collector, fences) = (OnceLock::new(), OnceLock::new());
        Ok(Box::new(DatabaseWorkerPool { threads, targets, stats_collector, fences }))
    }
}

impl WorkerPool for DatabaseWorkerPool {
    fn end_backends(
        &self,
        run: &RunId,
        slot: SlotId,
        below: Epoch,
    ) -> BoxFuture<'static, Result<u32, String>> {
        let fences = self.fences(run);
        Box::pin(async move {
            let mut ended = 0;
            for fence in &*fences? {
                ended += fence.end_backends(slot, below).await?;
            }
            Ok(ended)
        })
    }

    fn read_stats(&self, run: &RunId, is_last: bool) -> BoxFuture<'static, Result<StatsSnapshot, String>> {
        let stats_collector = self.stats_collector(run);
        Box::pin(async move { stats_collector?.read_stats(is_last).await })
    }

    fn explain(&self, run: &RunId, request: Explain) -> BoxFuture<'static, Result<ExplainedPlan, String>> {
        let stats_collector = self.stats_collector(run);
        Box::pin(async move { stats_collector?.explain(&request).await })
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        if let Some(Ok(stats_collector)) = self.stats_collector.get() {
            stats_collector.close();
        }
        Box::pin(self.threads.join())
    }
}

impl DatabaseWorkerPool {
    fn stats_collector(&self, run: &RunId) -> Result<Arc<StatsCollector>, String> {
        let create = || StatsCollector::try_new(Arc::clone(&self.targets.first), run.clone());
        let create = || create().map(Arc::new).map_err(|error| error.to_string());
        self.stats_collector.get_or_init(create).clone()
    }

    /// Returns one fence for each database.
    fn fences(&self, run: &RunId) -> Result<Arc<Vec<Fence>>, String> {
        let Targets { first, versus } = &self.targets;
        let fences =
            || std::iter::once(first).chain(versus).map(|target| Fence::try_new(target, run.clone()));
        let create = || fences().collect::<Result<_, _>>().map(Arc::new).map_err(|error| error.to_string());
        self.fences.get_or_init(create).clone()
    }
}

/// Returns the agent's own database, else the coordinator's, else libpq's default.
fn targets(
    config: &AgentConfig,
    run: &RunConfig,
    route: &Route,
    application_name: String,
    warned: &Arc<Mutex<BTreeSet<String>>>,
) -> Result<Targets, PrepareFailed> {
    let settings = match (&config.database, &run.database_url) {
        (Some(own), _) => own.clone(),
        (None, Some(url)) => handed_over(url, config, route)?,
        (None, None) => {
            Settings::resolve(None, &Environment::from_process()).map_err(|error| no_database(&error))?
        }
    };
    let first = Target { warned: Arc::clone(warned), ..target(config, run, settings, application_name) };
    let versus = match (&config.versus, &run.versus_url) {
        (_, None) => None,
        (Some(own), Some(_)) => Some(own.clone()),
        (None, Some(url)) => Some(handed_over(url, config, route).map_err(for_second)?),
    };
    let versus = versus.map(|settings| Arc::new(Target { settings: Arc::new(settings), ..first.clone() }));
    Ok(Targets { first: Arc::new(first), versus })
}

/// Returns the settings of the coordinator's database if this agent accepts it. A refusal is also logged by the agent.
fn handed_over(url: &str, config: &AgentConfig, route: &Route) -> Result<Settings, PrepareFailed> {
    let settings = accepted(url, config, route);
    settings.map_err(|error| {
        warn!("{}", causes(&error));
        no_database(&error)
    })
}

fn accepted(url: &str, config: &AgentConfig, route: &Route) -> Result<Settings, NotAccepted> {
    if url == WITHHELD {
        return Err(NotAccepted::Withheld);
    }
    let accept = config.accept_database_url;
    if !accept.allows(route) {
        return Err(NotAccepted::Forbidden { accept });
    }
    let demands = Demands::of(config.database.as_ref(), &Environment::from_process())?;
    Ok(Settings::handed_over(&SecretString::from(url), &demands, || route.is_same_user())?)
}

/// Why this agent does not use the coordinator's database.
#[derive(Debug, thiserror::Error)]
enum NotAccepted {
    #[error(
        "the coordinator does not send its database URL to this agent: it does so only over TLS (--join with the join string of \
         `coordinator token`, or certificates), or to agents of its own user on its machine; join in one of these ways, or set \
         DATABASE_URL for the agent"
    )]
    Withheld,
    #[error(
        "this agent accepts no database URL from this coordinator (--accept-database-url {accept}); set DATABASE_URL for the agent, or \
         start it with another --accept-database-url{}", or_tls(*accept)
    )]
    Forbidden { accept: AcceptDatabaseUrl },
    #[error(transparent)]
    Unusable(#[from] HandedOverError),
}

fn or_tls(accept: AcceptDatabaseUrl) -> &'static str {
    match accept {
        AcceptDatabaseUrl::Tls => ", or join over TLS: --join with the join string of `coordinator token`",
        AcceptDatabaseUrl::Never | AcceptDatabaseUrl::Loopback => "",
    }
}

fn target(config: &AgentConfig, run: &RunConfig, settings: Settings, application_name: String) -> Target {
    Target {
        settings: Arc::new(settings),
        setup: SessionSetup {
            timezone: run.timezone.clone(),
            read_only: !config.allow_writes,
            // The agent cancels queries at the timeout. The server's own limit is for an agent that has died.
            statement_timeout: run.timeout.map(|limit| limit + limits::CANCEL_GRACE),
            plan_cache_mode: run.plan_cache_mode,
        },
        application_name,
        statements: run.statements.clone(),
        protocol: run.protocol,
        results: run.results,
        timeout: run.timeout,
        role: config.role,
        warned: Arc::default(),
    }
}

fn open(
    targets: Targets,
    worker: u16,
    cancel: CancellationToken,
    runtime: Handle,
) -> Result<(Vec<Executor>, Prepared), PrepareFailed> {
    let Targets { first, versus } = targets;
    let (executor, mut prepared) = Executor::open(first, worker, cancel.clone(), runtime.clone())?;
    let mut executors = vec![executor];
    if let Some(target) = versus {
        let opened = Executor::open(target, worker, cancel, runtime);
        let (executor, Prepared { database, results, is_pooled, .. }) = opened.map_err(for_second)?;
        executors.push(executor);
        prepared.versus = Some(database);
        prepared.is_pooled |= is_pooled;
        // Both databases use the same format, so that the comparison is not one of formats.
        for (statement, (used, other)) in prepared.results.iter_mut().zip(results).enumerate() {
            if used.format != other.format {
                executors.iter_mut().for_each(|executor| executor.request_text(statement));
                used.format = ResultFormat::Text;
                used.without_binary.extend(other.without_binary);
            }
        }
    }
    Ok((executors, prepared))
}

/// Adds to an error that it is about the second database.
fn for_second(failed: PrepareFailed) -> PrepareFailed {
    PrepareFailed { message: format!("the second database (--versus): {}", failed.message), ..failed }
}

impl Execute for Executor {
    fn parameters(&self, statement: u16) -> Option<usize> {
        self.parameters(statement)
    }

    fn disconnected(&self) -> Option<Duration> {
        self.disconnected()
    }

    fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        self.rename(application_name)
    }

    fn connect(&mut self) -> Option<()> {
        self.connect()
    }

    fn execute(&mut self, _: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        self.execute(statement, values)
    }

    fn close(&mut self) {
        self.close();
    }
}
