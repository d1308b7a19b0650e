//! A service level objective as it is typed: `p99<50ms`, `p95<20ms,max<1s,failed<1%`. Bounds on response times, all of which must be
//! kept, and on how many queries may fail: none, unless that is said. One file for grammar and judgement; it knows no search.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::result::Latency;

/// At least one bound on a figure of the response times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Objective {
    /// Each as it was typed, without spaces.
    bounds: Vec<Bound>,
    failed: Option<FailedBound>,
}

/// `p99<50ms`
#[derive(Debug, Clone, PartialEq)]
struct Bound {
    text: String,
    figure: &'static Figure,
    comparison: Comparison,
    limit_ms: f64,
}

/// `failed<1%`
#[derive(Debug, Clone, PartialEq)]
struct FailedBound {
    text: String,
    comparison: Comparison,
    /// Of all queries, 0 to 1.
    share: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
}

/// A figure of a distribution, by its name.
#[derive(Debug)]
pub struct Figure {
    pub name: &'static str,
    count_min: u64,
    pub of: fn(&Latency) -> Option<f64>,
}

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

static FIGURES: [Figure; 8] = [
    Figure { name: "median", count_min: 1, of: |latency| Some(latency.median) },
    Figure { name: "p50", count_min: 1, of: |latency| Some(latency.median) },
    Figure { name: "mean", count_min: 1, of: |latency| Some(latency.mean) },
    Figure { name: "max", count_min: 1, of: |latency| Some(latency.max) },
    Figure { name: "p90", count_min: Latency::P90_COUNT_MIN, of: |latency| latency.p90 },
    Figure { name: "p95", count_min: Latency::P95_COUNT_MIN, of: |latency| latency.p95 },
    Figure { name: "p99", count_min: Latency::P99_COUNT_MIN, of: |latency| latency.p99 },
    Figure { name: "p99.9", count_min: Latency::P99_9_COUNT_MIN, of: |latency| latency.p99_9 },
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no objective: {reason}; write bounds on response times such as p99<50ms or median<5ms,p99.9<1s, and failed<1% where some queries may fail"
)]
pub struct InvalidObjective {
    text: String,
    reason: String,
}

/// Why an objective is not kept.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Miss {
    #[error("{failed} of {all} queries failed")]
    Failed { failed: u64, all: u64 },
    #[error("{bound} is not kept: {} ms", figure_ms(*.found_ms))]
    Beyond { bound: String, found_ms: f64 },
    #[error("{bound} wants {needed} queries, and {completed} completed")]
    Unsupported { bound: String, needed: u64, completed: u64 },
}

fn figure_ms(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

impl Objective {
    /// The least number of completed queries that supports every figure of it.
    pub fn samples_needed(&self) -> u64 {
        self.bounds.iter().map(|bound| bound.figure.count_min).max().unwrap_or(1)
    }

    /// What it is about, to be shown: its bounded figure that lies farthest out.
    pub fn figure(&self) -> &'static Figure {
        let farthest = self.bounds.iter().map(|bound| bound.figure).max_by_key(|figure| figure.count_min);
        farthest.expect("an objective has at least one bound")
    }

    /// Holds it against what was measured. `response` is of the completed queries.
    ///
    /// # Errors
    /// With the first bound that is not kept, or that so few queries cannot tell of.
    pub fn check(&self, response: Option<&Latency>, completed: u64, failed: u64) -> Result<(), Miss> {
        let all = completed.saturating_add(failed);
        let is_kept = match &self.failed {
            None => failed == 0,
            Some(bound) => bound.comparison.keeps(failed as f64, bound.share * all as f64),
        };
        // Of no queries at all, none failed; what follows says that there were none.
        if !is_kept && failed > 0 {
            return Err(Miss::Failed { failed, all });
        }
        self.bounds.iter().try_for_each(|bound| bound.check(response, completed))
    }
}

impl Bound {
    fn check(&self, response: Option<&Latency>, completed: u64) -> Result<(), Miss> {
        match response.and_then(self.figure.of) {
            None => {
                Err(Miss::Unsupported { bound: self.text.clone(), needed: self.figure.count_min, completed })
            }
            Some(found_ms) if self.comparison.keeps(found_ms, self.limit_ms) => Ok(()),
            Some(found_ms) => Err(Miss::Beyond { bound: self.text.clone(), found_ms }),
        }
    }
}

impl Comparison {
    fn keeps(self, found: f64, limit: f64) -> bool {
        match self {
            Self::Below => found < limit,
            Self::AtMost => found <= limit,
        }
    }
}

impl FromStr for Objective {
    type Err = InvalidObjective;

    fn from_str(text: &str) -> Result<Self, InvalidObjective> {
        let wrong = |reason| InvalidObjective { text: text.to_owned(), reason };
        let mut objective = Self { bounds: Vec::new(), failed: None };
        for part in text.split(',') {
            let part: String = part.chars().filter(|c| !c.is_whitespace()).collect();
            let (name, comparison, limit) =
                divide(&part).ok_or_else(|| wrong(format!("'{part}' has no '<'")))?;
            if name == "failed" {
                let share = share(limit).ok_or_else(|| wrong(format!("'{limit}' is no share such as 1%")))?;
                if objective.failed.is_some() {
                    return Err(wrong("'failed' is there twice".to_owned()));
                }
                objective.failed = Some(FailedBound { comparison, share, text: part });
                continue;
            }
            let Some(figure) = FIGURES.iter().find(|figure| figure.name == name) else {
                let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
                return Err(wrong(format!("there is no '{name}', only {} and failed", names.join(", "))));
            };
            let limit_ms = milliseconds(limit)
                .ok_or_else(|| wrong(format!("'{limit}' is no time above zero such as 50ms or 1s")))?;
            objective.bounds.push(Bound { figure, comparison, limit_ms, text: part });
        }
        match objective.bounds.is_empty() {
            true => Err(wrong("it bounds no response time".to_owned())),
            false => Ok(objective),
        }
    }
}

/// Name, comparison and limit.
fn divide(part: &str) -> Option<(&str, Comparison, &str)> {
    let (name, limit) = part.split_once('<')?;
    Some(match limit.strip_prefix('=') {
        Some(limit) => (name, Comparison::AtMost, limit),
        None => (name, Comparison::Below, limit),
    })
}

fn milliseconds(text: &str) -> Option<f64> {
    let unit_at = text.find(|c: char| c.is_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "us" | "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" | "min" => 60e3,
        _ => return None,
    };
    number.parse().ok().map(|number: f64| number * factor).filter(|ms| ms.is_finite() && *ms > 0.0)
}

/// `1%` or `0.01`.
fn share(text: &str) -> Option<f64> {
    let share: f64 = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().map(|bound| bound.text.as_str());
        let parts: Vec<&str> = bounds.chain(self.failed.as_ref().map(|bound| bound.text.as_str())).collect();
        f.write_str(&parts.join(","))
    }
}

impl TryFrom<String> for Objective {
    type Error = InvalidObjective;

    fn try_from(text: String) -> Result<Self, InvalidObjective> {
        text.parse()
    }
}

impl From<Objective> for String {
    fn from(objective: Objective) -> Self {
        objective.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(ms: f64) -> Latency {
        Latency {
            count: 1_000,
            min: ms / 4.0,
            median: ms / 2.0,
            mean: ms / 2.0,
            max: ms * 2.0,
            stddev: Some(1.0),
            p90: Some(ms * 0.9),
            p95: Some(ms * 0.95),
            p99: Some(ms),
            p99_9: None,
            intervals: crate::result::Intervals::default(),
        }
    }

    #[track_caller]
    fn check(objective: &str, ms: f64, failed: u64, expected: Result<(), &str>) {
        let objective: Objective = objective.parse().unwrap();
        let found = objective.check(Some(&response(ms)), 1_000 - failed, failed);
        assert_eq!(found.map_err(|miss| miss.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn every_bound_must_be_kept() {
        check("p99<50ms", 49.9, 0, Ok(()));
        check("p99<50ms", 50.0, 0, Err("p99<50ms is not kept: 50.00 ms"));
        check("p99<=0.05s", 50.0, 0, Ok(()));
        check("median<30ms,max<99ms", 50.0, 0, Err("max<99ms is not kept: 100 ms"));
        check("p99.9<1s", 1.0, 0, Err("p99.9<1s wants 4603 queries, and 1000 completed"));
    }

    #[test]
    fn no_query_may_fail_unless_that_is_said() {
        check("p99<50ms", 1.0, 1, Err("1 of 1000 queries failed"));
        check("p99 < 50 ms, failed < 1 %", 1.0, 9, Ok(()));
        check("p99<50ms,failed<1%", 1.0, 10, Err("10 of 1000 queries failed"));
        check("p99<50ms,failed<=0.01", 1.0, 10, Ok(()));
        check("p99<50ms,failed<0%", 1.0, 0, Ok(()));
    }

    #[test]
    fn it_is_written_as_it_was_typed_and_knows_what_it_needs() {
        for (text, needed) in [("p99<50ms", 459), ("mean<5ms,p90<9ms,failed<1%", 44), ("max<1s", 1)] {
            let objective: Objective = text.parse().unwrap();
            assert_eq!((objective.to_string().as_str(), objective.samples_needed()), (text, needed));
            assert_eq!(objective.figure().count_min, needed);
        }
        assert_eq!("p95 < 1 s".parse::<Objective>().unwrap().to_string(), "p95<1s");
    }

    #[test]
    fn what_is_none_is_told_with_the_way_out() {
        for (bad, reason) in [
            ("", "'' has no '<'"),
            ("p99>50ms", "'p99>50ms' has no '<'"),
            ("p98<50ms", "there is no 'p98', only median"),
            ("p99<50", "'50' is no time"),
            ("p99<0ms", "'0ms' is no time"),
            ("p99<infms", "'infms' is no time"),
            ("failed<1%", "it bounds no response time"),
            ("p99<1s,failed<200%", "'200%' is no share"),
            ("p99<1s,", "'' has no '<'"),
        ] {
            let error = bad.parse::<Objective>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("p99<50ms"), "{bad}: {error}");
        }
    }
}
