//! Results over time, and distributions of times: everything that plots need.

use muster_stats::latency::Percentile;
use muster_stats::log_histogram::{Bin, LogHistogram};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// One interval of the run. A query belongs to the interval in which it ended. Intervals are equally long, except the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval {
    /// Time since the first query was allowed to start.
    pub start_ms: f64,
    /// End, in the same time.
    pub end_ms: f64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Completed queries per second.
    pub rate_qps: f64,
    /// Service times; `null` if no query completed. Those of queries that ran twice are left out, as in `service_time_ms`.
    pub service_time_ms: Option<IntervalLatency>,
    /// Response times; `null` if no query completed, and in a closed loop without think time.
    pub response_time_ms: Option<IntervalLatency>,
    /// Generator delay; `null` as for `response_time_ms`.
    pub generator_delay_ms: Option<IntervalLatency>,
    /// Number of agents that had rows to run at the end of the interval.
    pub agents: u64,
    /// Positions in `events` of what happened in the interval.
    #[serde(serialize_with = "on_one_line")]
    pub events: Vec<u64>,
}

/// Statistics of one interval, in milliseconds. Percentiles are those of a histogram whose bins are at most 1 % wide, and are `null` if they would only be
/// the maximum: below 20 queries for p95, and below 100 for p99.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IntervalLatency {
    /// Median.
    pub p50: f64,
    /// 95 % took at most this time.
    pub p95: Option<f64>,
    /// 99 % took at most this time.
    pub p99: Option<f64>,
    /// The longest time, exactly.
    pub max: f64,
}

/// Counts of times in logarithmic bins, over the queries whose times are in the latencies. To merge those of several runs, add the counts
/// of equal bins. Each bin is `[from, to, count]`: times from `from` to below `to` milliseconds. Only filled bins are listed, in ascending
/// order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Distributions {
    /// Bins of the service times, at most 1 % wide.
    pub service_time: Bins,
    /// Bins of the response times, at most 1 % wide; empty in a closed loop without think time.
    pub response_time: Bins,
    /// Bins of lag, at most 1 % wide; empty in a closed loop without think time.
    pub lag: Bins,
    /// Bins of the queueing part of lag, at most 1 % wide; empty in a closed loop without think time.
    pub queueing: Bins,
    /// Bins of the generator delay, at most 1 % wide; empty in a closed loop without think time.
    pub generator_delay: Bins,
    /// One entry for each slot.
    pub agents: Vec<AgentDistribution>,
    /// Times by the time at which their queries ended, for a heat map; at most 150 columns.
    pub over_time: Vec<Column>,
}

/// Service times of one slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentDistribution {
    /// As in `agents`: `slot-3`.
    pub slot: String,
    /// Bins of its service times, at most 6.25 % wide.
    pub service_time: Bins,
}

/// One column of a heat map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Column {
    /// Time since the first query was allowed to start.
    pub start_ms: f64,
    /// End, in the same time.
    pub end_ms: f64,
    /// Bins of the response times, or of the service times in a closed loop without think time; at most 6.25 % wide.
    pub bins: Bins,
}

/// Filled bins in ascending order, each as `[from, to, count]`: values from `from` to below `to`, which are times in milliseconds unless
/// the field says something else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Bins(#[serde(serialize_with = "on_one_line")] pub Vec<(f64, f64, u64)>);

impl IntervalLatency {
    /// Returns the statistics of these times; `None` if there are none.
    pub fn of(times: &LogHistogram) -> Option<Self> {
        let at = |percentile| times.percentile(percentile).map(milliseconds);
        let supported = |percentile, count_min| at(percentile).filter(|_| times.count() >= count_min);
        Some(Self {
            p50: at(Percentile::P50)?,
            p95: supported(Percentile::P95, 20),
            p99: supported(Percentile::P99, 100),
            max: times.max().map(milliseconds)?,
        })
    }
}

impl Bins {
    /// Returns the filled bins of a histogram, with a resolution of so many bits.
    pub fn of(times: &LogHistogram, bits: u32) -> Self {
        let bin = |Bin { from_ns, to_ns, count }: Bin| (milliseconds(from_ns), milliseconds(to_ns), count);
        Self(times.bins(bits).map(bin).collect())
    }

    /// Number of times in all bins.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, (_, _, count)| sum.saturating_add(*count))
    }
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Serializes a list without line breaks, because indented numbers would take several times the space.
fn on_one_line<T: Serialize, S: Serializer>(list: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let json = serde_json::to_string(list).map_err(serde::ser::Error::custom)?;
    RawValue::from_string(json).map_err(serde::ser::Error::custom)?.serialize(serializer)
}
