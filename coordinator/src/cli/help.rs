//! What `--help` prints below the options: examples, the syntax of values, and exit codes.

use muster_process::exit;

use crate::exit::Exit;

/// A placeholder of the options, and its syntax in lines.
pub(crate) type Value = (&'static str, &'static [&'static str]);

/// The values with a syntax of their own.
pub(super) const VALUES: [Value; 6] = [TIME, RATE, OBJECTIVE, EXPRESSION, FORMAT, ADDRESS];

const TIME: Value = (
    "TIME",
    &["a number with a unit (us, ms, s, m, h), or several: `500ms`, `2m`, `1h 30m`; at most a year"],
);
const RATE: Value = (
    "RATE",
    &[
        "queries per second over all agents, from 0.001 to 10,000,000: `500`;",
        "a ramp that takes a minute: `100..2000/60s`; or steps of 30 s each: `100,200,400/30s`.",
        "The last rate continues to the end of the run",
    ],
);
const OBJECTIVE: Value = (
    "OBJECTIVE",
    &[
        "upper bounds of response times, separated by commas: `p99<50ms`, `median<5ms,p99.9<1s`.",
        "The figures are median, mean, max, p90, p95, p99 and p99.9.",
        "`failed<1%` allows that share of failures; without it no query may fail",
    ],
);
const EXPRESSION: Value = (
    "EXPRESSION",
    &[
        "METRIC OPERATOR VALUE: `p95<50ms`, `throughput>500`, `failed<0.1%`, `failed=0`.",
        "METRIC is min, median, mean, max, p90, p95, p99, p99.9, failed or throughput;",
        "OPERATOR is `<`, `<=`, `>` or `>=`. Times are service times unless they have a prefix:",
        "`response:p99<1s`, and the same with lag, queueing and generator_delay.",
        "`host:NAME:p99<200ms` holds for each host that matches; `*` matches any characters",
    ],
);
const FORMAT: Value = (
    "FORMAT",
    &[
        "`text`, `json`, `csv`, `markdown`, `html` or `hlog`; `json=FILE` writes to a file.",
        "At most one format goes to stdout",
    ],
);
const ADDRESS: Value = (
    "ADDRESS",
    &["an IP address and a port: `127.0.0.1:9464`;", "`0.0.0.0:9464` and `[::]:9464` are all interfaces"],
);

pub(super) fn run() -> String {
    let values = values(&VALUES);
    let codes = exit::help(Exit::ALL.map(Exit::description));
    format!("{RUN_EXAMPLES}\n\n{values}\n\n{codes}\n\n{SIGNALS}\n\n{LOG}")
}

pub(super) fn report() -> String {
    let codes = [Exit::Success, Exit::Usage, Exit::ThresholdMissed, Exit::CannotWrite];
    let codes = exit::help(codes.map(Exit::description));
    format!("{REPORT_EXAMPLES}\n\n{}\n\n{codes}", values(&[EXPRESSION, FORMAT]))
}

pub(super) fn compare() -> String {
    let codes = [Exit::Success, Exit::Usage, Exit::ThresholdMissed, Exit::CannotWrite];
    let codes = exit::help(codes.map(Exit::description));
    format!("{COMPARE_METHOD}\n\n{COMPARE_EXAMPLES}\n\n{}\n\n{codes}", values(&[FORMAT]))
}

pub(super) fn token() -> String {
    format!("{TOKEN_STRING}\n\n{TOKEN_EXAMPLES}")
}

fn values(values: &[Value]) -> String {
    let width = values.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let indent = format!("\n{:width$}", "", width = width + 4);
    let lines = values.iter().map(|(name, lines)| format!("\n  {name:width$}  {}", lines.join(&indent)));
    format!("Values:{}", lines.collect::<String>().replace('`', ""))
}

const RUN_EXAMPLES: &str = "\
Examples:
  coordinator run --agents 10 --local             ten local agents, embedded PostgreSQL, demo data
  coordinator run --agents 10 --local rows.csv    the same with your own rows
  coordinator run --agents 3 rows.csv             wait for three agents: run `agent` three times
  coordinator run --local --query q.sql --database-url postgresql://me@db1/metrics rows.csv
  coordinator run --local --rate 200 --duration 5m --threshold 'response:p99<50ms' rows.csv
  coordinator run --local --output text,json=result.json rows.csv";

const SIGNALS: &str =
    "The first Ctrl-C or SIGTERM ends the run and prints a partial report; the second exits immediately.";

const LOG: &str = "MUSTER_LOG sets the log level on stderr: error, warn (default), info or debug.";

const REPORT_EXAMPLES: &str = "\
Examples:
  coordinator report 20261123-2235                        the report as text
  coordinator report 20261123 --output json=result.json   the JSON result in a file
  coordinator report 20261123 --samples rows.parquet      the raw measurements, and the report";

const COMPARE_METHOD: &str = "\
    Rows are paired by id if both runs had the same workload. All intervals hold simultaneously with 95 % confidence and account for the \
    correlation of consecutive queries. A comparison cannot separate the effect of your change from other changes between the two runs: \
    run both close together, more than once, on a quiet machine.";

const COMPARE_EXAMPLES: &str = "\
Examples:
  coordinator compare 20261123-2235 20261124-0901         compare two stored runs
  coordinator compare base.json new.json --output markdown
  coordinator compare BASE NEW --fail-on-regression --margin 5";

const TOKEN_STRING: &str = "\
    The join string is muster1.PIN.SECRET. The pin is the SHA-256 of the coordinator's certificate; an agent verifies it before it sends \
    anything. The secret authenticates agents to the coordinator. Anyone with the join string can join runs and receives the database \
    URL: protect it like a password.";

const TOKEN_EXAMPLES: &str = "\
Examples:
  (umask 077; coordinator token > join)               once; it prints the same string every time
  coordinator run --agents 10 --listen 0.0.0.0:50051 rows.csv
  agent --coordinator load1:50051 --join-file join    or MUSTER_JOIN, or --join";
