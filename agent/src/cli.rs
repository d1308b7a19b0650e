//! The agent's command line.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use muster_agent::metrics::AgentMetrics;
use muster_agent::null_database::NullDatabase;
use muster_agent::postgres::{Environment, RoleRule, Settings};
use muster_agent::secret_file;
use muster_agent::security::Security;
use muster_agent::security::pki::PkiArgs;
use muster_agent::surroundings::Surroundings;
use muster_agent::{AcceptDatabaseUrl, AgentConfig, AgentError, Coordinators, parse_listen_address};
use muster_common::ids::SlotId;
use muster_common::join_string::JoinString;
use muster_common::limits;
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Runs timed queries for a Muster coordinator.
///
/// Dials the coordinator, waits for it if need be, serves its run, and waits for the next. The database is this agent's own
/// (--database-url, DATABASE_URL, PG* variables, ~/.pgpass, as psql has them); an agent that has none takes the coordinator's, from the
/// same user on the same machine or in TLS.
#[derive(Debug, Parser)]
#[command(name = "agent", version, max_term_width = 100, after_long_help = HELP)]
struct Args {
    /// Where the coordinator listens; of several addresses, whichever answers first in this order
    #[arg(long, value_name = "HOST:PORT,…", default_value = "127.0.0.1:50051", env = "MUSTER_COORDINATOR")]
    coordinator: Coordinators,

    /// Database connections, each a worker that runs its rows one after the other
    #[arg(long, short = 'w', value_name = "K", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::WORKERS_PER_AGENT_MAX)))]
    workers: u16,

    /// No longer has an effect: each worker has a thread of its own
    #[arg(long, value_name = "N", hide = true)]
    threads: Option<NonZeroU16>,

    /// The database, as psql takes it
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,

    /// A file with the database's URL, which keeps its password out of the list of processes
    #[arg(long, value_name = "FILE", env = "DATABASE_URL_FILE", conflicts_with = "database_url")]
    database_url_file: Option<PathBuf>,

    /// From which coordinators this agent takes the address of a database: of its own where it has none, and of the second one of a run
    /// with --versus. It uses such an address as it is: without its own passwords, files and certificates, and with no weaker sslmode
    /// than its own PGSSLMODE
    #[arg(long, value_name = "FROM", env = "MUSTER_ACCEPT_DATABASE_URL", default_value = "tls")]
    accept_database_url: AcceptArg,

    /// The place in the run to ask for: 3 is slot-3 [default: any]
    #[arg(long, value_name = "NUMBER")]
    slot: Option<u16>,

    /// Leave after one run
    #[arg(long)]
    once: bool,

    /// Serve metrics at http://ADDRESS/metrics and the gRPC health protocol on the same port, both in clear, to whoever asks
    #[arg(long, value_name = "ADDRESS", env = "MUSTER_METRICS", value_parser = parse_listen_address)]
    metrics: Option<SocketAddr>,

    /// Let statements write; sessions are read-only otherwise
    #[arg(long)]
    allow_writes: bool,

    /// Refuse a database whose role can write or is a superuser, and print how to make one that can only read. A read-only session alone
    /// does not keep SQL from writing: it can change that setting itself
    #[arg(long, env = "MUSTER_REQUIRE_READ_ONLY_ROLE", conflicts_with = "allow_writes")]
    require_read_only_role: bool,

    /// Ask no database and answer every row at once, to measure Muster itself; the run is VOID
    #[arg(long, hide = true, conflicts_with_all = ["database_url", "database_url_file"])]
    null_database: bool,

    /// What `coordinator token` prints: by it, agent and coordinator know each other, and the connection is encrypted
    #[arg(long, value_name = "STRING", env = "MUSTER_JOIN", hide_env_values = true)]
    join: Option<SecretString>,

    /// A file with the join string, which keeps it out of the list of processes
    #[arg(long, value_name = "FILE", env = "MUSTER_JOIN_FILE", conflicts_with = "join")]
    join_file: Option<PathBuf>,

    #[command(flatten)]
    pki: PkiArgs,

    /// Join a coordinator on another machine without encryption and without proof of who it is
    #[arg(long, conflicts_with_all = ["join", "join_file", "tls_cert"])]
    insecure: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AcceptArg {
    /// From none
    Never,
    /// From a coordinator on this machine
    Loopback,
    /// From a coordinator on this machine, or joined in TLS (--join, --tls-cert)
    Tls,
}

const HELP: &str = "\
Examples:
  agent                                                   joins the coordinator on this machine
  agent --coordinator db-load:50051 --join-file join --workers 4
  DATABASE_URL=postgresql://me@db1/metrics agent --once

Exit codes: 0 fine · 2 usage, refused by the coordinator, or no thread for a worker · 13 with --once, the coordinator was lost and did not come back
SIGTERM or Ctrl-C: finish the queries in flight, hand back the rows that are not run, leave; a second one leaves at once.
MUSTER_LOG chooses what is logged to stderr: error, warn, info (default), debug.";

pub(crate) async fn run() -> ExitCode {
    let args = Args::parse();
    muster_agent::logging::start("info", false);
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            match failure.downcast_ref() {
                Some(AgentError::Lost { .. }) => ExitCode::from(13),
                Some(AgentError::Refused { .. } | AgentError::CannotStart(_)) | None => ExitCode::from(2),
            }
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    muster_agent::files::allow_many();
    let (metrics_address, has_null_database) = (args.metrics, args.null_database);
    let config = config(args)?;
    // Served from before the first session to the end.
    let (metrics, _server) = AgentMetrics::serve(metrics_address, config.workers).await?;
    let mut surroundings = Surroundings { metrics, ..Surroundings::real() };
    if has_null_database {
        surroundings.workplace = Arc::new(NullDatabase);
    }
    let shutdown = CancellationToken::new();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut serving = std::pin::pin!(muster_agent::serve_in(&surroundings, config, shutdown.clone()));
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
    let security = security(&args)?;
    let coordinators = args.coordinator;
    let environment = Environment::from_process();
    let url = match args.database_url_file {
        Some(path) => Some(read_secret("--database-url-file", &path)?),
        None => args.database_url,
    };
    if args.threads.is_some() {
        warn!("--threads has no effect any more and will be removed: each worker has a thread of its own");
    }
    let url = url.as_ref();
    let is_named = Settings::is_named(url, &environment);
    let database = is_named.then(|| Settings::resolve(url, &environment)).transpose()?;
    Ok(AgentConfig {
        security,
        workers: args.workers,
        slot: args.slot.map(SlotId::new),
        once: args.once,
        database,
        accept_database_url: match args.accept_database_url {
            AcceptArg::Never => AcceptDatabaseUrl::Never,
            AcceptArg::Loopback => AcceptDatabaseUrl::Loopback,
            AcceptArg::Tls => AcceptDatabaseUrl::Tls,
        },
        allow_writes: args.allow_writes,
        role: if args.require_read_only_role { RoleRule::ReadOnly } else { RoleRule::WarnOfSuperuser },
        ..AgentConfig::joining(coordinators)
    })
}

/// How coordinator and agent know each other: as typed, and nothing on one machine.
fn security(args: &Args) -> anyhow::Result<Security> {
    if let Some(pki) = args.pki.read()? {
        return Ok(Security::certified(pki)?);
    }
    let join = match &args.join_file {
        Some(path) => Some(read_secret("--join-file", path)?),
        None => args.join.clone(),
    };
    if let Some(join) = join {
        let join: JoinString = join.expose_secret().parse().context("--join")?;
        return Ok(Security::joined(&join));
    }
    let coordinator = &args.coordinator;
    anyhow::ensure!(
        coordinator.are_loopback() || args.insecure,
        "coordinator {coordinator} may be another machine, and whoever answers there sends SQL to this agent's database. There are three \
         ways to know it: --join with what `coordinator token` prints there; --tls-cert, --tls-key and --tls-ca with certificates of your \
         own authority; or --insecure, in clear and unproven, on a network that you trust"
    );
    Ok(Security::None)
}

/// Removes the byte order mark and the line ending that an editor adds.
fn read_secret(option: &str, path: &Path) -> anyhow::Result<SecretString> {
    let text = secret_file::read(path).with_context(|| match path.to_str() {
        // The user may have typed the secret itself instead of the name of a file.
        Some(shown) if !shown.contains(['@', '=']) && shown.parse::<JoinString>().is_err() => {
            format!("{option} '{shown}'")
        }
        _ => format!("{option} names a file; its name is not shown, because it may be the secret itself"),
    })?;
    Ok(text.trim_start_matches('\u{feff}').trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<AgentConfig> {
        config(Args::try_parse_from([&["agent"], words].concat())?)
    }

    #[test]
    fn another_machine_wants_proof_or_that_insecure_is_typed() {
        let error = parse(&["--coordinator", "db1:50051"]).unwrap_err().to_string();
        for way_out in ["--join", "--tls-cert", "--insecure"] {
            assert!(error.contains(way_out), "{error}");
        }
        assert!(parse(&["--coordinator", "db1:50051", "--insecure"]).is_ok());
        assert!(parse(&["--coordinator", "[::1]:50051"]).is_ok());
    }

    #[test]
    fn a_file_with_a_secret_may_begin_with_a_byte_order_mark() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "\u{feff}postgresql://me@db:1/metrics\r\n").unwrap();
        let config = parse(&["--database-url-file", file.path().to_str().unwrap()]).unwrap();
        assert_eq!(config.database.unwrap().describe(), "db:1/metrics as me");
    }

    #[test]
    fn a_secret_in_the_place_of_its_file_is_not_shown() {
        for option in ["--database-url-file", "--join-file"] {
            let error = parse(&[option, "postgresql://me:s3cret@db/metrics"]).unwrap_err();
            assert!(!format!("{error:#}").contains("s3cret"), "{error:#}");
        }
        let join = format!("muster1.{}.{}", "A".repeat(43), "B".repeat(42) + "A");
        let error = parse(&["--join-file", &join]).unwrap_err();
        assert!(!format!("{error:#}").contains("BBB"), "{error:#}");
    }

    #[test]
    fn workers_are_bounded() {
        assert!(parse(&["--workers", "0"]).is_err());
        assert!(parse(&["--workers", "513"]).is_err());
        assert_eq!(parse(&["--workers", "512"]).unwrap().workers, 512);
    }
}
