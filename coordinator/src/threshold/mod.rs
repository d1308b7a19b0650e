//! What a run must reach, as typed: `p95<50ms`, `failed<0.1%`, `host:*:p99<200ms`. Parsed before anything starts; judged on the merged
//! figures when all is over, in [`judge`]. Pure.

mod judge;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;

use muster_common::bound::{Comparison, Figure};
use serde::{Deserialize, Serialize};

pub(crate) use judge::{HostFigures, judge};
pub(crate) use parse::List;
pub use parse::ThresholdError;
use pattern::Pattern;

use crate::workload::HostTable;

/// One of them. In a manifest it is the text that was typed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    expression: String,
    scope: Scope,
    metric: Metric,
    comparison: Comparison,
    /// In the unit of the metric.
    bound: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Scope {
    Run,
    /// Each host that matches.
    Hosts(Pattern),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    /// In milliseconds.
    Time(Times, &'static Figure),
    /// Of the rows with a result, in per cent.
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
    /// Whether the samples of this host must be kept to judge it.
    pub(crate) fn wants_samples_of(&self, host: &str) -> bool {
        matches!(self.metric, Metric::Time(..)) && self.wants_host(host)
    }

    fn wants_host(&self, host: &str) -> bool {
        matches!(&self.scope, Scope::Hosts(pattern) if pattern.matches(host))
    }

    pub(crate) fn is_about_hosts(&self) -> bool {
        matches!(self.scope, Scope::Hosts(_))
    }

    /// What may fail was said, so a failed query alone is no failure of the run.
    pub(crate) fn is_about_all_failures(&self) -> bool {
        self.scope == Scope::Run && matches!(self.metric, Metric::FailedShare | Metric::FailedCount)
    }

    /// A threshold on hosts that match none of the workload's is a mistake in typing, and would always pass.
    ///
    /// # Errors
    /// For the first such threshold.
    pub(crate) fn check(thresholds: &[Self], hosts: &HostTable) -> Result<(), NoSuchHost> {
        let is_lost = |threshold: &&Self| {
            threshold.is_about_hosts() && !hosts.iter().any(|(_, host, _)| threshold.wants_host(host))
        };
        match thresholds.iter().find(is_lost) {
            None => Ok(()),
            Some(threshold) => Err(NoSuchHost { expression: threshold.expression.clone() }),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--threshold '{expression}' is about a host that the workload does not have; coordinator plan lists what it has, and * stands for any characters"
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
