//! A distribution of times as it is serialized in results.

use serde::{Deserialize, Serialize};

/// A distribution of times in milliseconds. Percentiles are exact: nearest rank over all samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    /// Number of queries.
    pub count: u64,
    /// The shortest time.
    pub min: f64,
    /// Half of the queries took at most this time.
    pub median: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// The longest time.
    pub max: f64,
    /// Sample standard deviation (n − 1); `null` below 2 samples.
    pub stddev: Option<f64>,
    /// 90 % of the queries took at most this time; `null` below 44 samples.
    pub p90: Option<f64>,
    /// 95 % of the queries took at most this time; `null` below 90 samples.
    pub p95: Option<f64>,
    /// 99 % of the queries took at most this time; `null` below 459 samples.
    pub p99: Option<f64>,
    /// 99.9 % of the queries took at most this time; `null` below 4,603 samples.
    pub p99_9: Option<f64>,
    #[serde(flatten)]
    pub intervals: Intervals,
}

/// 95 % confidence intervals `[low, high]` from order statistics, for any distribution of independent queries. `null` if the sample is too
/// small.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Intervals {
    /// 95 % confidence interval `[low, high]` of the median; `null` below 6 samples.
    #[serde(default)]
    pub median_ci: Option<[f64; 2]>,
    /// 95 % confidence interval `[low, high]` of p90; `null` if `p90` is `null`.
    #[serde(default)]
    pub p90_ci: Option<[f64; 2]>,
    /// 95 % confidence interval `[low, high]` of p95; `null` if `p95` is `null`.
    #[serde(default)]
    pub p95_ci: Option<[f64; 2]>,
    /// 95 % confidence interval `[low, high]` of p99; `null` if `p99` is `null`.
    #[serde(default)]
    pub p99_ci: Option<[f64; 2]>,
    /// 95 % confidence interval `[low, high]` of p99.9; `null` if `p99_9` is `null`.
    #[serde(default)]
    pub p99_9_ci: Option<[f64; 2]>,
}

/// The serialized form of an optional latency. Without queries the count is 0 and all statistics are `null`, so that readers of the JSON
/// need not test for a missing object.
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

/// Used only for the schema.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, clippy::large_enum_variant, reason = "it is a schema, and no value is made")]
pub enum LatencyOrNone {
    Some(Latency),
    None(NoLatency),
}

/// No query completed: the count is 0, and all statistics are `null`.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[allow(dead_code, reason = "it is a schema")]
pub struct NoLatency {
    #[schemars(extend("const" = 0))]
    count: u64,
    min: (),
    median: (),
    mean: (),
    max: (),
}

/// Serialization of fields of type `Option<Latency>`: `None` is a count of 0. Also reads `null`, as written by earlier versions.
pub mod or_none {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Figures, Latency};

    pub fn serialize<S: Serializer>(latency: &Option<Latency>, serializer: S) -> Result<S::Ok, S::Error> {
        match latency {
            Some(latency) => latency.serialize(serializer),
            None => Figures::default().serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Latency>, D::Error> {
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
    fn no_latency_is_written_as_a_count_of_zero_and_null_is_read_as_none() {
        let json = serde_json::to_value(Field(None)).unwrap();
        assert_eq!(
            (json["count"].as_u64(), json["min"].is_null(), json["p99_ci"].is_null()),
            (Some(0), true, true)
        );
        assert_eq!(serde_json::from_value::<Field>(json).unwrap(), Field(None));
        assert_eq!(serde_json::from_str::<Field>("null").unwrap(), Field(None));
    }

    #[test]
    fn a_latency_round_trips_and_one_without_statistics_is_rejected() {
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
        assert_eq!(json, serde_json::to_string(&latency).unwrap(), "the same form as without the module");
        assert_eq!(serde_json::from_str::<Field>(&json).unwrap(), Field(Some(latency)));
        let error = serde_json::from_str::<Field>(r#"{"count":2,"min":1.0}"#).unwrap_err();
        assert!(error.to_string().starts_with("missing field `median`"), "{error}");
    }
}
