//! SplitMix64 (Steele, Lea and Flood 2014): one seed, one schedule, on every machine and in every build.

use std::ops::RangeInclusive;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own, so that what one party draws does not change what another one gets.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.number())
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        // The bias of a remainder is below 2⁻⁴⁰ for ranges as small as those here.
        range.start() + self.number() % (range.end() - range.start() + 1)
    }

    /// A position in something with `count` elements, at least one.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.number() % count as u64).expect("smaller than a usize")
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    pub(crate) fn micros(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.between(range))
    }

    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        self.micros(range.start() * 1_000..=range.end() * 1_000)
    }
}
