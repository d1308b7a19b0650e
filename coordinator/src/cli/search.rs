//! The options of a search for the highest rate, and their conversion into a plan.

use std::time::Duration;

use muster_core::objective::Objective;
use muster_core::schedule::Process;
use muster_core::search::{self, Plan};

use super::values::duration;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Search for the highest rate")]
pub(super) struct SearchArgs {
    /// Search for the highest rate of an open loop that meets --slo, and report the measurements that confirm it
    #[arg(long, group = "open_loop", requires = "slo", conflicts_with_all = ["rate", "repeat", "duration", "think_time", "versus"])]
    pub(super) max_rate: bool,

    /// Objective that a rate must meet: limits of response times such as `p99<50ms`
    #[arg(long, value_name = "OBJECTIVE", requires = "max_rate")]
    pub(super) slo: Option<Objective>,

    /// How long to measure each rate; up to 60 s if a percentile of the objective needs more queries
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = step_time, requires = "max_rate")]
    pub(super) step_time: Duration,

    /// First rate to measure, in queries per second [default: half of the throughput of a closed loop of 2 s]
    #[arg(long, value_name = "QPS", value_parser = search::parse_rate, requires = "max_rate")]
    pub(super) max_rate_from: Option<f64>,
}

/// Shorter steps end before the load is steady.
const STEP_MIN: Duration = Duration::from_millis(500);

fn step_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time >= STEP_MIN {
        true => Ok(time),
        false => Err(format!("a step of {text} is too short; the minimum is {STEP_MIN:?}")),
    }
}

impl SearchArgs {
    /// Returns `None` without `--max-rate`.
    pub(super) fn plan(&self, process: Process) -> Option<Plan> {
        let objective = self.slo.clone().filter(|_| self.max_rate)?;
        Some(Plan { objective, step_time: self.step_time, from: self.max_rate_from, process })
    }
}
