//! A distribution of times, as the result has it.

use serde::{Deserialize, Serialize};

/// A distribution of times in milliseconds. Percentiles are nearest rank over every sample, exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    pub count: u64,
    pub min: f64,
    pub median: f64,
    pub mean: f64,
    pub max: f64,
    /// Of the sample (n − 1); `null` below 2 samples.
    pub stddev: Option<f64>,
    /// `null` below 44 samples.
    pub p90: Option<f64>,
    /// `null` below 90 samples.
    pub p95: Option<f64>,
    /// `null` below 459 samples.
    pub p99: Option<f64>,
    /// `null` below 4,603 samples.
    pub p99_9: Option<f64>,
    #[serde(flatten)]
    pub intervals: Intervals,
}

/// Where the true figure lies with 95 % confidence, as `[low, high]`: order statistics, whatever the distribution, of queries that are
/// independent of each other. `null` where the sample is too small.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Intervals {
    /// Of the median; `null` below 6 samples.
    #[serde(default)]
    pub median_ci: Option<[f64; 2]>,
    /// Of p90; `null` where p90 is, as for those that follow.
    #[serde(default)]
    pub p90_ci: Option<[f64; 2]>,
    /// Of p95.
    #[serde(default)]
    pub p95_ci: Option<[f64; 2]>,
    /// Of p99.
    #[serde(default)]
    pub p99_ci: Option<[f64; 2]>,
    /// Of p99.9.
    #[serde(default)]
    pub p99_9_ci: Option<[f64; 2]>,
}

/// The least sample that supports a figure; below it the figure is `null`. Of a percentile p the least n with pⁿ ≤ 0.01:
/// with 99 % confidence the sample then reaches beyond the true percentile.
impl Latency {
    pub const STDDEV_COUNT_MIN: u64 = 2;
    /// Below it both ends of the sample may lie on one side of the median with more than 2.5 %.
    pub const MEDIAN_CI_COUNT_MIN: u64 = 6;
    pub const P90_COUNT_MIN: u64 = 44;
    pub const P95_COUNT_MIN: u64 = 90;
    pub const P99_COUNT_MIN: u64 = 459;
    pub const P99_9_COUNT_MIN: u64 = 4_603;
}
