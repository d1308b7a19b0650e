//! The real workplace: workers on threads, connected to PostgreSQL.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::limits;
use muster_common::measurement::QueryError;
use muster_common::protocol::ResultFormat;
use muster_common::server_side::{ExplainedPlan, Sight};
use muster_proto::control::{Explain, KEPT_BACK, PrepareFailed, RunConfig};
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{AcceptDatabaseUrl, AgentConfig};
use crate::dial::causes;
use crate::postgres::{
    Demands, Environment, Executed, Executor, Fence, HandedOverError, Lookout, Prepared, SessionSetup,
    Settings, Target, no_database,
};
use crate::route::Route;
use crate::threads::Threads;
use crate::worker::Worker;
use crate::workplace::{CannotStart, Execute, Shift, Workplace};

#[derive(Debug, Default)]
pub(crate) struct Databases {
    /// Those whose role is a superuser's, which is said once.
    warned: Arc<Mutex<BTreeSet<String>>>,
}

struct DatabaseShift {
    threads: Threads,
    targets: Targets,
    /// Made for the first request.
    lookout: OnceLock<Result<Arc<Lookout>, String>>,
    fences: OnceLock<Result<Arc<Vec<Fence>>, String>>,
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
        route: &Route,
        application_name: String,
    ) -> Result<Box<dyn Shift>, CannotStart> {
        let targets = targets(config, run, route, application_name, &self.warned)?;
        let opened = targets.clone();
        let runtime = Handle::current();
        let threads = Threads::start(workers, move |worker, cancel| {
            open(opened.clone(), worker, cancel, runtime.clone())
        })?;
        Ok(Box::new(DatabaseShift { threads, targets, lookout: OnceLock::new(), fences: OnceLock::new() }))
    }
}

impl Shift for DatabaseShift {
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

    fn look(&self, run: &RunId, is_last: bool) -> BoxFuture<'static, Result<Sight, String>> {
        let lookout = self.lookout(run);
        Box::pin(async move { lookout?.look(is_last).await })
    }

    fn explain(&self, run: &RunId, asked: Explain) -> BoxFuture<'static, Result<ExplainedPlan, String>> {
        let lookout = self.lookout(run);
        Box::pin(async move { lookout?.explain(&asked).await })
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        if let Some(Ok(lookout)) = self.lookout.get() {
            lookout.close();
        }
        Box::pin(self.threads.join())
    }
}

impl DatabaseShift {
    fn lookout(&self, run: &RunId) -> Result<Arc<Lookout>, String> {
        let lookout = || Lookout::try_new(Arc::clone(&self.targets.first), run.clone());
        self.lookout.get_or_init(|| lookout().map(Arc::new).map_err(|error| error.to_string())).clone()
    }

    /// One for each database.
    fn fences(&self, run: &RunId) -> Result<Arc<Vec<Fence>>, String> {
        let Targets { first, versus } = &self.targets;
        let fences =
            || std::iter::once(first).chain(versus).map(|target| Fence::try_new(target, run.clone()));
        let made = || fences().collect::<Result<_, _>>().map(Arc::new).map_err(|error| error.to_string());
        self.fences.get_or_init(made).clone()
    }
}

/// The agent's own database, else the coordinator's, else what libpq would take.
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
        (None, Some(url)) => Some(handed_over(url, config, route).map_err(of_second)?),
    };
    let versus = versus.map(|settings| Arc::new(Target { settings: Arc::new(settings), ..first.clone() }));
    Ok(Targets { first: Arc::new(first), versus })
}

/// What the agent's operator allows of the coordinator's database. What is refused is in this agent's log, too.
fn handed_over(url: &str, config: &AgentConfig, route: &Route) -> Result<Settings, PrepareFailed> {
    let settings = accepted(url, config, route);
    settings.map_err(|error| {
        warn!("{}", causes(&error));
        no_database(&error)
    })
}

fn accepted(url: &str, config: &AgentConfig, route: &Route) -> Result<Settings, NotAccepted> {
    if url == KEPT_BACK {
        return Err(NotAccepted::KeptBack);
    }
    let accept = config.accept_database_url;
    if !accept.allows(route) {
        return Err(NotAccepted::Forbidden { accept });
    }
    let demands = Demands::of(config.database.as_ref(), &Environment::from_process())?;
    Ok(Settings::handed_over(&SecretString::from(url), &demands, || route.is_same_user())?)
}

/// Why this agent does not use a database of the coordinator's.
#[derive(Debug, thiserror::Error)]
enum NotAccepted {
    #[error(
        "the coordinator does not hand its database to this agent: it does so only in TLS (--join with what `coordinator token` prints, \
         or certificates), or to agents of its own user on its machine; either join so, or name a database at the agent with DATABASE_URL"
    )]
    KeptBack,
    #[error(
        "this agent takes no database from this coordinator (--accept-database-url {accept}); name one at the agent with DATABASE_URL, or \
         start it with another --accept-database-url{}", in_tls(*accept)
    )]
    Forbidden { accept: AcceptDatabaseUrl },
    #[error(transparent)]
    Unusable(#[from] HandedOverError),
}

fn in_tls(accept: AcceptDatabaseUrl) -> &'static str {
    match accept {
        AcceptDatabaseUrl::Tls => ", or join in TLS: --join with what `coordinator token` prints",
        AcceptDatabaseUrl::Never | AcceptDatabaseUrl::Loopback => "",
    }
}

fn target(config: &AgentConfig, run: &RunConfig, settings: Settings, application_name: String) -> Target {
    Target {
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
        let (executor, Prepared { database, results, is_pooled, .. }) = opened.map_err(of_second)?;
        executors.push(executor);
        prepared.versus = Some(database);
        prepared.is_pooled |= is_pooled;
        // Both databases use the same format, because the databases are compared and not the formats.
        for (statement, (used, other)) in prepared.results.iter_mut().zip(results).enumerate() {
            if used.format != other.format {
                executors.iter_mut().for_each(|executor| executor.take_text(statement));
                used.format = ResultFormat::Text;
                used.without_binary.extend(other.without_binary);
            }
        }
    }
    Ok((executors, prepared))
}

/// Why a run cannot begin, with which of its databases that is.
fn of_second(failed: PrepareFailed) -> PrepareFailed {
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
