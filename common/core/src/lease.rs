//! Leases and fencing: who may run queries, and until when. The agent stops before the coordinator reassigns its slot, without a shared
//! clock: the agent counts from *sending* an acknowledged heartbeat, the coordinator from *receiving* it, which is later, and counts
//! longer. `now` is an argument; each side passes its own monotonic clock.

use std::time::Instant;

use crate::limits;

/// The agent's side: its right to run queries.
#[derive(Debug)]
pub struct Lease {
    /// Heartbeats sent but not acknowledged, oldest first: number and sending time.
    unacknowledged: Vec<(u64, Instant)>,
    next_number: u64,
    valid_from: Instant,
}

impl Lease {
    /// Creates a lease that begins when Hello is sent, because the coordinator cannot have sent Welcome earlier.
    pub fn new(hello_sent: Instant) -> Self {
        Self { unacknowledged: Vec::new(), next_number: 1, valid_from: hello_sent }
    }

    /// Returns the number of the heartbeat to send now.
    pub fn beat(&mut self, now: Instant) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.unacknowledged.push((number, now));
        number
    }

    /// Records an acknowledgement. An unknown or repeated number has no effect.
    /// Returns when the acknowledged heartbeat was sent, which gives the round trip.
    pub fn acknowledged(&mut self, number: u64) -> Option<Instant> {
        let position = self.unacknowledged.iter().position(|(sent, _)| *sent == number)?;
        let (_, sent_at) = self.unacknowledged[position];
        self.unacknowledged.drain(..=position);
        self.valid_from = self.valid_from.max(sent_at);
        Some(sent_at)
    }

    /// Returns the time from which no query may run.
    pub fn lapses_at(&self) -> Instant {
        self.valid_from + limits::LEASE
    }

    pub fn has_lapsed(&self, now: Instant) -> bool {
        now >= self.lapses_at()
    }
}

/// The coordinator's side: when a silent session is lost.
#[derive(Debug, Clone, Copy)]
pub struct Fence {
    last_beat: Instant,
}

impl Fence {
    pub fn new(welcomed: Instant) -> Self {
        Self { last_beat: welcomed }
    }

    pub fn beat(&mut self, now: Instant) {
        self.last_beat = self.last_beat.max(now);
    }

    /// Returns the time from which the session is lost.
    pub fn expires_at(&self) -> Instant {
        self.last_beat + limits::FENCE
    }

    pub fn has_expired(&self, now: Instant) -> bool {
        now >= self.expires_at()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_an_acknowledged_heartbeat_extends_the_lease() {
        let start = Instant::now();
        let mut lease = Lease::new(start);
        let number = lease.beat(start + Duration::from_secs(1));
        assert!(lease.has_lapsed(start + limits::LEASE));
        assert_eq!(lease.acknowledged(number), Some(start + Duration::from_secs(1)));
        assert!(!lease.has_lapsed(start + limits::LEASE));
        assert!(lease.has_lapsed(start + limits::LEASE + Duration::from_secs(1)));
        assert_eq!(lease.acknowledged(number), None, "a repeated acknowledgement has no effect");
    }

    proptest! {
        /// Heartbeats and acknowledgements have arbitrary delays and may be lost.
        #[test]
        fn the_agent_stops_before_the_coordinator_fences(
            beats in proptest::collection::vec((1u64..1_500, 0u64..4_000, 0u64..4_000, any::<bool>(), any::<bool>()), 1..30),
        ) {
            let ms = Duration::from_millis;
            let hello_sent = Instant::now();
            let mut lease = Lease::new(hello_sent);
            let mut fence = Fence::new(hello_sent + ms(beats[0].1));
            let mut sent_at = hello_sent;
            for (gap, there, back, arrives, is_acknowledged) in beats {
                sent_at += ms(gap);
                if lease.has_lapsed(sent_at) {
                    break;
                }
                let number = lease.beat(sent_at);
                if arrives && !fence.has_expired(sent_at + ms(there)) {
                    fence.beat(sent_at + ms(there));
                    if is_acknowledged && !lease.has_lapsed(sent_at + ms(there + back)) {
                        lease.acknowledged(number);
                    }
                }
                prop_assert!(lease.lapses_at() < fence.expires_at());
            }
        }
    }
}
