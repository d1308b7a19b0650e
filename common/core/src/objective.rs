//! A service level objective as typed on the command line: `p99<50ms`, `p95<20ms,max<1s,failed<1%`. It has bounds on response times, all of
//! which must be met, and an optional bound on failed queries; without one, no query may fail. Independent of the search for a rate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use muster_stats::latency::distribution::Latency;
use muster_stats::latency::figure::Figure;

use crate::bound::{self, Comparison, Limit};

/// One or more bounds on statistics of the response time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Objective {
    /// Their texts are as typed, without spaces.
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
    /// Percentage of all queries.
    percent: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a valid objective: {reason}; write bounds on response times such as p99<50ms or median<5ms,p99.9<1s, and \
     add failed<1% if some queries may fail"
)]
pub struct InvalidObjective {
    text: String,
    reason: String,
}

/// The reason why an objective is not met.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Miss {
    #[error("{failed} of {all} queries failed")]
    Failed { failed: u64, all: u64 },
    #[error("{bound} is not met: {} ms", figure_ms(*.found_ms))]
    Beyond { bound: String, found_ms: f64 },
    #[error("{bound} needs {needed} completed queries, got {completed}")]
    Unsupported { bound: String, needed: u64, completed: u64 },
}

fn figure_ms(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.2}") } else { format!("{ms:.0}") }
}

impl Objective {
    /// Returns the least number of completed queries that supports every statistic of the objective.
    pub fn samples_needed(&self) -> u64 {
        self.bounds.iter().map(|bound| bound.figure.count_min).max().unwrap_or(1)
    }

    /// Returns the bounded statistic that lies farthest in the tail, for display.
    pub fn figure(&self) -> &'static Figure {
        let farthest = self.bounds.iter().map(|bound| bound.figure).max_by_key(|figure| figure.count_min);
        farthest.expect("an objective has at least one bound")
    }

    /// Compares the objective with a measurement. `response` covers the completed queries.
    ///
    /// # Errors
    /// Returns the first bound that is not met, or that cannot be decided from this number of queries.
    pub fn check(&self, response: Option<&Latency>, completed: u64, failed: u64) -> Result<(), Miss> {
        let all = completed.saturating_add(failed);
        let is_met = match &self.failed {
            None => failed == 0,
            Some(bound) => bound.comparison.holds(failed as f64, bound.percent * all as f64 / 100.0),
        };
        // Zero queries have zero failures; the checks below report that there were none.
        if !is_met && failed > 0 {
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
            Some(found_ms) if self.comparison.holds(found_ms, self.limit_ms) => Ok(()),
            Some(found_ms) => Err(Miss::Beyond { bound: self.text.clone(), found_ms }),
        }
    }
}

impl FromStr for Objective {
    type Err = InvalidObjective;

    fn from_str(text: &str) -> Result<Self, InvalidObjective> {
        let wrong = |reason| InvalidObjective { text: text.to_owned(), reason };
        let mut objective = Self { bounds: Vec::new(), failed: None };
        for part in text.split(',') {
            let (name, comparison, limit) =
                bound::split(part).ok_or_else(|| wrong(format!("'{}' has no '<'", part.trim())))?;
            if !matches!(comparison, Comparison::Below | Comparison::AtMost) {
                return Err(wrong(format!("'{}' needs an upper bound: use < or <=", part.trim())));
            }
            let text: String = part.chars().filter(|c| !c.is_whitespace()).collect();
            match Limit::parse(name, limit) {
                Ok(Limit::Time(figure, limit_ms)) if limit_ms > 0.0 => {
                    objective.bounds.push(Bound { figure, comparison, limit_ms, text });
                }
                Ok(Limit::FailedShare(_)) if objective.failed.is_some() => {
                    return Err(wrong("'failed' is given twice".to_owned()));
                }
                Ok(Limit::FailedShare(percent)) => {
                    objective.failed = Some(FailedBound { comparison, percent, text });
                }
                Ok(Limit::Time(..)) => return Err(wrong(format!("'{limit}' is not a positive time"))),
                Ok(Limit::Throughput(_)) => {
                    return Err(wrong("the throughput is what the search finds".to_owned()));
                }
                Err(unknown) if name != "failed" && Figure::named(name).is_none() => {
                    let names: Vec<&str> = Figure::names().collect();
                    return Err(wrong(format!("{unknown}, use one of {}, failed", names.join(", "))));
                }
                Err(reason) if name != "failed" => return Err(wrong(reason)),
                Ok(Limit::FailedCount(_)) | Err(_) => {
                    return Err(wrong(format!("'{limit}' is not a percentage such as 1%")));
                }
            }
        }
        match objective.bounds.is_empty() {
            true => Err(wrong("it has no bound on the response time".to_owned())),
            false => Ok(objective),
        }
    }
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
            intervals: muster_stats::latency::distribution::Intervals::default(),
        }
    }

    #[track_caller]
    fn check(objective: &str, ms: f64, failed: u64, expected: Result<(), &str>) {
        let objective: Objective = objective.parse().unwrap();
        let found = objective.check(Some(&response(ms)), 1_000 - failed, failed);
        assert_eq!(found.map_err(|miss| miss.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn every_bound_must_be_met() {
        check("p99<50ms", 49.9, 0, Ok(()));
        check("p99<50ms", 50.0, 0, Err("p99<50ms is not met: 50.00 ms"));
        check("p99<=0.05s", 50.0, 0, Ok(()));
        check("median<30ms,max<99ms", 50.0, 0, Err("max<99ms is not met: 100 ms"));
        check("p99.9<1s", 1.0, 0, Err("p99.9<1s needs 4603 completed queries, got 1000"));
    }

    #[test]
    fn no_query_may_fail_unless_the_objective_allows_it() {
        check("p99<50ms", 1.0, 1, Err("1 of 1000 queries failed"));
        check("p99 < 50 ms, failed < 1 %", 1.0, 9, Ok(()));
        check("p99<50ms,failed<1%", 1.0, 10, Err("10 of 1000 queries failed"));
        check("p99<50ms,failed<=1%", 1.0, 10, Ok(()));
        check("p99<50ms,failed<0%", 1.0, 0, Ok(()));
    }

    #[test]
    fn an_objective_is_displayed_as_typed_and_knows_its_sample_size() {
        for (text, needed) in [("p99<50ms", 459), ("mean<5ms,p90<9ms,failed<1%", 44), ("max<1s", 1)] {
            let objective: Objective = text.parse().unwrap();
            assert_eq!((objective.to_string().as_str(), objective.samples_needed()), (text, needed));
            assert_eq!(objective.figure().count_min, needed);
        }
        assert_eq!("p95 < 1 s".parse::<Objective>().unwrap().to_string(), "p95<1s");
    }

    #[test]
    fn invalid_objectives_are_rejected_with_an_example() {
        for (bad, reason) in [
            ("", "'' has no '<'"),
            ("p99>50ms", "'p99>50ms' needs an upper bound: use < or <="),
            ("p99=50ms", "'p99=50ms' needs an upper bound: use < or <="),
            ("p99", "'p99' has no '<'"),
            ("p99<1s,failed<0.01", "'0.01' is not a percentage"),
            ("p98<50ms", "unknown metric 'p98', use one of min, median"),
            ("p99<50", "'50' is not a duration"),
            ("p99<0ms", "'0ms' is not a positive time"),
            ("p99<infms", "'infms' is not a duration"),
            ("failed<1%", "it has no bound on the response time"),
            ("p99<1s,failed<200%", "'200%' is not a percentage"),
            ("p99<1s,", "'' has no '<'"),
        ] {
            let error = bad.parse::<Objective>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("p99<50ms"), "{bad}: {error}");
        }
    }
}
