//! Which database a command works on: one that was named, or an embedded server that the command starts and stops.

use muster_agent::postgres::{Environment, Settings};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::args::DatabaseArgs;
use crate::embedded::{self, Embedded};

/// The word that stands for a server of our own.
const EMBEDDED: &str = "embedded";

/// What the command line and the environment say.
pub(super) enum Choice {
    /// A URL, PG* variables or a service.
    Named(Settings),
    Embedded,
    Nothing,
}

pub(super) fn choose(url: Option<&SecretString>) -> Result<Choice, Failure> {
    if url.is_some_and(|url| url.expose_secret() == EMBEDDED) {
        return Ok(Choice::Embedded);
    }
    let environment = Environment::from_process();
    if !Settings::is_named(url, &environment) {
        return Ok(Choice::Nothing);
    }
    Ok(Choice::Named(Settings::resolve(url, &environment).map_err(Failure::usage)?))
}

/// Starts the embedded server, or gives up when the person does.
pub(super) async fn start(
    args: &DatabaseArgs,
    connections: u32,
    interrupt: &CancellationToken,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(Embedded, Settings), Failure> {
    let options = embedded::Options {
        postgres_bin: args.postgres_bin.clone(),
        connections,
        ..embedded::Options::default()
    };
    let started = tokio::select! {
        () = interrupt.cancelled() => return Err(Failure::interrupted()),
        started = Embedded::start(&options, say) => started.map_err(Failure::usage)?,
    };
    let url = SecretString::from(started.url());
    let settings = Settings::resolve(Some(&url), &Environment::empty()).map_err(Failure::internal)?;
    Ok((started, settings))
}
