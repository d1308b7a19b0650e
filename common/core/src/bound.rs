//! Parser for `METRIC OPERATOR VALUE`, such as `p99<50ms` and `failed<=1%`, the syntax of thresholds and objectives. Parses only the parts;
//! the callers decide which metrics and operators are valid together. Pure.

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

/// Units in milliseconds. `ms` and `us` also end in `s`, but what precedes that `s` is not a number.
const UNITS: [(&str, f64); 6] =
    [("us", 1e-3), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3), ("min", 6e4), ("m", 6e4)];

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

/// Parses a time such as `50ms` or `1.5 s` to milliseconds.
pub fn milliseconds(value: &str) -> Option<f64> {
    let number_of = |unit: &str| number(value.strip_suffix(unit)?.trim_end());
    UNITS.into_iter().find_map(|(unit, ms)| Some(number_of(unit)? * ms))
}

/// Parses a percentage such as `0.1%`; at most 100.
pub fn percent(value: &str) -> Option<f64> {
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
        let times = [
            ("500us", 0.5),
            ("500µs", 0.5),
            ("50ms", 50.0),
            ("1.5 s", 1_500.0),
            ("2m", 12e4),
            ("2min", 12e4),
        ];
        for (text, ms) in times {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
        for text in ["", "50", "ms", ".ms", "-5ms", "+5ms", "1e3ms", "infms", "nans", "5h", "1.2.3s"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
        assert_eq!((percent("0.1%"), percent("100 %")), (Some(0.1), Some(100.0)));
        assert_eq!((percent("101%"), percent("1"), percent("%")), (None, None, None));
        assert_eq!(number(&"9".repeat(400)), None, "exceeds the range of a float");
    }
}
