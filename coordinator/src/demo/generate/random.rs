//! The walk that a host's usage takes. Integers only.

use muster_common::random::SplitMix64;

/// A usage that goes up and down by about one percent a step, between 0 and 100.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    random: SplitMix64,
    hundredths: i32,
}

impl Walk {
    /// Each host has its own numbers, so that a host's samples do not depend on how many others there are.
    pub(super) fn new(seed: u64, host: u32) -> Self {
        let mut random = SplitMix64::of_stream(seed, host.into());
        let hundredths = random.below(10_001) as i32;
        Self { random, hundredths }
    }

    pub(super) fn next(&mut self) -> u16 {
        let now = self.hundredths;
        // Three even numbers of −1.00 to 1.00 added: nearly a normal distribution, with a deviation of 1.00.
        let bits = self.random.next();
        let even = |shift: u32| (((bits >> shift & 0xffff) * 201) >> 16) as i32 - 100;
        self.hundredths = (now + even(0) + even(16) + even(32)).clamp(0, 10_000);
        now as u16
    }
}
