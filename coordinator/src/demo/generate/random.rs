//! Random numbers that stay the same for ever, and the walk that a host's usage takes. Integers only.

/// A usage that goes up and down by about one percent a step, between 0 and 100.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    random: SplitMix64,
    hundredths: i32,
}

impl Walk {
    /// Each host has its own numbers, so that a host's samples do not depend on how many others there are.
    pub(super) fn new(seed: u64, host: u32) -> Self {
        let mut random = SplitMix64(SplitMix64(seed).next() ^ u64::from(host));
        random = SplitMix64(random.next());
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

/// Sebastiano Vigna's splitmix64 (public domain, prng.di.unimi.it). Own, because a crate may change its numbers with a release.
#[derive(Debug, Clone)]
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound - 1`. The high half of the product; its bias is below bound ÷ 2⁶⁴.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
