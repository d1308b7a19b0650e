//! Estimates the clock of another machine from requests that are answered with its time (Cristian's algorithm). Both clocks are monotonic
//! with an arbitrary origin; wall clocks are not compared. The remote time was read between sending and receiving, so the error is at most
//! half of the shortest round trip, and on a symmetric link close to zero.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Number of readings kept, one per heartbeat: within this many seconds two ordinary quartz clocks drift apart by less than 1 ms.
const READINGS_MAX: usize = 8;

/// An estimate of the other machine's clock.
#[derive(Debug, Default)]
pub struct RemoteClock {
    readings: VecDeque<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Local time halfway between sending and receiving.
    here: Instant,
    /// Remote time since the origin of the remote clock.
    there: Duration,
    round_trip: Duration,
}

impl RemoteClock {
    /// Records that a request sent at `sent` was answered with the time `there`, and that the answer arrived at `received`.
    pub fn read(&mut self, sent: Instant, received: Instant, there: Duration) {
        let round_trip = received.saturating_duration_since(sent);
        self.readings.truncate(READINGS_MAX - 1);
        self.readings.push_front(Reading { here: sent + round_trip / 2, there, round_trip });
    }

    /// Converts a remote time to local time; `None` before the first reading.
    pub fn here(&self, there: Duration) -> Option<Instant> {
        let best = self.best()?;
        match there.checked_sub(best.there) {
            Some(later) => best.here.checked_add(later),
            None => best.here.checked_sub(best.there - there),
        }
    }

    /// Converts a local time to remote time; `None` before the first reading.
    pub fn there(&self, here: Instant) -> Option<Duration> {
        let best = self.best()?;
        match here.checked_duration_since(best.here) {
            Some(later) => best.there.checked_add(later),
            None => best.there.checked_sub(best.here.duration_since(here)),
        }
    }

    /// Returns the reading with the shortest round trip, which has the smallest error.
    fn best(&self) -> Option<Reading> {
        self.readings.iter().copied().min_by_key(|reading| reading.round_trip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_reading_with_the_shortest_round_trip_is_used() {
        let zero = Instant::now();
        let mut clock = RemoteClock::default();
        assert_eq!(clock.here(MS), None);
        // The remote clock is a second ahead, and two answers were delayed on the way back.
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
    fn old_readings_are_dropped_because_clocks_drift() {
        let zero = Instant::now();
        let mut clock = RemoteClock::default();
        clock.read(zero, zero, Duration::ZERO);
        for beat in 1..=8 {
            let sent = zero + beat * 1_000 * MS;
            // The remote clock gains a millisecond per second.
            clock.read(sent, sent + 2 * MS, beat * 1_001 * MS + MS);
        }
        assert_eq!(clock.here(8 * 1_001 * MS), Some(zero + 8_000 * MS));
    }
}
