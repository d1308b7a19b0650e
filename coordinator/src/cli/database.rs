//! Selects the database of a command: a configured one, or an embedded server that the command starts and stops.

use muster_postgres::{Environment, Settings};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::args::DatabaseArgs;
use crate::embedded::{self, Embedded};

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
