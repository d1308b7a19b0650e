//! Parses thresholds. The syntax is `[response:|lag:|queueing:|generator_delay:|host:NAME:]METRIC OPERATOR VALUE`, separated by commas.

use std::str::FromStr;

use muster_core::bound::{self, Comparison, Limit};

use super::{Metric, Pattern, Scope, Threshold, Times};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a valid threshold: {problem}; write METRIC OPERATOR VALUE, such as p95<50ms, mean<=8ms, failed<0.1%, failed=0 or \
     throughput>500; METRIC is min, median, mean, max, p90, p95, p99, p99.9, failed or throughput; optional prefixes are response:, \
     lag:, queueing:, generator_delay: and host:NAME:, where * matches any characters, such as host:*:p99<200ms"
)]
pub struct ThresholdError {
    text: String,
    problem: String,
}

/// Thresholds separated by commas.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct List(pub(crate) Vec<Threshold>);

impl FromStr for List {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let mut thresholds = Vec::new();
        let mut begin = 0;
        // A comma without an operator before it is part of a host name.
        let commas = text.match_indices(',').map(|(at, _)| at);
        for end in commas.chain([text.len()]) {
            let part = &text[begin..end];
            if end == text.len() || part.contains(['<', '>', '=']) {
                thresholds.push(part.parse()?);
                begin = end + 1;
            }
        }
        Ok(Self(thresholds))
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let text = text.trim();
        let error = |problem: String| ThresholdError { text: text.to_owned(), problem };
        let (left, comparison, right) =
            bound::split(text).ok_or_else(|| error("it contains no <, > or =".to_owned()))?;
        let (scope, times, name) = scope(left).map_err(error)?;
        let (metric, bound) = metric(&scope, times, name, right).map_err(error)?;
        if comparison == Comparison::Equal && metric != Metric::FailedCount {
            return Err(error("= is allowed only for the number of failed queries".to_owned()));
        }
        Ok(Self { expression: text.to_owned(), scope, metric, comparison, bound })
    }
}

fn scope(left: &str) -> Result<(Scope, Option<Times>, &str), String> {
    let Some((before, name)) = left.rsplit_once(':') else { return Ok((Scope::Run, None, left)) };
    let (before, name) = (before.trim(), name.trim());
    match before {
        "service" => return Ok((Scope::Run, Some(Times::Service), name)),
        "response" => return Ok((Scope::Run, Some(Times::Response), name)),
        "lag" => return Ok((Scope::Run, Some(Times::Lag), name)),
        "queueing" => return Ok((Scope::Run, Some(Times::Queueing), name)),
        "generator_delay" => return Ok((Scope::Run, Some(Times::GeneratorDelay), name)),
        _ => {}
    }
    match before.strip_prefix("host:").map(str::trim) {
        None => Err(format!("unknown prefix '{before}:'")),
        Some("") => Err("the host name is empty".to_owned()),
        Some(host) => Ok((Scope::Hosts(Pattern::new(host)), None, name)),
    }
}

fn metric(scope: &Scope, times: Option<Times>, name: &str, value: &str) -> Result<(Metric, f64), String> {
    let limit = Limit::parse(name, value)?;
    match limit {
        Limit::Time(figure, ms) => Ok((Metric::Time(times.unwrap_or(Times::Service), figure), ms)),
        _ if times.is_some() => Err(format!("'{name}' is not a latency, so no such prefix applies")),
        Limit::FailedShare(percent) => Ok((Metric::FailedShare, percent)),
        Limit::FailedCount(count) => Ok((Metric::FailedCount, count)),
        Limit::Throughput(_) if *scope != Scope::Run => {
            Err("throughput exists only for the whole run".to_owned())
        }
        Limit::Throughput(rate) => Ok((Metric::Throughput, rate)),
    }
}
