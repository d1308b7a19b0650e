//! Durations as they are typed: `500ms`, `1.5 s`, `2m`, `1h 30m`. Options, thresholds and rates have the same syntax.

use std::time::Duration;

use jiff::SignedDuration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a duration, such as 500ms, 5s or 2m")]
pub struct InvalidDuration(String);

/// Parses a duration, 0 included.
///
/// # Errors
/// For a number without a unit, a negative duration, and anything else that is not a duration.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    // Not a sign, and not the letter of an ISO 8601 duration.
    let is_number = text.starts_with(|first: char| first.is_ascii_digit());
    let time: SignedDuration = text.parse().ok().filter(|_| is_number).ok_or_else(invalid)?;
    time.try_into().map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        for (text, us) in [
            ("500us", 500),
            ("500µs", 500),
            ("50ms", 50_000),
            ("0s", 0),
            ("1.5 s", 1_500_000),
            ("2m", 120_000_000),
            ("2min", 120_000_000),
            ("1h 30m", 5_400_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(us)), "{text}");
        }
        assert_eq!(parse("1ns"), Ok(Duration::from_nanos(1)));
        for bad in ["", "5", "ms", ".5ms", "-1s", "+5ms", "1e3ms", "infms", "nans", "1.2.3s", "PT5S", "soon"]
        {
            assert_eq!(parse(bad), Err(InvalidDuration(bad.to_owned())), "{bad}");
        }
    }
}
