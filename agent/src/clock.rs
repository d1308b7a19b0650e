//! The time as tokio's timers have it. A test may run it ahead of the machine's clock, which `std::time::Instant::now` would not know.
//! Workers do not ask here.

use std::time::{Duration, Instant};

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}
