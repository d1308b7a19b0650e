//! The flow control of one worker.

use std::time::Duration;

use crate::limits;

/// The rows that one worker may hold: about [`limits::CREDIT_WINDOW`] of work. All counts are totals of the session.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) rows: u32,
    /// Smoothed service time.
    service_time: Option<Duration>,
    pub(super) granted: u64,
    pub(super) measured: u64,
    pub(super) flushed: u64,
    pub(super) acknowledged: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            rows: limits::CREDIT_ROWS_FIRST,
            service_time: None,
            granted: limits::CREDIT_ROWS_FIRST.into(),
            measured: 0,
            flushed: 0,
            acknowledged: 0,
        }
    }

    pub(super) fn measured(&mut self, service_time: Duration) {
        self.measured += 1;
        self.service_time = Some(match self.service_time {
            None => service_time,
            Some(smoothed) => (smoothed * 7 + service_time) / 8,
        });
    }

    /// Returns how many more rows may run before results must be sent: normally until half of the window is unsent. At first results are
    /// sent sooner, after [`limits::RESULTS_FIRST`] and after half of the first window, because each exchange lets the window grow, and new
    /// rows need time to arrive while the first ones run.
    pub(super) fn until_due(&self) -> u64 {
        let half = u64::from(self.rows).div_ceil(2);
        let first_half = u64::from(limits::CREDIT_ROWS_FIRST / 2);
        let due = match self.flushed {
            0 => limits::RESULTS_FIRST,
            flushed if flushed < first_half => (first_half - flushed).min(half),
            _ => half,
        };
        due.saturating_sub(self.measured - self.flushed)
    }

    /// Returns the new total if it has grown enough to justify a message. A grant is never revoked.
    pub(super) fn grant(&mut self) -> Option<u64> {
        if let Some(service_time) = self.service_time {
            let wanted = limits::CREDIT_WINDOW.as_nanos() / service_time.as_nanos().max(1);
            // The first few queries may not be typical, so each query adds at most the size of the first window. Growth depends on queries
            // rather than acknowledgements, because over a slow link the worker would run dry before the first acknowledgement.
            let most = u128::from(limits::CREDIT_ROWS_FIRST) * (1 + u128::from(self.measured));
            let rows = u32::try_from(wanted.min(most)).unwrap_or(u32::MAX);
            self.rows = rows.clamp(limits::CREDIT_ROWS_MIN, limits::CREDIT_ROWS_MAX);
        }
        let total = self.acknowledged + u64::from(self.rows);
        let is_worth_sending = total >= self.granted + u64::from(self.rows / 4).max(1);
        is_worth_sending.then(|| {
            self.granted = total;
            total
        })
    }
}
