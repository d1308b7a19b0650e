//! The agent's command line.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use muster_agent::postgres::{Environment, Settings};
use muster_agent::{AgentConfig, AgentError, Coordinator};
use muster_common::ids::SlotId;
use muster_common::limits;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing_subscriber::EnvFilter;

/// Runs timed queries for a Muster coordinator.
///
/// Dials the coordinator, waits for it if need be, serves its run, and waits for the next. The database is this agent's own
/// (--database-url, DATABASE_URL, PG* variables, ~/.pgpass, as psql has them); an agent on the coordinator's machine that has
/// none takes the coordinator's.
#[derive(Debug, Parser)]
#[command(name = "agent", version, max_term_width = 100, after_long_help = HELP)]
struct Args {
    /// Where the coordinator listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:50051", env = "MUSTER_COORDINATOR")]
    coordinator: Coordinator,

    /// Database connections, each a worker that runs its rows one after the other
    #[arg(long, short = 'w', value_name = "K", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::WORKERS_PER_AGENT_MAX)))]
    workers: u16,

    /// The database, as psql takes it
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,

    /// The place in the run to ask for: 3 is slot-3 [default: any]
    #[arg(long, value_name = "NUMBER")]
    slot: Option<u16>,

    /// Leave after one run
    #[arg(long)]
    once: bool,

    /// Let statements write; sessions are read-only otherwise
    #[arg(long)]
    allow_writes: bool,

    /// Join a coordinator on another machine without encryption and without proof of who it is
    #[arg(long)]
    insecure: bool,
}

const HELP: &str = "\
Examples:
  agent                                                   joins the coordinator on this machine
  agent --coordinator db-load:50051 --workers 4 --insecure
  DATABASE_URL=postgresql://me@db1/metrics agent --once

Exit codes: 0 fine · 2 usage, or refused by the coordinator · 13 with --once, the coordinator was lost and did not come back
SIGTERM or Ctrl-C: finish the queries in flight, hand back the rows that are not run, leave; a second one leaves at once.
MUSTER_LOG chooses what is logged to stderr: error, warn, info (default), debug.";

pub(crate) async fn run() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("MUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr)
        .init();
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            match failure.downcast_ref() {
                Some(AgentError::Lost { .. }) => ExitCode::from(13),
                Some(AgentError::Refused { .. }) | None => ExitCode::from(2),
            }
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let config = config(args)?;
    let shutdown = CancellationToken::new();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut serving = std::pin::pin!(muster_agent::serve(config, shutdown.clone()));
    tokio::select! {
        served = &mut serving => return Ok(served?),
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    shutdown.cancel();
    tokio::select! {
        served = &mut serving => Ok(served?),
        // A second signal: leave at once.
        _ = interrupts.recv() => Ok(()),
        _ = terminations.recv() => Ok(()),
    }
}

fn config(args: Args) -> anyhow::Result<AgentConfig> {
    let coordinator = args.coordinator;
    anyhow::ensure!(
        coordinator.is_loopback() || args.insecure,
        "coordinator {coordinator} may be another machine, and the connection is neither encrypted nor authenticated: \
         whoever answers there sends SQL to this agent's database. Type --insecure to accept that on a network that you trust"
    );
    let environment = Environment::from_process();
    let url = args.database_url.as_ref();
    let is_named = Settings::is_named(url, &environment);
    let database = is_named.then(|| Settings::resolve(url, &environment)).transpose()?;
    Ok(AgentConfig {
        coordinator,
        workers: args.workers,
        slot: args.slot.map(SlotId::new),
        once: args.once,
        database,
        allow_writes: args.allow_writes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<AgentConfig> {
        config(Args::try_parse_from([&["agent"], words].concat())?)
    }

    #[test]
    fn another_machine_wants_insecure_to_be_typed() {
        let error = parse(&["--coordinator", "db1:50051"]).unwrap_err().to_string();
        assert!(error.contains("--insecure"), "{error}");
        assert!(parse(&["--coordinator", "db1:50051", "--insecure"]).is_ok());
        assert!(parse(&["--coordinator", "[::1]:50051"]).is_ok());
    }

    #[test]
    fn workers_are_bounded() {
        assert!(parse(&["--workers", "0"]).is_err());
        assert!(parse(&["--workers", "513"]).is_err());
        assert_eq!(parse(&["--workers", "512"]).unwrap().workers, 512);
    }
}
