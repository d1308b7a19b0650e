//! The one syntax of thresholds and objectives: `METRIC OPERATOR VALUE`, such as `p99<50ms` and `failed<=1%`. The callers decide which metrics
//! and operators are valid together. Pure.

use muster_stats::latency::figure::Figure;

use crate::duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// Longer operators come first, because `<` is a prefix of `<=`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
    ("=", Comparison::Equal),
];

impl Comparison {
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
            Self::Equal => value == bound,
        }
    }

    /// Returns true if the bound limits the value from above.
    pub fn is_upper(self) -> bool {
        matches!(self, Self::Below | Self::AtMost | Self::Equal)
    }
}

/// What a bound limits, and the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A latency figure in milliseconds.
    Time(&'static Figure, f64),
    /// Failed queries as a percentage of the rows with a result.
    FailedShare(f64),
    FailedCount(f64),
    /// Completed queries per second.
    Throughput(f64),
}

impl Limit {
    /// Parses the two sides of a bound.
    ///
    /// # Errors
    /// Returns what is wrong, for the error message.
    pub fn parse(metric: &str, value: &str) -> Result<Self, String> {
        match metric {
            "failed" if value.ends_with('%') => percent(value).map(Self::FailedShare),
            "failed" => number(value).filter(|count| count.fract() == 0.0).map(Self::FailedCount),
            "throughput" => number(value.strip_suffix("/s").unwrap_or(value)).map(Self::Throughput),
            _ => {
                let figure = Figure::named(metric).ok_or_else(|| format!("unknown metric '{metric}'"))?;
                let time = duration::parse(value).ok();
                time.map(|time| Self::Time(figure, time.as_nanos() as f64 / 1e6))
            }
        }
        .ok_or_else(|| match metric {
            "failed" => {
                format!("'{value}' is neither a percentage such as 0.1% nor a whole number of queries")
            }
            "throughput" => format!("'{value}' is not a number of queries per second"),
            _ => format!("'{value}' is not a duration such as 500us, 50ms or 2s"),
        })
    }
}

/// Splits a bound into metric, operator and value, without surrounding spaces. Splits at the last operator, because the text before the
/// metric, such as a host name, may contain one.
pub fn split(text: &str) -> Option<(&str, Comparison, &str)> {
    let at = text.rfind(['<', '>', '='])?;
    // The character found may be the second one of a two-character operator.
    let is_long = text[..at].ends_with(['<', '>', '=']) && text[at..].starts_with('=');
    let at = if is_long { at - 1 } else { at };
    let (left, rest) = text.split_at(at);
    let (operator, comparison) = COMPARISONS.into_iter().find(|(operator, _)| rest.starts_with(operator))?;
    Some((left.trim(), comparison, rest[operator.len()..].trim()))
}

/// Parses a percentage such as `0.1%`; at most 100.
fn percent(value: &str) -> Option<f64> {
    number(value.strip_suffix('%')?.trim_end()).filter(|percent| *percent <= 100.0)
}

/// Parses digits with at most one decimal point; rejects signs, `inf`, `nan` and `1e9`.
pub fn number(text: &str) -> Option<f64> {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_split_at_its_last_operator() {
        use Comparison::{Above, AtLeast, AtMost, Below, Equal};
        for (text, expected) in [
            ("p99<50ms", Some(("p99", Below, "50ms"))),
            (" p99 <= 50 ms ", Some(("p99", AtMost, "50 ms"))),
            ("throughput>=5", Some(("throughput", AtLeast, "5"))),
            ("throughput>5", Some(("throughput", Above, "5"))),
            ("failed==0", Some(("failed", Equal, "0"))),
            ("failed=0", Some(("failed", Equal, "0"))),
            ("host:a<b:p90<5ms", Some(("host:a<b:p90", Below, "5ms"))),
            ("<", Some(("", Below, ""))),
            ("p99", None),
            ("", None),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_plain_numbers_with_units() {
        let time = |value| match Limit::parse("p99", value) {
            Ok(Limit::Time(figure, ms)) => Some((figure.name, ms)),
            _ => None,
        };
        assert_eq!((time("500us"), time("1.5 s")), (Some(("p99", 0.5)), Some(("p99", 1_500.0))));
        for text in ["", "50", "ms", ".ms", "-5ms", "+5ms", "1e3ms", "infms", "nans", "1.2.3s"] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!((percent("0.1%"), percent("100 %")), (Some(0.1), Some(100.0)));
        assert_eq!((percent("101%"), percent("1"), percent("%")), (None, None, None));
        assert_eq!(number(&"9".repeat(400)), None, "exceeds the range of a float");
    }
}
