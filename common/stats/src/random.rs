//! A random number generator whose sequence never changes: Sebastiano Vigna's splitmix64 (public domain, prng.di.unimi.it). Implemented
//! here because a crate may change its sequence in a release, and a run must be reproducible from its seed.

#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns an independent sequence for each `stream` of one seed.
    pub fn of_stream(seed: u64, stream: u64) -> Self {
        Self(Self(Self(seed).next() ^ stream).next())
    }

    /// Returns a normal value with mean 0 and standard deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Returns a lognormal time in nanoseconds with a median of 1 ms.
    pub fn latency_ns(&mut self, sigma: f64) -> u64 {
        (1e6 * (sigma * self.normal()).exp()).round() as u64
    }

    // Not an iterator, because the sequence is infinite.
    #[expect(clippy::should_implement_trait, reason = "an iterator would need an Option that is never None")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to `bound - 1`: the high half of the product, with a bias below bound ÷ 2⁶⁴.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a number greater than 0 and at most 1, so that its logarithm is finite.
    pub fn unit(&mut self) -> f64 {
        // An f64 represents 53 bits exactly.
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_matches_the_reference_implementation() {
        // From the reference implementation with seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn units_are_uniform_between_0_and_1() {
        let mut random = SplitMix64::new(7);
        let units: Vec<f64> = (0..100_000).map(|_| random.unit()).collect();
        assert!(units.iter().all(|unit| *unit > 0.0 && *unit <= 1.0));
        let mean = units.iter().sum::<f64>() / units.len() as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
    }
}
