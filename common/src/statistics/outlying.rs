//! Which agents measure something else than the others: a slow machine, a long way to the database, or costlier hosts.

use super::{Confidence, order};
use crate::latency::{self, Percentile, Sorted};

/// Fewer agents have no "others" to compare with.
const AGENTS_MIN: usize = 3;
/// Of an agent; fewer say too little of its median.
const COUNT_MIN: usize = 30;
/// How often a run of agents that are all alike may name one of them.
const FALSE_ALARMS_MAX: f64 = 0.01;
/// A difference that a person would act on. Hosts differ, too, and each agent has its own.
const RATIO_MIN: f64 = 1.25;
/// Iglewicz and Hoaglin, *How to Detect and Handle Outliers* (1993): the modified z-score above which a value is an outlier.
const MODIFIED_Z_MAX: f64 = 3.5;
/// The median absolute deviation of a normal distribution, in its standard deviations.
const MAD_OF_NORMAL: f64 = 0.6745;

/// An agent whose median is not that of the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// In the list that was given.
    pub agent: usize,
    pub median_ns: u64,
    /// The median of the other agents' medians.
    pub others_median_ns: u64,
}

impl Outlier {
    /// Above 1: slower.
    pub fn ratio(&self) -> f64 {
        self.median_ns as f64 / self.others_median_ns as f64
    }
}

/// The agents, each given by its workers' samples, whose median differs from those of the others by all of this:
///
/// - more than its own noise: the interval for its median lies beside those of more than half of the others. The intervals are so wide
///   that among agents that are alike one misses in 1 % of all runs at most (order statistics, Bonferroni over the agents);
/// - more than agents differ anyway: by a modified z-score above 3.5, from the median absolute deviation of all (Iglewicz and
///   Hoaglin 1993), which a few odd agents among many do not widen;
/// - enough to matter: 1.25 times or more.
///
/// Agents with fewer than 30 samples are neither named nor compared with; below three agents nobody is named.
pub fn outlying(agents: &[Vec<&Sorted>]) -> Vec<Outlier> {
    let counted = agents.iter().filter(|parts| latency::count(parts) >= COUNT_MIN).count();
    let of_each = Confidence::try_new(1.0 - FALSE_ALARMS_MAX).map(|all| all.of_each(counted));
    let Ok(confidence) = of_each else { return Vec::new() };
    let medians: Vec<Median> =
        agents.iter().enumerate().filter_map(|(agent, parts)| Median::of(agent, parts, confidence)).collect();
    if medians.len() < AGENTS_MIN {
        return Vec::new();
    }
    medians.iter().filter_map(|median| median.outlier(&medians)).collect()
}

/// The median of an agent and where it lies but for noise.
struct Median {
    agent: usize,
    median_ns: u64,
    interval_ns: [u64; 2],
}

impl Median {
    fn of(agent: usize, parts: &[&Sorted], confidence: Confidence) -> Option<Self> {
        let count = latency::count(parts);
        if count < COUNT_MIN {
            return None;
        }
        let (low, high) = order::enclosing_ranks(count, Percentile::P50, confidence)?;
        let at = |rank| latency::at_rank(parts, rank);
        Some(Self { agent, median_ns: at(count.div_ceil(2))?, interval_ns: [at(low)?, at(high)?] })
    }

    fn outlier(&self, all: &[Self]) -> Option<Outlier> {
        let others: Vec<&Self> = all.iter().filter(|other| other.agent != self.agent).collect();
        let apart = others.iter().filter(|other| self.is_apart_from(other)).count();
        if apart * 2 <= others.len() {
            return None;
        }
        // Ratios rather than differences: twice as slow is as odd as twice as fast.
        let mut logarithms: Vec<f64> = all.iter().map(|agent| ln(agent.median_ns)).collect();
        let centre = median(&mut logarithms);
        let mut deviations: Vec<f64> = logarithms.iter().map(|agent| (agent - centre).abs()).collect();
        let deviation = (ln(self.median_ns) - centre).abs();
        let is_odd = MAD_OF_NORMAL * deviation > MODIFIED_Z_MAX * median(&mut deviations);
        let mut others: Vec<f64> = others.iter().map(|other| ln(other.median_ns)).collect();
        let others_median = median(&mut others);
        let matters = (ln(self.median_ns) - others_median).abs() >= RATIO_MIN.ln();
        (is_odd && matters).then(|| Outlier {
            agent: self.agent,
            median_ns: self.median_ns,
            others_median_ns: others_median.exp().round() as u64,
        })
    }

    fn is_apart_from(&self, other: &Self) -> bool {
        let ([low, high], [other_low, other_high]) = (self.interval_ns, other.interval_ns);
        low > other_high || high < other_low
    }
}

/// A query takes more than no time; a clock may think otherwise.
fn ln(ns: u64) -> f64 {
    (ns.max(1) as f64).ln()
}

/// Of at least one value; between the two middle ones of an even number.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { values[middle - 1].midpoint(values[middle]) } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Samples;
    use crate::statistics::random::Random;

    /// So many samples, lognormal about `scale` ms.
    fn agent(random: &mut Random, count: usize, scale: f64, sigma: f64) -> Vec<Sorted> {
        let mut samples = Samples::default();
        (0..count).for_each(|_| samples.push((random.latency_ns(sigma) as f64 * scale) as u64));
        vec![samples.into_sorted()]
    }

    fn named(agents: &[Vec<Sorted>]) -> Vec<usize> {
        let agents: Vec<Vec<&Sorted>> = agents.iter().map(|parts| parts.iter().collect()).collect();
        outlying(&agents).iter().map(|outlier| outlier.agent).collect()
    }

    fn fleet(random: &mut Random, scales: &[f64], count: usize, sigma: f64) -> Vec<Vec<Sorted>> {
        scales.iter().map(|scale| agent(random, count, *scale, sigma)).collect()
    }

    /// Of a thousand runs each. All alike: noise alone, with narrow and with wide latencies, few agents and many, few samples and many.
    #[test]
    fn agents_that_are_alike_are_not_named() {
        for (agents, count, sigma) in
            [(3, 30, 1.0), (3, 200, 0.5), (4, 50, 2.0), (10, 30, 1.0), (10, 100, 0.5), (30, 30, 1.5)]
        {
            let mut random = Random::new(agents as u64 * 1_000 + count as u64);
            let alarms = (0..1_000)
                .filter(|_| !named(&fleet(&mut random, &vec![1.0; agents], count, sigma)).is_empty())
                .count();
            assert!(alarms <= 10, "{agents} agents of {count} samples, sigma {sigma}: {alarms} of 1,000");
        }
    }

    /// Each agent has its own hosts, and hosts cost what they cost: here agents differ by 5 % (standard deviation), their noise apart.
    #[test]
    fn agents_whose_hosts_differ_a_little_are_not_named() {
        for agents in [3, 4, 10, 30] {
            let mut random = Random::new(agents as u64);
            let alarms = (0..1_000).filter(|_| {
                let scales: Vec<f64> = (0..agents).map(|_| (0.05 * random.normal()).exp()).collect();
                !named(&fleet(&mut random, &scales, 100, 0.5)).is_empty()
            });
            let alarms = alarms.count();
            assert!(alarms <= 10, "{agents} agents: {alarms} of 1,000");
        }
    }

    #[test]
    fn a_slow_agent_and_a_fast_one_are_named() {
        let mut random = Random::new(7);
        for (scales, expected) in [
            (vec![1.0, 2.0, 1.0], vec![1]),
            (vec![1.0, 1.0, 0.5, 1.0, 1.0], vec![2]),
            (vec![1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0], vec![3, 6]),
        ] {
            assert_eq!(named(&fleet(&mut random, &scales, 1_000, 0.5)), expected, "{scales:?}");
        }
    }

    #[test]
    fn what_is_named_is_told_with_the_others() {
        let mut random = Random::new(8);
        let agents = fleet(&mut random, &[1.0, 1.0, 1.0, 2.0], 4_000, 0.3);
        let agents: Vec<Vec<&Sorted>> = agents.iter().map(|parts| parts.iter().collect()).collect();
        let [outlier] = outlying(&agents)[..] else { panic!("one is named") };
        assert!((1.95..2.05).contains(&outlier.ratio()), "{outlier:?}");
        assert!((980_000..1_020_000).contains(&outlier.others_median_ns), "{outlier:?}");
    }

    #[test]
    fn half_against_half_is_no_outlier() {
        let mut random = Random::new(9);
        let scales = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0];
        assert_eq!(named(&fleet(&mut random, &scales, 1_000, 0.3)), Vec::<usize>::new());
    }

    #[test]
    fn a_sure_difference_that_does_not_matter_is_not_named() {
        let mut random = Random::new(10);
        let scales = [1.0, 1.0, 1.0, 1.15, 1.0];
        assert_eq!(named(&fleet(&mut random, &scales, 5_000, 0.2)), Vec::<usize>::new());
    }

    #[test]
    fn two_agents_and_too_few_samples_say_nothing() {
        let mut random = Random::new(11);
        assert_eq!(named(&fleet(&mut random, &[1.0, 9.0], 1_000, 0.2)), Vec::<usize>::new());
        assert_eq!(named(&fleet(&mut random, &[1.0, 1.0, 9.0], 29, 0.2)), Vec::<usize>::new());
        assert_eq!(named(&[]), Vec::<usize>::new());
    }

    /// An idle agent beside three that worked.
    #[test]
    fn an_agent_without_samples_is_passed_over() {
        let mut random = Random::new(12);
        let mut agents = fleet(&mut random, &[1.0, 1.0, 2.0], 1_000, 0.2);
        agents.insert(0, Vec::new());
        assert_eq!(named(&agents), [3]);
    }
}
