//! SplitMix64 (Steele, Lea and Flood 2014): a seed determines the run on every machine and in every build.

use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns an independent generator, so that the draws of one component do not change those of another.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.number())
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        // The bias of the remainder is below 2⁻⁴⁰ for ranges of this size.
        range.start() + self.number() % (range.end() - range.start() + 1)
    }

    /// Returns one of `choices`, which are not empty.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Returns an index below `count`, which is at least 1.
    pub(super) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.number() % count as u64).expect("smaller than a usize")
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    pub(super) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.between(range.start() * 1_000..=range.end() * 1_000))
    }
}
