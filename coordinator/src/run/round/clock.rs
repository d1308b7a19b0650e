//! The time of a round: when its agents start, how far it has come, and when it is over. Pure: `now` is an argument.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use muster_core::limits;
use muster_proto::control::Arm;

use crate::run::membership::MemberId;

/// The number of the round that is reported and journaled. Rounds are numbered in order, because agents may hold rows of a round that has
/// not begun.
pub(crate) const COUNTED: u32 = 1;
pub(crate) const WARMUP: u32 = 0;

#[derive(Debug, Clone, Copy)]
pub(crate) struct RoundSpec {
    pub(crate) number: u32,
    /// No row begins later than this after the start of the round.
    pub(crate) lasts: Option<Duration>,
    pub(crate) is_counted: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct RoundClock {
    spec: RoundSpec,
    /// How long the round had run before this coordinator resumed it.
    ran_before: Duration,
    /// The time at which the agents start. `None` before they are armed.
    started: Option<Instant>,
    /// Agents that were sent the first rows that their credit allows.
    prefetched: BTreeSet<MemberId>,
    /// Agents that have reported everything that they ran until the time was over.
    over: BTreeSet<MemberId>,
}

impl RoundClock {
    pub(crate) fn new(spec: RoundSpec, ran_before: Duration) -> Self {
        Self { spec, ran_before, started: None, prefetched: BTreeSet::new(), over: BTreeSet::new() }
    }

    pub(crate) fn spec(&self) -> &RoundSpec {
        &self.spec
    }

    pub(crate) fn started(&self) -> Option<Instant> {
        self.started
    }

    /// How long the round had run before this coordinator resumed it.
    pub(crate) fn ran_before(&self) -> Duration {
        self.ran_before
    }

    pub(crate) fn prefetched(&mut self, agent: MemberId) {
        self.prefetched.insert(agent);
    }

    pub(crate) fn have_prefetched(&self, mut running: impl Iterator<Item = MemberId>) -> bool {
        running.all(|agent| self.prefetched.contains(&agent))
    }

    /// The agent has reported everything that it ran in the round of this number.
    pub(crate) fn over(&mut self, agent: MemberId, number: u32) {
        if number == self.spec.number {
            self.over.insert(agent);
        }
    }

    /// Starts all agents together after a countdown. `zero` is the zero of the run clock that the coordinator sends to agents.
    pub(crate) fn arm(&mut self, now: Instant, zero: Instant) -> Arm {
        let countdown = limits::ARM_COUNTDOWN;
        self.started = Some(now + countdown);
        self.arm_message(countdown, (now + countdown).saturating_duration_since(zero), self.ran_before)
    }

    /// Starts an agent that joined later at once. `None` before the start of the round: it starts together with all others.
    pub(crate) fn arm_late(&self, now: Instant, zero: Instant) -> Option<Arm> {
        self.started?;
        Some(self.arm_message(Duration::ZERO, now.saturating_duration_since(zero), self.offset(now)))
    }

    fn arm_message(&self, countdown: Duration, starts_at: Duration, offset: Duration) -> Arm {
        let lasts = self.spec.lasts.map(|lasts| lasts.saturating_sub(offset));
        Arm { countdown, starts_at, round: self.spec.number, offset, lasts }
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        self.started.map(|started| now.saturating_duration_since(started)).unwrap_or_default()
    }

    /// How long the round has run, including the time before this coordinator resumed it.
    pub(crate) fn offset(&self, now: Instant) -> Duration {
        self.ran_before + self.elapsed(now)
    }

    /// Returns true when the time is over and every running agent has reported what it ran.
    pub(crate) fn is_over(&self, now: Instant, running: impl Iterator<Item = MemberId>) -> bool {
        let mut running = running.peekable();
        self.spec.lasts.is_some_and(|lasts| self.offset(now) >= lasts)
            && running.peek().is_some()
            && running.all(|agent| self.over.contains(&agent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn resumed(lasts: Option<Duration>) -> (RoundClock, Instant) {
        let spec = RoundSpec { number: 3, lasts, is_counted: true };
        (RoundClock::new(spec, 4 * SECOND), Instant::now())
    }

    fn agents(ids: &[u32]) -> impl Iterator<Item = MemberId> {
        ids.iter().map(|id| MemberId(*id))
    }

    #[test]
    fn agents_start_together_and_a_later_one_joins_at_the_time_that_the_round_has_run() {
        let (mut clock, zero) = resumed(Some(10 * SECOND));
        assert_eq!(clock.arm_late(zero + SECOND, zero), None, "it starts together with all others");
        let arm = clock.arm(zero + SECOND, zero);
        let countdown = limits::ARM_COUNTDOWN;
        let lasts = Some(6 * SECOND);
        assert_eq!(
            arm,
            Arm { countdown, starts_at: SECOND + countdown, round: 3, offset: 4 * SECOND, lasts }
        );
        let later = zero + SECOND + countdown + 5 * SECOND;
        let arm = clock.arm_late(later, zero).unwrap();
        assert_eq!((arm.countdown, arm.starts_at), (Duration::ZERO, later - zero));
        assert_eq!((arm.offset, arm.lasts), (9 * SECOND, Some(SECOND)));
        let after_the_end = clock.arm_late(later + 5 * SECOND, zero).unwrap();
        assert_eq!(after_the_end.lasts, Some(Duration::ZERO));
    }

    #[test]
    fn a_round_is_over_when_its_time_is_over_and_every_running_agent_has_reported() {
        let (mut clock, zero) = resumed(Some(10 * SECOND));
        clock.arm(zero, zero);
        let end = zero + limits::ARM_COUNTDOWN + 6 * SECOND;
        clock.over(MemberId(1), 3);
        clock.over(MemberId(2), 2);
        assert!(
            !clock.is_over(end, agents(&[1, 2])),
            "a report of an earlier round is not one of this round"
        );
        clock.over(MemberId(2), 3);
        assert!(!clock.is_over(end - SECOND, agents(&[1, 2])));
        assert!(clock.is_over(end, agents(&[1, 2])));
        assert!(!clock.is_over(end, agents(&[1, 2, 3])), "a replacement still runs");
        assert!(!clock.is_over(end, agents(&[])), "a lost agent may have rows that nobody has reported");
        let (mut endless, zero) = resumed(None);
        endless.arm(zero, zero);
        endless.over(MemberId(1), 3);
        assert!(!endless.is_over(end, agents(&[1])), "its rows end it");
    }

    #[test]
    fn every_running_agent_has_to_prefetch() {
        let (mut clock, _) = resumed(None);
        clock.prefetched(MemberId(1));
        assert!(clock.have_prefetched(agents(&[1])) && !clock.have_prefetched(agents(&[1, 2])));
    }
}
