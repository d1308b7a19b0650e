//! Delays that the fake server injects, drawn from known distributions. The same seed gives the same delays on every machine.

use std::f64::consts::TAU;

use muster_stats::random::SplitMix64;

use super::SEED;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Distribution {
    Constant,
    /// One in five is slow.
    Bimodal,
    /// Median 2 ms, sigma 0.6.
    Lognormal,
    /// Bounded Pareto: from 1 to 200 ms, α = 1.5.
    HeavyTail,
}

impl Distribution {
    pub(crate) const ALL: [Self; 4] = [Self::Constant, Self::Bimodal, Self::Lognormal, Self::HeavyTail];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant 3 ms",
            Self::Bimodal => "bimodal: 1.5 ms, one in five 20 ms",
            Self::Lognormal => "lognormal: median 2 ms, σ 0.6",
            Self::HeavyTail => "Pareto: α 1.5, 1 to 200 ms",
        }
    }

    /// Delays in microseconds.
    pub(crate) fn draw(self, count: usize) -> Vec<u64> {
        let mut random = SplitMix64::of_stream(SEED, self as u64);
        (0..count).map(|_| self.one(&mut random)).collect()
    }

    fn one(self, random: &mut SplitMix64) -> u64 {
        match self {
            Self::Constant => 3_000,
            Self::Bimodal if random.below(5) == 0 => 20_000,
            Self::Bimodal => 1_500,
            Self::Lognormal => {
                // Box and Muller 1958.
                let normal = (-2.0 * random.unit().ln()).sqrt() * (TAU * random.unit()).cos();
                (2_000.0 * (0.6 * normal).exp()).round() as u64
            }
            Self::HeavyTail => {
                let (low, high, alpha) = (1_000.0_f64, 200_000.0_f64, 1.5_f64);
                // Inverse transform sampling.
                let rest = 1.0 - random.unit() * (1.0 - (low / high).powf(alpha));
                (low * rest.powf(-1.0 / alpha)).round() as u64
            }
        }
    }
}
