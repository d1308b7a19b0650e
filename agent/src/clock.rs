//! The clock of tokio's timers. A test can pause and advance it, which `std::time::Instant::now` would not reflect. Workers do not use it:
//! they read the clock of their [`Waiter`](crate::waiter::Waiter).

use std::time::{Duration, Instant};

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Returns `u64::MAX` for times longer than 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
