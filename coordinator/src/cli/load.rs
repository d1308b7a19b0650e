//! `--rate`, `--warmup` and their like, as typed: when rows are run, how often, and how they are sent.

use std::time::Duration;

use clap::ValueEnum;
use muster_common::load::Warmup;
use muster_common::protocol::{PlanCacheMode, Protocol, ResultFormat};
use muster_common::schedule::Rate;

use super::args::duration;

/// When rows are run, how often, and how they are sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub(super) struct LoadArgs {
    /// Open loop: queries per second of the whole run, whatever the answers take. `500`, a ramp `100..2000/60s`, or steps `100,200,400/30s`
    /// [default: closed loop, each worker as fast as it is answered]
    #[arg(long, value_name = "RATE", group = "open_loop")]
    pub(super) rate: Option<Rate>,

    /// How the queries of an open loop are spread over time
    #[arg(long, value_enum, default_value_t = ArrivalsArg::Uniform, requires = "open_loop")]
    pub(super) arrivals: ArrivalsArg,

    /// Closed loop: how long a worker waits between a query and the next one
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "rate")]
    pub(super) think_time: Option<Duration>,

    /// Warm up for so many rows or so long before the run; nothing of it is counted
    #[arg(long, value_name = "ROWS|TIME", value_parser = warmup)]
    pub(super) warmup: Option<Warmup>,

    /// Run every row N times, pass after pass; the first pass is told apart
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeat: u32,

    /// Begin no query later than this, and go through the rows again and again until then
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "repeat")]
    pub(super) duration: Option<Duration>,

    /// PostgreSQL's query protocol: prepared, extended or simple
    #[arg(long, value_name = "PROTOCOL", default_value_t = Protocol::Prepared)]
    pub(super) protocol: Protocol,

    /// Whether a prepared statement is planned for the values of each row: auto, force_custom_plan or force_generic_plan [default: as the server has it]
    #[arg(long, value_name = "MODE")]
    pub(super) plan_cache_mode: Option<PlanCacheMode>,

    /// Format of the result rows: binary or text [default: binary, and text for a statement with a type that has no binary output]
    #[arg(long, value_name = "FORMAT")]
    pub(super) results: Option<ResultFormat>,

    /// Random seed: of poisson arrivals, of the order of two databases, and of which rows of a mix get which query
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ArrivalsArg {
    /// Evenly
    Uniform,
    /// At random, independent of each other, as users come
    Poisson,
}

/// `1000` or `1000 rows` is rows, `30s` is time.
fn warmup(text: &str) -> Result<Warmup, String> {
    let wrong = |_| format!("'{text}' is neither a number of rows, such as 1000, nor a time, such as 30s");
    let number = text.trim().trim_end_matches("rows").trim_end();
    match number.parse::<u32>() {
        Ok(rows @ 1..) => Ok(Warmup::Rows(rows)),
        Ok(0) => Err("a warm-up of 0 rows is none: leave the option out".to_owned()),
        Err(_) => duration(text).map(Warmup::Time).map_err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_rows_or_a_time() {
        assert_eq!(warmup("1000"), Ok(Warmup::Rows(1_000)));
        assert_eq!(warmup("50 rows"), Ok(Warmup::Rows(50)));
        assert_eq!(warmup("30s"), Ok(Warmup::Time(Duration::from_secs(30))));
        for bad in ["", "0", "-1", "many", "1.5"] {
            assert!(warmup(bad).is_err(), "{bad}");
        }
    }
}
