//! Sums of how agents fare, by session, and when a sum is to be written down: at its end, and on the way so often that a coordinator
//! that is killed takes no more than ten seconds or a tenth of it along.

use std::collections::BTreeMap;

use muster_common::health::{Interval, Sum};
use muster_common::ids::Epoch;
use muster_common::limits;

/// The sessions that run.
#[derive(Debug, Default)]
pub(crate) struct HealthBook {
    sessions: BTreeMap<Epoch, Watched>,
}

/// One process, and how much of its sum is written down.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    sum: Sum,
    written_ns: u64,
}

impl HealthBook {
    /// The session's sum when it is time to write it down.
    pub(crate) fn add(&mut self, session: Epoch, interval: &Interval) -> Option<Sum> {
        self.sessions.entry(session).or_default().add(interval)
    }

    /// The whole sum of a session that is over; `None` when it told nothing.
    pub(crate) fn close(&mut self, session: Epoch) -> Option<Sum> {
        self.sessions.remove(&session).map(|watched| watched.sum)
    }

    /// Those that nobody closed.
    pub(crate) fn close_all(&mut self) -> impl Iterator<Item = (Epoch, Sum)> + use<> {
        std::mem::take(&mut self.sessions).into_iter().map(|(session, watched)| (session, watched.sum))
    }
}

impl Watched {
    pub(crate) fn add(&mut self, interval: &Interval) -> Option<Sum> {
        let Self { sum, written_ns } = self;
        sum.add(interval);
        let first_ns = u64::try_from(limits::HEALTH_WRITTEN_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let is_due = sum.time_ns.saturating_sub(*written_ns) >= first_ns.max(*written_ns / 10);
        is_due.then(|| {
            *written_ns = sum.time_ns;
            sum.clone()
        })
    }

    pub(crate) fn sum(self) -> Sum {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second() -> Interval {
        Interval { time_ns: 1_000_000_000, ..Interval::default() }
    }

    #[test]
    fn a_sum_is_written_down_ever_more_seldom() {
        let mut book = HealthBook::default();
        let mut written =
            |seconds: u32| (0..seconds).filter(|_| book.add(Epoch::new(1), &second()).is_some()).count();
        assert_eq!(written(9), 0);
        assert_eq!(written(1), 1);
        assert_eq!(written(90), 9, "every ten seconds up to a hundred");
        let within_the_hour = written(3_500);
        assert!((30..50).contains(&within_the_hour), "{within_the_hour}");
    }

    #[test]
    fn a_session_that_is_over_gives_its_whole_sum_once() {
        let mut book = HealthBook::default();
        for session in [1, 1, 2] {
            book.add(Epoch::new(session), &second());
        }
        assert_eq!(book.close(Epoch::new(1)).map(|sum| sum.time_ns), Some(2_000_000_000));
        assert_eq!(book.close(Epoch::new(1)), None);
        assert_eq!(book.close_all().map(|(session, _)| session).collect::<Vec<_>>(), [Epoch::new(2)]);
        assert_eq!(book.close_all().count(), 0);
    }
}
