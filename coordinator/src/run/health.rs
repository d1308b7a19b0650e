//! Health totals by session, and the times at which they are written to the journal: at the end of the session, and before that so often
//! that the loss of the coordinator loses at most ten seconds or a tenth of the totals.

use std::collections::BTreeMap;

use muster_core::health::{HealthSample, HealthTotals};
use muster_core::ids::Epoch;
use muster_core::limits;

/// The health totals of the sessions that run.
#[derive(Debug, Default)]
pub(crate) struct SessionHealth {
    sessions: BTreeMap<Epoch, ProcessTotals>,
}

/// The totals of one process, and the part of them that has been written to the journal.
#[derive(Debug, Default)]
pub(crate) struct ProcessTotals {
    totals: HealthTotals,
    written_ns: u64,
}

impl SessionHealth {
    /// Adds a sample. Returns the session's totals if it is time to write them to the journal.
    pub(crate) fn add(&mut self, session: Epoch, sample: &HealthSample) -> Option<HealthTotals> {
        self.sessions.entry(session).or_default().add(sample)
    }

    /// Removes a session that has ended and returns its totals. `None` if it reported nothing.
    pub(crate) fn close(&mut self, session: Epoch) -> Option<HealthTotals> {
        self.sessions.remove(&session).map(|process| process.totals)
    }

    /// Removes all remaining sessions and returns their totals.
    pub(crate) fn close_all(&mut self) -> impl Iterator<Item = (Epoch, HealthTotals)> + use<> {
        std::mem::take(&mut self.sessions).into_iter().map(|(session, process)| (session, process.totals))
    }
}

impl ProcessTotals {
    /// Adds a sample. Returns the totals if it is time to write them to the journal.
    pub(crate) fn add(&mut self, sample: &HealthSample) -> Option<HealthTotals> {
        let Self { totals, written_ns } = self;
        totals.add(sample);
        let first_ns = u64::try_from(limits::HEALTH_WRITTEN_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let is_due = totals.time_ns.saturating_sub(*written_ns) >= first_ns.max(*written_ns / 10);
        is_due.then(|| {
            *written_ns = totals.time_ns;
            totals.clone()
        })
    }

    pub(crate) fn into_totals(self) -> HealthTotals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second() -> HealthSample {
        HealthSample { time_ns: 1_000_000_000, ..HealthSample::default() }
    }

    #[test]
    fn totals_are_written_less_often_as_they_grow() {
        let mut health = SessionHealth::default();
        let mut written =
            |seconds: u32| (0..seconds).filter(|_| health.add(Epoch::new(1), &second()).is_some()).count();
        assert_eq!(written(9), 0);
        assert_eq!(written(1), 1);
        assert_eq!(written(90), 9, "every ten seconds up to a hundred");
        let within_the_hour = written(3_500);
        assert!((30..50).contains(&within_the_hour), "{within_the_hour}");
    }

    #[test]
    fn the_totals_of_a_session_are_returned_once() {
        let mut health = SessionHealth::default();
        for session in [1, 1, 2] {
            health.add(Epoch::new(session), &second());
        }
        assert_eq!(health.close(Epoch::new(1)).map(|totals| totals.time_ns), Some(2_000_000_000));
        assert_eq!(health.close(Epoch::new(1)), None);
        assert_eq!(health.close_all().map(|(session, _)| session).collect::<Vec<_>>(), [Epoch::new(2)]);
        assert_eq!(health.close_all().count(), 0);
    }
}
