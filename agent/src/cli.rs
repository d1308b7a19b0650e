//! The agent's command line.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{CommandFactory, Parser, ValueEnum};
use muster_core::ids::SlotId;
use muster_core::limits;
use muster_net::join_string::JoinString;
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use muster_net::address::{Coordinators, parse_listen_address};
use muster_net::security::Security;
use muster_net::security::pki::PkiArgs;
use muster_postgres::{Environment, RoleRule, Settings};
use muster_process::secret_file;

use crate::config::{AcceptDatabaseUrl, AgentConfig};
use crate::exit::Exit;
use crate::metrics::AgentMetrics;
use crate::null_database::NullDatabase;
use crate::runtime::Runtime;
use crate::serve::AgentError;

/// Runs timed queries for a Muster coordinator.
///
/// Connects to the coordinator, retrying until it is available, executes its run, and waits for the next run.
#[derive(Debug, Parser)]
#[command(name = "agent", version, max_term_width = 100, after_long_help = help())]
struct Args {
    /// Address of the coordinator; several addresses are tried in this order
    #[arg(long, value_name = "HOST:PORT,…", default_value = "127.0.0.1:50051", env = "MUSTER_COORDINATOR")]
    coordinator: Coordinators,

    /// Number of workers; each has one database connection and runs one row at a time
    #[arg(long, short = 'w', value_name = "K", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::WORKERS_PER_AGENT_MAX)))]
    workers: u16,

    /// No longer has an effect: each worker has its own thread
    #[arg(long, value_name = "N", hide = true)]
    threads: Option<NonZeroU16>,

    /// Slot to request; 3 is slot-3 [default: any free slot]
    #[arg(long, value_name = "NUMBER")]
    slot: Option<u16>,

    /// Exit after one run
    #[arg(long)]
    once: bool,

    /// Serve metrics at http://ADDRESS/metrics, and the gRPC health protocol on the same port
    ///
    /// There is no encryption or authentication, and nothing secret.
    #[arg(long, value_name = "ADDRESS", env = "MUSTER_METRICS", value_parser = parse_listen_address)]
    metrics: Option<SocketAddr>,

    /// Database connection string, as in psql [default: that of the coordinator]
    ///
    /// PG* variables, PGSERVICE and ~/.pgpass apply as in psql, and are sufficient. An agent without any database settings uses those of
    /// the coordinator, which are sent only to the same user on the same machine or over TLS.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, help_heading = "Database")]
    database_url: Option<SecretString>,

    /// File with the database connection string; keeps the password out of the process list
    #[arg(
        long,
        value_name = "FILE",
        env = "DATABASE_URL_FILE",
        conflicts_with = "database_url",
        help_heading = "Database"
    )]
    database_url_file: Option<PathBuf>,

    /// Coordinators from which this agent accepts a database connection string
    ///
    /// It is used if the agent has no database settings, and for the second database of a run with --versus. The agent adds no passwords,
    /// service files or certificates of its own, and enforces its own PGSSLMODE as the minimum.
    #[arg(
        long,
        value_name = "FROM",
        env = "MUSTER_ACCEPT_DATABASE_URL",
        default_value = "tls",
        help_heading = "Database"
    )]
    accept_database_url: AcceptArg,

    /// Allow statements to write; by default sessions are read-only
    #[arg(long, help_heading = "Database")]
    allow_writes: bool,

    /// Refuse to run if the database role can write or is a superuser
    ///
    /// The error message shows how to create a read-only role. A read-only session alone does not prevent writes, because SQL can change
    /// that setting.
    #[arg(
        long,
        env = "MUSTER_REQUIRE_READ_ONLY_ROLE",
        conflicts_with = "allow_writes",
        help_heading = "Database"
    )]
    require_read_only_role: bool,

    /// Complete every row immediately without a database, to measure Muster itself; the verdict is VOID
    #[arg(long, hide = true, conflicts_with_all = ["database_url", "database_url_file"])]
    null_database: bool,

    /// Join string printed by `coordinator token`: both sides authenticate each other over TLS
    #[arg(long, value_name = "STRING", env = "MUSTER_JOIN", hide_env_values = true, help_heading = AUTHENTICATION)]
    join: Option<SecretString>,

    /// File with the join string; keeps it out of the process list
    #[arg(long, value_name = "FILE", env = "MUSTER_JOIN_FILE", conflicts_with = "join", help_heading = AUTHENTICATION)]
    join_file: Option<PathBuf>,

    #[command(flatten, next_help_heading = AUTHENTICATION)]
    pki: PkiArgs,

    /// Join a coordinator on another machine without encryption or authentication
    ///
    /// Otherwise a coordinator on another machine requires --join, --join-file or --tls-cert.
    #[arg(long, conflicts_with_all = ["join", "join_file", "tls_cert"], help_heading = AUTHENTICATION)]
    insecure: bool,
}

const AUTHENTICATION: &str = "Authentication";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AcceptArg {
    /// Never accept one
    Never,
    /// Only from a coordinator on this machine
    Loopback,
    /// From a coordinator on this machine, or on another machine over TLS (--join, --tls-cert)
    Tls,
}

fn help() -> String {
    let codes = muster_process::exit::help(Exit::ALL.map(Exit::description));
    format!("{EXAMPLES}\n\n{SIGNALS}\n\n{codes}")
}

const EXAMPLES: &str = "\
Examples:
  agent                                                   join the coordinator on this machine
  agent --coordinator db-load:50051 --join-file join --workers 4
  DATABASE_URL=postgresql://me@db1/metrics agent --once";

const SIGNALS: &str = "\
SIGTERM or Ctrl-C: finish the queries in flight, return the remaining rows and exit. A second signal exits immediately.

MUSTER_LOG sets the log level on stderr: error, warn, info (default) or debug.";

/// The definition of the command line.
pub fn command() -> clap::Command {
    Args::command()
}

/// Parses the command line and serves runs until the agent is stopped. On a usage error clap exits the process here.
pub async fn run() -> Exit {
    let args = Args::parse();
    muster_process::logging::start("info", false);
    match serve(args).await {
        Ok(()) => Exit::Success,
        Err(failure) => {
            error!("{failure:#}");
            match failure.downcast_ref() {
                Some(AgentError::Lost { .. }) => Exit::Lost,
                Some(AgentError::Refused { .. } | AgentError::CannotStart(_)) | None => Exit::CannotServe,
            }
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    muster_process::fd_limit::raise_fd_limit();
    let (metrics_address, has_null_database) = (args.metrics, args.null_database);
    let config = config(args)?;
    // The metrics server runs from before the first session until the process ends.
    let (metrics, _server) = AgentMetrics::serve(metrics_address, config.workers).await?;
    let mut runtime = Runtime { metrics, ..Runtime::real() };
    if has_null_database {
        runtime.driver = Arc::new(NullDatabase);
    }
    let shutdown = CancellationToken::new();
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut serving = std::pin::pin!(crate::serve::serve_in(&runtime, config, shutdown.clone()));
    tokio::select! {
        served = &mut serving => return Ok(served?),
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    shutdown.cancel();
    tokio::select! {
        served = &mut serving => Ok(served?),
        // A second signal exits at once.
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
        warn!("--threads has no effect any more and will be removed: each worker has its own thread");
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

/// Returns how coordinator and agent authenticate each other. Without options, only a coordinator on this machine is accepted.
fn security(args: &Args) -> anyhow::Result<Security> {
    if let Some(pki) = args.pki.read()? {
        return Ok(Security::mutual_tls(pki)?);
    }
    let join = match &args.join_file {
        Some(path) => Some(read_secret("--join-file", path)?),
        None => args.join.clone(),
    };
    if let Some(join) = join {
        let join: JoinString = join.expose_secret().parse().context("--join")?;
        return Ok(Security::from_join_string(&join));
    }
    let coordinator = &args.coordinator;
    anyhow::ensure!(
        coordinator.are_loopback() || args.insecure,
        "coordinator {coordinator} may be on another machine, and the program at that address could send any SQL to this agent's database. \
         Choose one of: --join with the join string that `coordinator token` prints there; --tls-cert, --tls-key and --tls-ca with \
         certificates of your own CA; or --insecure, without encryption or authentication, on a network that you trust"
    );
    Ok(Security::None)
}

/// Reads a secret from a file, without the byte order mark and the line ending that an editor adds.
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
    fn another_machine_requires_authentication_or_insecure() {
        let error = parse(&["--coordinator", "db1:50051"]).unwrap_err().to_string();
        for option in ["--join", "--tls-cert", "--insecure"] {
            assert!(error.contains(option), "{error}");
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
    fn a_secret_given_instead_of_its_file_is_not_shown() {
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
