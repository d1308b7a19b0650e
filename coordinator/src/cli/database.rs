//! Selects the database of a command: a configured one, or an embedded server that the command starts and stops.

use anyhow::Context;
use muster_postgres::{Environment, Settings};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::args::{DatabaseArgs, RunArgs};
use crate::demo::generate::Shape;
use crate::demo::migrate::{self, Source};
use crate::embedded::{self, Embedded};
use crate::progress::ProgressDisplay;
use crate::spec::RunSpec;

/// The value of `--database-url` that selects the embedded server.
const EMBEDDED: &str = "embedded";

/// The database selected by the command line and the environment.
pub(super) enum Choice {
    /// Configured by a connection string, PG* variables or a service.
    Configured(Settings),
    Embedded,
    /// No database is configured.
    Unconfigured,
}

pub(super) fn choose(url: Option<&SecretString>) -> Result<Choice, Failure> {
    if url.is_some_and(|url| url.expose_secret() == EMBEDDED) {
        return Ok(Choice::Embedded);
    }
    let environment = Environment::from_process();
    if !Settings::is_named(url, &environment) {
        return Ok(Choice::Unconfigured);
    }
    Ok(Choice::Configured(Settings::resolve(url, &environment).map_err(Failure::usage)?))
}

/// The second database, if the run compares two.
pub(super) fn versus(args: &RunArgs, spec: &RunSpec) -> Result<Option<Settings>, Failure> {
    match (&args.versus, spec.session.load.versus) {
        (None, false) => Ok(None),
        (Some(url), true) => {
            let settings = Settings::resolve(Some(url), &Environment::from_process());
            settings.map(Some).context("--versus").map_err(Failure::usage)
        }
        (None, true) => Err(Failure::usage(anyhow::anyhow!(
            "this run compared two databases, and database URLs are not stored: pass the second one again with --versus"
        ))),
        (Some(_), false) => Err(Failure::usage(anyhow::anyhow!(
            "--versus: this run started with one database and can only be resumed with one"
        ))),
    }
}

/// The coordinator's database: configured, embedded, or none if every agent uses its own settings.
pub(super) async fn of_run(
    args: &RunArgs,
    spec: &RunSpec,
    recorded: Option<&RunSpec>,
    interrupt: &CancellationToken,
    display: &ProgressDisplay,
) -> Result<(Option<Embedded>, Option<Settings>), Failure> {
    match choose(args.database.database_url.as_ref())? {
        Choice::Configured(settings) => return Ok((None, Some(settings))),
        Choice::Unconfigured if spec.local.is_none() => return Ok((None, None)),
        Choice::Unconfigured if recorded.is_some_and(|recorded| recorded.embedded.is_none()) => {
            return Err(Failure::usage(anyhow::anyhow!(
                "this run used your own database, and database URLs are not stored: pass it again with --database-url"
            )));
        }
        Choice::Unconfigured => {
            display.println("no database configured: using an embedded PostgreSQL with the demo data")
        }
        Choice::Embedded => {}
    }
    let print = |line: &str| display.println(line);
    let workers = spec.local.map_or(args.workers, |local| local.workers);
    // --versus may name the same database: a comparison with itself shows the noise.
    let databases = if spec.session.load.versus { 2 } else { 1 };
    let connections = u32::from(spec.agents) * u32::from(workers) * databases;
    let (embedded, settings) = start(&args.database, connections, interrupt, &print).await?;
    let options =
        migrate::Options { source: Source::Generated(Shape::default()), index: false, replace: false };
    tokio::select! {
        () = interrupt.cancelled() => Err(Failure::interrupted()),
        migrated = migrate::migrate(&settings, &options, &print) => {
            migrated.map_err(Failure::internal)?;
            Ok((Some(embedded), Some(settings)))
        }
    }
}

/// Starts the embedded server, unless `interrupt` is cancelled first.
pub(super) async fn start(
    args: &DatabaseArgs,
    connections: u32,
    interrupt: &CancellationToken,
    print: &(dyn Fn(&str) + Sync),
) -> Result<(Embedded, Settings), Failure> {
    let options = embedded::Options {
        postgres_bin: args.postgres_bin.clone(),
        connections,
        ..embedded::Options::default()
    };
    let started = tokio::select! {
        () = interrupt.cancelled() => return Err(Failure::interrupted()),
        started = Embedded::start(&options, print) => started.map_err(Failure::usage)?,
    };
    let url = SecretString::from(started.url());
    let settings = Settings::resolve(Some(&url), &Environment::empty()).map_err(Failure::internal)?;
    Ok((started, settings))
}
