//! Durations as fractional milliseconds, so that 500 µs is 0.5. For serde's `with`.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// # Errors
/// When the serializer fails.
pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    (time.as_secs_f64() * 1e3).serialize(serializer)
}

/// # Errors
/// For a negative number, and for one above [`limits::OPTION_TIME_MAX`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time_ms = f64::deserialize(deserializer)?;
    let time =
        Duration::try_from_secs_f64(time_ms / 1e3).ok().filter(|time| *time <= limits::OPTION_TIME_MAX);
    time.ok_or_else(|| D::Error::custom(format!("{time_ms} ms is not a valid duration")))
}

/// The same for `Option<Duration>`; `null` is `None`.
pub mod optional {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Milliseconds(#[serde(with = "super")] Duration);

    /// # Errors
    /// When the serializer fails.
    pub fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(Milliseconds).serialize(serializer)
    }

    /// # Errors
    /// As [`super::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Milliseconds>::deserialize(deserializer)?.map(|Milliseconds(time)| time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        one: Duration,
        #[serde(with = "super::optional")]
        other: Option<Duration>,
    }

    #[test]
    fn a_duration_survives_the_manifest() {
        for nanoseconds in [0, 1, 500_000, 30_000_000_000, 31_622_400_000_000_000] {
            let one = Duration::from_nanos(nanoseconds);
            let json = serde_json::to_string(&Times { one, other: Some(one) }).unwrap();
            let read: Times = serde_json::from_str(&json).unwrap();
            assert_eq!((read.one, read.other), (one, Some(one)), "{json}");
        }
        for bad in ["-1.0", "1e18", "\"1\""] {
            let read: Result<Times, _> = serde_json::from_str(&format!(r#"{{"one":1,"other":{bad}}}"#));
            assert!(read.is_err(), "{bad}");
        }
        let none: Times = serde_json::from_str(r#"{"one":1,"other":null}"#).unwrap();
        assert_eq!(none.other, None);
    }
}
