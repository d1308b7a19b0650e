//! The phases of a session, and the rounds of a run in which its workers start together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::sample::Lag;
use muster_proto::control::Arm;

use crate::clock::nanoseconds;

/// The phase of a session, which is the same for all of its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Preparing,
    /// The agent was on standby and now has a slot: the worker's connections take the session's name.
    Placed {
        application_name: Arc<str>,
    },
    Running(Round),
    Draining,
}

/// A part of the run in which all workers start together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) starts_at: Instant,
    /// How long the round had already run in earlier sessions at `starts_at`.
    offset: Duration,
    /// No row begins after this time. `None` without a time limit.
    pub(crate) ends_at: Option<Instant>,
}

impl Round {
    pub(crate) fn new(arm: &Arm, starts_at: Instant) -> Self {
        let ends_at = arm.lasts.map(|lasts| starts_at + lasts);
        Self { number: arm.round, starts_at, offset: arm.offset, ends_at }
    }

    /// Returns when a row is due. A row that was due in an earlier session is due at the start of this one.
    pub(crate) fn due_at(&self, due_ns: u64) -> Instant {
        let due = Duration::from_nanos(due_ns);
        self.starts_at + due.saturating_sub(self.offset)
    }

    /// Returns the lag of a row that was due at `due_ns` and began at `start`. Its worker was free at `free`, which is the end of its
    /// previous query or the start of the round. After a reconnect, the worker had its connection at `connected`. The time that a row
    /// waited for an earlier session of the slot is queueing, too.
    pub(crate) fn lag(&self, due_ns: u64, free: Instant, connected: Option<Instant>, start: Instant) -> Lag {
        let connected = connected.map(|at| self.since_start(at));
        Lag::between(due_ns, self.since_start(free), connected, self.since_start(start))
    }

    /// Returns the nanoseconds from the start of the round to `time`. The round may have started before this session.
    pub(crate) fn since_start(&self, time: Instant) -> u64 {
        nanoseconds(self.offset + time.saturating_duration_since(self.starts_at))
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|ends_at| now >= ends_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(offset: Duration, lasts: Option<Duration>) -> Round {
        let (countdown, starts_at) = (Duration::ZERO, Duration::ZERO);
        let arm = Arm { countdown, starts_at, round: 1, offset, lasts };
        Round::new(&arm, Instant::now())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lag_is_queueing_while_the_worker_is_busy_and_generator_delay_from_then_on() {
        let round = round(Duration::ZERO, None);
        let at = |seconds| round.starts_at + seconds * SECOND;
        assert_eq!(round.due_at(3_000_000_000), at(3));
        let lag = |free, start| {
            let Lag { queueing_ns, generator_delay_ns } = round.lag(3_000_000_000, at(free), None, at(start));
            (queueing_ns / 1_000_000_000, generator_delay_ns / 1_000_000_000)
        };
        assert_eq!(lag(0, 5), (0, 2));
        assert_eq!(lag(4, 5), (1, 1));
        assert_eq!(lag(0, 3), (0, 0));
    }

    #[test]
    fn time_spent_reconnecting_is_not_lag() {
        let round = round(Duration::ZERO, None);
        let at = |seconds| round.starts_at + seconds * SECOND;
        let Lag { queueing_ns, generator_delay_ns } = round.lag(3_000_000_000, at(1), Some(at(5)), at(5));
        assert_eq!((queueing_ns, generator_delay_ns), (0, 0));
        let Lag { queueing_ns, generator_delay_ns } = round.lag(3_000_000_000, at(4), Some(at(6)), at(7));
        assert_eq!((queueing_ns, generator_delay_ns), (1_000_000_000, 1_000_000_000));
    }

    #[test]
    fn time_before_the_session_began_is_queueing() {
        let round = round(10 * SECOND, None);
        assert_eq!(round.due_at(4_000_000_000), round.starts_at, "due at once");
        let lag = round.lag(4_000_000_000, round.starts_at, None, round.starts_at + SECOND);
        assert_eq!(lag, Lag { queueing_ns: 6_000_000_000, generator_delay_ns: 1_000_000_000 });
        assert_eq!(round.due_at(12_000_000_000), round.starts_at + 2 * SECOND);
    }

    #[test]
    fn a_round_is_over_after_its_time_limit() {
        let round = round(Duration::ZERO, Some(SECOND));
        assert!(!round.is_over(round.starts_at) && round.is_over(round.starts_at + SECOND));
        assert!(!Round { ends_at: None, ..round }.is_over(round.starts_at + 1_000 * SECOND));
    }
}
