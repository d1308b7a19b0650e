//! Load options as typed, such as `--rate` and `--warmup`: when rows run, how often, and how they are sent.

use std::time::Duration;

use clap::ValueEnum;
use muster_core::load::Warmup;
use muster_core::protocol::{PlanCacheMode, Protocol, ResultFormat};
use muster_core::schedule::Rate;

use super::values::duration;

/// When rows run, how often, and how they are sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArgs {
    /// Open loop: start queries at this rate, regardless of how long they take [default: closed loop]
    ///
    /// In a closed loop, each worker starts a query when its previous one has finished.
    #[arg(long, value_name = "RATE", group = "open_loop")]
    pub(super) rate: Option<Rate>,

    /// How the start times of an open loop are distributed
    #[arg(long, value_enum, value_name = "DISTRIBUTION", default_value_t = ArrivalsArg::Uniform, requires = "open_loop")]
    pub(super) arrivals: ArrivalsArg,

    /// Closed loop: how long each worker pauses between two queries
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "rate")]
    pub(super) think_time: Option<Duration>,

    /// Warm up for a number of rows, or for a time, before the run; warm-up queries are not counted
    #[arg(long, value_name = "ROWS|TIME", value_parser = warmup)]
    pub(super) warmup: Option<Warmup>,

    /// Run all rows N times; the first pass is also reported separately
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeat: u32,

    /// Run for this long, repeating the rows as often as necessary; no query starts later [default: until every row has run]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "repeat")]
    pub(super) duration: Option<Duration>,

    /// PostgreSQL query protocol: prepared, extended or simple
    ///
    /// `prepared` parses a statement once per connection, `extended` parses and plans it for each row, `simple` writes the values into the
    /// SQL text.
    #[arg(long, value_name = "PROTOCOL", default_value_t = Protocol::Prepared)]
    pub(super) protocol: Protocol,

    /// Setting plan_cache_mode: auto, force_custom_plan or force_generic_plan [default: the server's setting]
    ///
    /// It decides whether the server plans a prepared statement for the values of each row.
    #[arg(long, value_name = "MODE")]
    pub(super) plan_cache_mode: Option<PlanCacheMode>,

    /// Format of the result rows [default: binary, or text if a column's type has no binary output]
    #[arg(long, value_name = "binary|text")]
    pub(super) results: Option<ResultFormat>,

    /// Random seed for Poisson arrivals, for the order of the two databases, and for the choice of queries in a mix
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ArrivalsArg {
    /// At equal intervals
    Uniform,
    /// At random, independent of each other, like requests of many users
    Poisson,
}

/// Parses `1000` or `1000 rows` as rows and `30s` as a duration.
fn warmup(text: &str) -> Result<Warmup, String> {
    let wrong =
        |_| format!("'{text}' is neither a number of rows, such as 1000, nor a duration, such as 30s");
    let number = text.trim().trim_end_matches("rows").trim_end();
    match number.parse::<u32>() {
        Ok(rows @ 1..) => Ok(Warmup::Rows(rows)),
        Ok(0) => Err("a warm-up needs at least 1 row; omit the option to run without a warm-up".to_owned()),
        Err(_) => duration(text).map(Warmup::Time).map_err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_a_number_of_rows_or_a_duration() {
        assert_eq!(warmup("1000"), Ok(Warmup::Rows(1_000)));
        assert_eq!(warmup("50 rows"), Ok(Warmup::Rows(50)));
        assert_eq!(warmup("30s"), Ok(Warmup::Time(Duration::from_secs(30))));
        for bad in ["", "0", "-1", "many", "1.5"] {
            assert!(warmup(bad).is_err(), "{bad}");
        }
    }
}
