//! A rate over time: constant, a ramp, or steps; the last rate continues for ever. Piecewise linear, so that the number of arrivals up to a
//! moment, and the moment of the n-th arrival, have closed formulas.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// Above this rate, due times on several workers would be closer together than the resolution of a clock.
const RATE_MAX: f64 = 1e7;
/// Below this rate, the first query of a run could be due after days.
const RATE_MIN: f64 = 1e-3;
const STEPS_MAX: usize = 1_000;

/// Queries per second over the time of a run: `500`, `100..2000/60s` (a ramp) or `100,200,400/30s` (steps of 30 s each).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    text: String,
    segments: Vec<Segment>,
}

/// A time segment in which the rate changes linearly.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    start_s: f64,
    /// Number of arrivals before the segment.
    before: f64,
    /// Rate at its start, per second.
    rate: f64,
    /// Change of the rate, per second.
    slope: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a rate: {reason}; write queries per second such as 500, a ramp such as 100..2000/60s, or steps such as 100,200,400/30s"
)]
pub struct InvalidRate {
    text: String,
    reason: &'static str,
}

impl Rate {
    /// # Errors
    /// Fails unless the rate is between 0.001 and 10,000,000 per second.
    pub fn constant(per_second: f64) -> Result<Self, InvalidRate> {
        per_second.to_string().parse()
    }

    /// Returns a constant rate equal to the initial rate.
    pub fn at_initial_rate(&self) -> Self {
        let rate = self.segments[0].rate;
        Self::of(&rate.to_string(), [], rate)
    }

    /// Returns the seconds from the start until `count` arrivals are due: the inverse of the integral of the rate.
    pub(super) fn seconds_until(&self, count: f64) -> f64 {
        let position = self.segments.partition_point(|segment| segment.before <= count).saturating_sub(1);
        let Segment { start_s, before, rate, slope, .. } = self.segments[position];
        let within = count - before;
        // The root of rate·x + slope·x²/2 = within, in the form without cancellation for small slopes.
        let root = (rate * rate + 2.0 * slope * within).max(0.0).sqrt();
        start_s + 2.0 * within / (rate + root)
    }

    /// Returns the number of arrivals that are due within `time` of the start.
    pub fn arrivals_in(&self, time: Duration) -> f64 {
        let at_s = time.as_secs_f64();
        let position = self.segments.partition_point(|segment| segment.start_s <= at_s).saturating_sub(1);
        let Segment { start_s, before, rate, slope, .. } = self.segments[position];
        let within = at_s - start_s;
        before + rate * within + slope * within * within / 2.0
    }

    fn of(text: &str, pieces: impl IntoIterator<Item = (f64, f64, f64)>, last: f64) -> Self {
        let (mut start_s, mut before) = (0.0, 0.0);
        let mut segments = Vec::new();
        for (from, to, length_s) in pieces {
            let count = (from + to) / 2.0 * length_s;
            segments.push(Segment { start_s, before, rate: from, slope: (to - from) / length_s });
            start_s += length_s;
            before += count;
        }
        segments.push(Segment { start_s, before, rate: last, slope: 0.0 });
        Self { text: text.to_owned(), segments }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let wrong = |reason| InvalidRate { text: text.to_owned(), reason };
        let number = |part: &str| -> Result<f64, InvalidRate> {
            let rate: f64 = part.trim().parse().map_err(|_| wrong("a number is missing or invalid"))?;
            match (RATE_MIN..=RATE_MAX).contains(&rate) {
                true => Ok(rate),
                false => Err(wrong("a rate must be between 0.001 and 10,000,000 per second")),
            }
        };
        let Some((rates, length)) = text.split_once('/') else {
            return match text.contains("..") || text.contains(',') {
                true => Err(wrong("a ramp or steps need a duration after '/'")),
                false => Ok(Self::of(text, [], number(text)?)),
            };
        };
        let length_s = seconds(length.trim()).ok_or_else(|| wrong("the duration after '/' is invalid"))?;
        if let Some((from, to)) = rates.split_once("..") {
            let (from, to) = (number(from)?, number(to)?);
            return Ok(Self::of(text, [(from, to, length_s)], to));
        }
        let steps = rates.split(',').map(number).collect::<Result<Vec<f64>, _>>()?;
        match steps.as_slice() {
            [_] => Err(wrong("a constant rate takes no duration")),
            [before @ .., last] if steps.len() <= STEPS_MAX => {
                Ok(Self::of(text, before.iter().map(|rate| (*rate, *rate, length_s)), *last))
            }
            _ => Err(wrong("there are more than 1,000 steps")),
        }
    }
}

/// Parses the duration of a ramp or step, from a millisecond to 10,000,000 seconds.
fn seconds(text: &str) -> Option<f64> {
    let seconds = duration::parse(text).ok()?.as_secs_f64();
    (1e-3..=1e7).contains(&seconds).then_some(seconds)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Rate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1.0)
    }

    #[test]
    fn a_constant_rate_is_even() {
        for count in [0.0, 1.0, 2.5, 1e6] {
            assert!(close(rate("500").seconds_until(count), count / 500.0), "{count}");
        }
    }

    #[test]
    fn a_ramp_reaches_its_final_rate_on_time_and_stays_there() {
        // The area of the trapezoid: (100 + 2000) / 2 · 60 = 63,000.
        let ramp = rate("100..2000/60s");
        assert!(close(ramp.seconds_until(63_000.0), 60.0));
        assert!(close(ramp.seconds_until(65_000.0), 61.0), "2,000 a second from then on");
        // After half of the time: 100 · 30 + 31.67 · 30² / 2.
        assert!(close(ramp.seconds_until(3_000.0 + 1_900.0 / 60.0 * 450.0), 30.0));
        assert!(close(rate("2000..100/60s").seconds_until(63_000.0), 60.0), "downwards as well");
        assert!(close(rate("100..100/60s").seconds_until(600.0), 6.0), "a flat ramp is a constant");
    }

    #[test]
    fn steps_follow_each_other() {
        let steps = rate("100,200,400/30s");
        for (count, at_s) in [(3_000.0, 30.0), (9_000.0, 60.0), (9_400.0, 61.0), (49_000.0, 160.0)] {
            assert!(close(steps.seconds_until(count), at_s), "{count}");
        }
    }

    #[test]
    fn the_integral_and_its_inverse_agree() {
        for text in ["3", "100..2000/60s", "2000..1/10s", "5,500,50/2s"] {
            for ms in [1, 10, 999, 5_000, 61_000, 600_000] {
                let time = Duration::from_millis(ms);
                let back = rate(text).seconds_until(rate(text).arrivals_in(time));
                assert!((back - time.as_secs_f64()).abs() < 1e-6, "{text} at {time:?}: {back}");
            }
        }
    }

    #[test]
    fn invalid_rates_are_rejected_with_examples() {
        for bad in [
            "", "fast", "0", "-5", "1e9", "NaN", "inf", "100..200", "1,2", "5/10s", "1..2/", "1..2/5",
            "1..x/5s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!(
            "100..200".parse::<Rate>().unwrap_err().to_string(),
            "'100..200' is not a rate: a ramp or steps need a duration after '/'; write queries per second such as 500, \
             a ramp such as 100..2000/60s, or steps such as 100,200,400/30s"
        );
    }
}
