//! Another machine's clock, read from here: by messages that are answered with its time. Both clocks are monotonic and begin anywhere; no
//! wall clock is compared. The time of the answer lies somewhere between sending and receipt, so a reading is wrong by at most half of
//! the shortest round trip, and on links with two equal ways by next to nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Readings that are kept, one a beat: in so many seconds two clocks of ordinary quartz drift apart by less than a millisecond.
const READINGS_MAX: usize = 8;

/// The other clock, as far as it was read.
#[derive(Debug, Default)]
pub struct RemoteClock {
    readings: VecDeque<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// By the clock of this machine, halfway between sending and receipt.
    here: Instant,
    /// By the other one, since its zero.
    there: Duration,
    round_trip: Duration,
}

impl RemoteClock {
    /// An answer of `there` to what was sent at `sent` came at `received`.
    pub fn read(&mut self, sent: Instant, received: Instant, there: Duration) {
        let round_trip = received.saturating_duration_since(sent);
        self.readings.truncate(READINGS_MAX - 1);
        self.readings.push_front(Reading { here: sent + round_trip / 2, there, round_trip });
    }

    /// When it is so late there; `None` before the first answer.
    pub fn here(&self, there: Duration) -> Option<Instant> {
        let best = self.best()?;
        match there.checked_sub(best.there) {
            Some(later) => best.here.checked_add(later),
            None => best.here.checked_sub(best.there - there),
        }
    }

    /// How late it is there at a moment; `None` before the first answer.
    pub fn there(&self, here: Instant) -> Option<Duration> {
        let best = self.best()?;
        match here.checked_duration_since(best.here) {
            Some(later) => best.there.checked_add(later),
            None => best.there.checked_sub(best.here.duration_since(here)),
        }
    }

    /// What was answered fastest is known best.
    fn best(&self) -> Option<Reading> {
        self.readings.iter().copied().min_by_key(|reading| reading.round_trip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_fastest_answer_counts() {
        let zero = Instant::now();
        let mut clock = RemoteClock::default();
        assert_eq!(clock.here(MS), None);
        // There it is a second later, and two answers were held up on the way back.
        let there = |here: Duration| here + Duration::from_secs(1);
        for (sent, one_way, back) in [(100, 1, 50), (200, 1, 1), (300, 1, 30)] {
            let (sent, one_way, back) = (sent * MS, one_way * MS, back * MS);
            clock.read(zero + sent, zero + sent + one_way + back, there(sent + one_way));
        }
        assert_eq!(clock.here(there(500 * MS)), Some(zero + 500 * MS));
        assert_eq!(clock.here(there(5 * MS)), Some(zero + 5 * MS));
        assert_eq!(clock.there(zero + 700 * MS), Some(there(700 * MS)));
        assert_eq!(clock.there(zero), Some(there(Duration::ZERO)));
    }

    #[test]
    fn old_readings_are_forgotten_because_clocks_drift() {
        let zero = Instant::now();
        let mut clock = RemoteClock::default();
        clock.read(zero, zero, Duration::ZERO);
        for beat in 1..=8 {
            let sent = zero + beat * 1_000 * MS;
            // A millisecond each second.
            clock.read(sent, sent + 2 * MS, beat * 1_001 * MS + MS);
        }
        assert_eq!(clock.here(8 * 1_001 * MS), Some(zero + 8_000 * MS));
    }
}
