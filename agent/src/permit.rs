//! Whether queries may run, as the workers see it. The session's task prolongs it with every acknowledged beat; a worker looks at its
//! own clock before each query and after it, so that a machine that was frozen runs nothing between its waking and the moment at
//! which the session's task finds out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

#[derive(Debug)]
pub(crate) struct Permit {
    origin: Instant,
    /// Nanoseconds after `origin`.
    lapses_at_ns: AtomicU64,
}

impl Permit {
    pub(crate) fn until(lapses_at: Instant) -> Self {
        let permit = Self { origin: clock::now(), lapses_at_ns: AtomicU64::new(0) };
        permit.prolong(lapses_at);
        permit
    }

    /// An earlier moment than before changes nothing.
    pub(crate) fn prolong(&self, lapses_at: Instant) {
        let ns = lapses_at.saturating_duration_since(self.origin).as_nanos();
        self.lapses_at_ns.fetch_max(u64::try_from(ns).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn has_lapsed(&self, now: Instant) -> bool {
        let lapses_after = Duration::from_nanos(self.lapses_at_ns.load(Ordering::Relaxed));
        now.saturating_duration_since(self.origin) >= lapses_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_only_ever_prolonged() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let permit = Permit::until(now + 3 * second);
        permit.prolong(now + second);
        assert!(!permit.has_lapsed(now + 2 * second));
        permit.prolong(now + 5 * second);
        assert!(!permit.has_lapsed(now + 4 * second));
        assert!(permit.has_lapsed(now + 5 * second));
    }
}
