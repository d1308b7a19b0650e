//! The parameters of the generated data, and their validation. Nothing is generated here.

use std::time::Duration;

use jiff::Timestamp;

/// 2017-01-01 00:00:00 UTC.
const DEMO_START: i64 = 1_483_228_800;
const SECONDS_PER_HOUR: u64 = 3_600;
/// 0001-01-01. PostgreSQL and the workload reader use years with four digits.
const START_MIN: i64 = -62_135_596_800;
/// Generating data takes 16 bytes of memory per host, and 40 for its name.
const HOSTS_MAX: u32 = 10_000_000;

/// The shape of the samples: every host has one at `start`, `start + step`, and so on before `start + span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub hosts: u32,
    pub step: Duration,
    pub span: Duration,
    pub start: Timestamp,
    pub seed: u64,
}

/// 2017-01-01 00:00:00 UTC. The default is 20 hosts every 10 s over 48 h: 345,600 rows.
impl Default for Shape {
    fn default() -> Self {
        Self {
            hosts: 20,
            step: Duration::from_secs(10),
            span: Duration::from_secs(48 * SECONDS_PER_HOUR),
            start: Timestamp::constant(DEMO_START, 0),
            seed: crate::demo::SEED,
        }
    }
}

/// The queries to generate for data of a shape: windows at random times, each for one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub rows: u64,
    /// The number of different hosts in the queries; at most the number of hosts of the shape.
    pub hosts: u32,
    pub window: Duration,
    pub seed: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self { rows: 200, hosts: 10, window: Duration::from_secs(SECONDS_PER_HOUR), seed: crate::demo::SEED }
    }
}

/// A validated shape: it has samples, all within the supported time range. All fields are whole seconds.
pub(super) struct Valid {
    pub(super) step: u64,
    pub(super) span: u64,
    pub(super) start: i64,
}

impl Valid {
    pub(super) fn try_new(shape: &Shape) -> Result<Self, ShapeError> {
        if shape.hosts == 0 || shape.hosts > HOSTS_MAX {
            return Err(ShapeError::Hosts { hosts: shape.hosts });
        }
        let step = whole_seconds("step", shape.step)?;
        let span = whole_seconds("span", shape.span)?;
        if step > span {
            return Err(ShapeError::StepTooLong { step, span });
        }
        let start = shape.start.as_second();
        let last = i64::try_from(span).ok().and_then(|span| start.checked_add(span));
        let inside = last.is_some_and(|last| Timestamp::from_second(last).is_ok());
        if !inside || start < START_MIN || shape.start.subsec_nanosecond() != 0 {
            return Err(ShapeError::OutsideCalendar { start: shape.start, span });
        }
        Ok(Self { step, span, start })
    }
}

pub(super) fn whole_seconds(what: &'static str, value: Duration) -> Result<u64, ShapeError> {
    if value.is_zero() || value.subsec_nanos() != 0 {
        return Err(ShapeError::NotWholeSeconds { what, value });
    }
    Ok(value.as_secs())
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("cannot generate data for {hosts} hosts; choose 1 to {HOSTS_MAX}")]
    Hosts { hosts: u32 },
    #[error("cannot generate 0 queries; choose at least 1")]
    NoQueries,
    #[error("{what} {value:?} is not a whole number of seconds greater than 0")]
    NotWholeSeconds { what: &'static str, value: Duration },
    #[error("step of {step} s is longer than the span of {span} s; each host would have at most one sample")]
    StepTooLong { step: u64, span: u64 },
    #[error(
        "window of {window} s does not fit into the span of {span} s; shorten the window or lengthen the span"
    )]
    WindowTooLong { window: u64, span: u64 },
    #[error("cannot query {queried} hosts of data with {hosts} hosts; choose 1 to {hosts}")]
    QueriedHosts { queried: u32, hosts: u32 },
    #[error(
        "a span of {span} s from {start} is not in whole seconds within the years 1 to 9999; choose another start or a shorter span"
    )]
    OutsideCalendar { start: Timestamp, span: u64 },
}
