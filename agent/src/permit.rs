//! The workers' copy of the lease: it states until when they may run queries. The session's task extends it with every acknowledged
//! heartbeat. A worker compares it with its own clock before and after each query. A machine that was frozen therefore runs no query
//! before the session's task notices that the lease has expired.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::{self, nanoseconds};

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

    /// Extends the permit. A time earlier than the current one has no effect.
    pub(crate) fn prolong(&self, lapses_at: Instant) {
        let ns = nanoseconds(lapses_at.saturating_duration_since(self.origin));
        self.lapses_at_ns.fetch_max(ns, Ordering::Relaxed);
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
    fn a_permit_is_never_shortened() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let permit = Permit::until(now + 3 * second);
        permit.prolong(now + second);
        assert!(!permit.has_lapsed(now + 2 * second));
        permit.prolong(now + 5 * second);
        assert!(!permit.has_lapsed(now + 4 * second));
        assert!(permit.has_lapsed(now + 5 * second));
    }
}
