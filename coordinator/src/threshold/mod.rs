//! Pass/fail criteria of a run: `p95<50ms`, `failed<0.1%`, `host:*:p99<200ms`. They are parsed before anything starts and evaluated on
//! the merged figures at the end, in [`judge`]. No I/O.

mod judge;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;

use muster_core::bound::Comparison;
use muster_stats::latency::figure::Figure;
use serde::{Deserialize, Serialize};

pub(crate) use judge::{HostFigures, judge};
pub(crate) use parse::List;
pub use parse::ThresholdError;
use pattern::Pattern;

use crate::workload::HostTable;

/// One threshold. A manifest stores it as the text that was typed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    expression: String,
    scope: Scope,
    metric: Metric,
    comparison: Comparison,
    /// The limit, in the unit of the metric.
    bound: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Scope {
    Run,
    /// Every host that matches.
    Hosts(Pattern),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    /// A latency figure in milliseconds.
    Time(Times, &'static Figure),
    /// Failed queries as a percentage of the rows with a result.
    FailedShare,
    FailedCount,
    /// Completed queries per second of wall time.
    Throughput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Service,
    Response,
    Lag,
    Queueing,
    GeneratorDelay,
}

impl Threshold {
    /// Returns true if the samples of this host must be stored to evaluate the threshold.
    pub(crate) fn needs_samples_of(&self, host: &str) -> bool {
        matches!(self.metric, Metric::Time(..)) && self.matches_host(host)
    }

    fn matches_host(&self, host: &str) -> bool {
        matches!(&self.scope, Scope::Hosts(pattern) if pattern.matches(host))
    }

    pub(crate) fn is_for_hosts(&self) -> bool {
        matches!(self.scope, Scope::Hosts(_))
    }

    /// Returns true if the threshold limits the failed queries of the run. Failed queries alone then do not fail the run.
    pub(crate) fn limits_failed_queries(&self) -> bool {
        self.scope == Scope::Run && matches!(self.metric, Metric::FailedShare | Metric::FailedCount)
    }

    /// Checks that every host threshold matches a host of the workload. One that matches none is probably a typing error.
    ///
    /// # Errors
    /// Returns the first threshold that matches no host.
    pub(crate) fn check(thresholds: &[Self], hosts: &HostTable) -> Result<(), NoSuchHost> {
        let matches_nothing = |threshold: &&Self| {
            threshold.is_for_hosts() && !hosts.iter().any(|(_, host, _)| threshold.matches_host(host))
        };
        match thresholds.iter().find(matches_nothing) {
            None => Ok(()),
            Some(threshold) => Err(NoSuchHost { expression: threshold.expression.clone() }),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--threshold '{expression}' matches no host of the workload; check the host name, in which * matches any characters"
)]
pub struct NoSuchHost {
    expression: String,
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.expression
    }
}

impl TryFrom<String> for Threshold {
    type Error = ThresholdError;

    fn try_from(text: String) -> Result<Self, ThresholdError> {
        text.parse()
    }
}
