//! Parsers for the values of several options. `help.rs` describes their syntax.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use muster_core::{duration, limits};

use crate::spec::OnAgentLoss;
use crate::workload::OnBadRow;

/// Parses a duration above zero: `500ms`, `5s`, `2m`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err(format!("'{text}' is not a duration above zero, such as 500ms, 5s or 2m")),
        time => Ok(time),
    }
}

/// Parses a duration, `0s` included.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map_err(|error| error.to_string())?;
    match time <= limits::OPTION_TIME_MAX {
        true => Ok(time),
        false => Err(format!("'{text}' is more than a year")),
    }
}

/// Parses a percentage: `5`, `0.5` or `5%`.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number
        .filter(|percent: &f64| (0.0..=1_000.0).contains(percent))
        .ok_or_else(|| format!("'{text}' is not a percentage of 0 or more, such as 5 or 0.5"))
}

impl ValueEnum for OnBadRow {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Fail, Self::Skip]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Fail => PossibleValue::new("fail").help("List them and exit without running any row"),
            Self::Skip => {
                PossibleValue::new("skip").help("Run the valid rows and report how many rows were skipped")
            }
        })
    }
}

impl ValueEnum for OnAgentLoss {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Reassign, Self::Fail, Self::Wait]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Reassign => ("reassign", "Reassign its hosts, and no others, to the remaining agents"),
            Self::Fail => ("fail", "End the run with a partial report and exit code 13"),
            Self::Wait => ("wait", "Continue without it and wait for a replacement without a time limit"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_a_percentage() {
        assert_eq!((percent("5"), percent("0.5%"), percent("0")), (Ok(5.0), Ok(0.5), Ok(0.0)));
        for bad in ["", "-1", "nan", "inf", "few", "2000"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_has_a_unit_and_is_above_zero() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(duration("20us").unwrap(), Duration::from_micros(20));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(duration("1ns").unwrap(), Duration::from_nanos(1));
        for bad in ["", "5", "0s", "-1s", "soon", "9000h", "9223372036854775807s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
