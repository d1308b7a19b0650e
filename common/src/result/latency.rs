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

/// A latency in its serialized form. Without a query all figures are `null` and the count is 0, so that a reader of the JSON need not first
/// test whether there is a distribution.
#[derive(Default, Serialize, Deserialize)]
struct Figures {
    count: u64,
    min: Option<f64>,
    median: Option<f64>,
    mean: Option<f64>,
    max: Option<f64>,
    stddev: Option<f64>,
    p90: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    p99_9: Option<f64>,
    #[serde(flatten)]
    intervals: Intervals,
}

/// For the schema only.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, clippy::large_enum_variant, reason = "it is a schema, and no value is made")]
pub(super) enum LatencyOrNone {
    Some(Latency),
    None(NoLatency),
}

/// No query completed: a count of 0, and `null` for all figures.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[allow(dead_code, reason = "it is a schema")]
pub(super) struct NoLatency {
    #[schemars(extend("const" = 0))]
    count: u64,
    min: (),
    median: (),
    mean: (),
    max: (),
}

/// For fields of type `Option<Latency>`: `None` is a count of 0. Also reads `null`, which earlier versions wrote.
pub(super) mod or_none {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Figures, Latency};

    pub(in crate::result) fn serialize<S: Serializer>(
        latency: &Option<Latency>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match latency {
            Some(latency) => latency.serialize(serializer),
            None => Figures::default().serialize(serializer),
        }
    }

    pub(in crate::result) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Latency>, D::Error> {
        let Some(read) = Option::<Figures>::deserialize(deserializer)?.filter(|read| read.count > 0) else {
            return Ok(None);
        };
        let Figures { count, min, median, mean, max, stddev, p90, p95, p99, p99_9, intervals } = read;
        let needed = |name, figure: Option<f64>| figure.ok_or_else(|| D::Error::missing_field(name));
        Ok(Some(Latency {
            count,
            min: needed("min", min)?,
            median: needed("median", median)?,
            mean: needed("mean", mean)?,
            max: needed("max", max)?,
            stddev,
            p90,
            p95,
            p99,
            p99_9,
            intervals,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Field(#[serde(with = "or_none")] Option<Latency>);

    #[test]
    fn no_latency_is_a_count_of_zero_and_null_is_read_as_such() {
        let json = serde_json::to_value(Field(None)).unwrap();
        assert_eq!(
            (json["count"].as_u64(), json["min"].is_null(), json["p99_ci"].is_null()),
            (Some(0), true, true)
        );
        assert_eq!(serde_json::from_value::<Field>(json).unwrap(), Field(None));
        assert_eq!(serde_json::from_str::<Field>("null").unwrap(), Field(None));
    }

    #[test]
    fn a_latency_comes_back_and_one_without_its_figures_is_refused() {
        let latency = Latency {
            count: 2,
            min: 0.1,
            median: 0.1,
            mean: 0.15,
            max: 0.2,
            stddev: Some(0.07),
            p90: None,
            p95: None,
            p99: None,
            p99_9: None,
            intervals: Intervals::default(),
        };
        let json = serde_json::to_string(&Field(Some(latency.clone()))).unwrap();
        assert_eq!(json, serde_json::to_string(&latency).unwrap(), "as it is without the module");
        assert_eq!(serde_json::from_str::<Field>(&json).unwrap(), Field(Some(latency)));
        let error = serde_json::from_str::<Field>(r#"{"count":2,"min":1.0}"#).unwrap_err();
        assert!(error.to_string().starts_with("missing field `median`"), "{error}");
    }
}
