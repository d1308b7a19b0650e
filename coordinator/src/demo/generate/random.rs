//! The random walk of a host's CPU usage, computed with integers only.

use muster_stats::random::SplitMix64;

/// A usage between 0 and 100 percent that changes by about one percentage point per step.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    random: SplitMix64,
    hundredths: i32,
}

impl Walk {
    /// Each host has its own random stream, so that its samples do not depend on the number of hosts.
    pub(super) fn new(seed: u64, host: u32) -> Self {
        let mut random = SplitMix64::of_stream(seed, host.into());
        let hundredths = random.below(10_001) as i32;
        Self { random, hundredths }
    }

    pub(super) fn next(&mut self) -> u16 {
        let now = self.hundredths;
        // The sum of three uniform numbers from −1.00 to 1.00: nearly a normal distribution with a standard deviation of 1.00.
        let bits = self.random.next();
        let uniform = |shift: u32| (((bits >> shift & 0xffff) * 201) >> 16) as i32 - 100;
        self.hundredths = (now + uniform(0) + uniform(16) + uniform(32)).clamp(0, 10_000);
        now as u16
    }
}
