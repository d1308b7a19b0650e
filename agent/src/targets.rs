//! Which databases a run uses: the agent's own, else the coordinator's if the agent accepts them, else libpq's default.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use muster_core::limits;
use muster_core::prepare::PrepareFailed;
use muster_postgres::{Demands, Environment, HandedOverError, SessionSetup, Settings, Target, no_database};
use muster_proto::control::{RunConfig, WITHHELD};
use secrecy::SecretString;
use tracing::warn;

use crate::config::{AcceptDatabaseUrl, AgentConfig};
use crate::route::Route;
use crate::session_end::causes;

/// The databases of a run.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(crate) first: Arc<Target>,
    /// The second database of a run that compares two.
    pub(crate) versus: Option<Arc<Target>>,
}

impl Targets {
    /// Selects the databases. `warned` is shared by the sessions of this process.
    pub(crate) fn select(
        config: &AgentConfig,
        run: &RunConfig,
        route: &Route,
        application_name: String,
        warned: Arc<Mutex<BTreeSet<String>>>,
    ) -> Result<Self, PrepareFailed> {
        let settings = match (&config.database, &run.database_url) {
            (Some(own), _) => own.clone(),
            (None, Some(url)) => handed_over(url, config, route)?,
            (None, None) => {
                Settings::resolve(None, &Environment::from_process()).map_err(|error| no_database(&error))?
            }
        };
        let setup = SessionSetup {
            timezone: run.session.timezone.clone(),
            read_only: !config.allow_writes,
            // The agent cancels queries at the timeout. The server's own limit is for an agent that has died.
            statement_timeout: run.session.timeout.map(|limit| limit + limits::CANCEL_GRACE),
            plan_cache_mode: run.session.load.plan_cache_mode,
        };
        let first = Target {
            settings: Arc::new(settings),
            setup,
            application_name,
            spec: Arc::new(run.session.clone()),
            role: config.role,
            warned,
        };
        let versus = match (&config.versus, &run.versus_url) {
            (_, None) => None,
            (Some(own), Some(_)) => Some(own.clone()),
            (None, Some(url)) => Some(handed_over(url, config, route).map_err(for_second)?),
        };
        let versus =
            versus.map(|settings| Arc::new(Target { settings: Arc::new(settings), ..first.clone() }));
        Ok(Self { first: Arc::new(first), versus })
    }
}

/// Adds to an error that it is about the second database.
pub(crate) fn for_second(failed: PrepareFailed) -> PrepareFailed {
    PrepareFailed { message: format!("the second database (--versus): {}", failed.message), ..failed }
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
