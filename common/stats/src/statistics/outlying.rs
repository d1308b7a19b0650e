//! Finds agents whose latencies differ from the others': because of a slow machine, a distant database, or more expensive hosts.

use super::{Confidence, order};
use crate::latency::parts;
use crate::latency::percentile::Percentile;
use crate::latency::samples::Sorted;

/// Minimum number of agents for a comparison with the others.
const AGENTS_MIN: usize = 3;
/// Minimum number of samples of an agent; fewer do not determine its median well enough.
const COUNT_MIN: usize = 30;
/// Maximum probability that an agent is reported although all agents are alike.
const FALSE_ALARMS_MAX: f64 = 0.01;
/// Minimum ratio of medians that is of practical importance. Some difference is normal, because each agent has its own hosts.
const RATIO_MIN: f64 = 1.25;
/// Modified z-score above which a value is an outlier (Iglewicz and Hoaglin, *How to Detect and Handle Outliers*, 1993).
const MODIFIED_Z_MAX: f64 = 3.5;
/// Median absolute deviation of a normal distribution, in standard deviations.
const MAD_OF_NORMAL: f64 = 0.6745;

/// An agent whose median differs from the others'.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// Index in the given list.
    pub agent: usize,
    pub median_ns: u64,
    /// The median of the other agents' medians.
    pub others_median_ns: u64,
}

impl Outlier {
    /// Returns the ratio of the agent's median to the others'; above 1 the agent is slower.
    pub fn ratio(&self) -> f64 {
        self.median_ns as f64 / self.others_median_ns as f64
    }
}

/// Returns the agents, each given as the samples of its workers, whose median differs from the others' by all of these criteria:
///
/// - by more than noise: the confidence interval of its median is disjoint from those of more than half of the others. The intervals are so
///   wide that, if all agents are alike, at most 1 % of runs have one that misses (order statistics, Bonferroni over the agents);
/// - by more than agents usually differ: its modified z-score, from the median absolute deviation of all medians, is above 3.5 (Iglewicz
///   and Hoaglin 1993); a few outliers among many agents do not increase that deviation;
/// - by a factor of practical importance: 1.25 or more.
///
/// Agents with fewer than 30 samples are ignored. With fewer than three agents the result is empty.
pub fn outlying(agents: &[Vec<&Sorted>]) -> Vec<Outlier> {
    let counted = agents.iter().filter(|parts| parts::count(parts) >= COUNT_MIN).count();
    let each = Confidence::try_new(1.0 - FALSE_ALARMS_MAX).map(|all| all.bonferroni(counted));
    let Ok(confidence) = each else { return Vec::new() };
    let medians: Vec<Median> =
        agents.iter().enumerate().filter_map(|(agent, parts)| Median::of(agent, parts, confidence)).collect();
    if medians.len() < AGENTS_MIN {
        return Vec::new();
    }
    medians.iter().filter_map(|median| median.outlier(&medians)).collect()
}

/// The median of an agent and its confidence interval.
struct Median {
    agent: usize,
    median_ns: u64,
    interval_ns: [u64; 2],
}

impl Median {
    fn of(agent: usize, parts: &[&Sorted], confidence: Confidence) -> Option<Self> {
        let count = parts::count(parts);
        if count < COUNT_MIN {
            return None;
        }
        let (low, high) = order::enclosing_ranks(count, Percentile::P50, confidence)?;
        let at = |rank| parts::at_rank(parts, rank);
        Some(Self { agent, median_ns: at(count.div_ceil(2))?, interval_ns: [at(low)?, at(high)?] })
    }

    fn outlier(&self, all: &[Self]) -> Option<Outlier> {
        let others: Vec<&Self> = all.iter().filter(|other| other.agent != self.agent).collect();
        let disjoint = others.iter().filter(|other| self.is_disjoint_from(other)).count();
        if disjoint * 2 <= others.len() {
            return None;
        }
        // Logarithms make ratios symmetric: twice as slow deviates as much as twice as fast.
        let mut logarithms: Vec<f64> = all.iter().map(|agent| ln(agent.median_ns)).collect();
        let centre = median(&mut logarithms);
        let mut deviations: Vec<f64> = logarithms.iter().map(|agent| (agent - centre).abs()).collect();
        let deviation = (ln(self.median_ns) - centre).abs();
        let is_outlier = MAD_OF_NORMAL * deviation > MODIFIED_Z_MAX * median(&mut deviations);
        let mut others: Vec<f64> = others.iter().map(|other| ln(other.median_ns)).collect();
        let others_median = median(&mut others);
        let matters = (ln(self.median_ns) - others_median).abs() >= RATIO_MIN.ln();
        (is_outlier && matters).then(|| Outlier {
            agent: self.agent,
            median_ns: self.median_ns,
            others_median_ns: others_median.exp().round() as u64,
        })
    }

    fn is_disjoint_from(&self, other: &Self) -> bool {
        let ([low, high], [other_low, other_high]) = (self.interval_ns, other.interval_ns);
        low > other_high || high < other_low
    }
}

/// A query takes more than 0 ns, but a coarse clock may measure 0.
fn ln(ns: u64) -> f64 {
    (ns.max(1) as f64).ln()
}

/// Returns the median of at least one value; for an even number, the mean of the two middle ones.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { values[middle - 1].midpoint(values[middle]) } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::samples::Samples;
    use crate::random::SplitMix64;

    /// An agent with `count` samples from a lognormal distribution with a median of `scale` ms.
    fn agent(random: &mut SplitMix64, count: usize, scale: f64, sigma: f64) -> Vec<Sorted> {
        let mut samples = Samples::default();
        (0..count).for_each(|_| samples.push((random.latency_ns(sigma) as f64 * scale) as u64));
        vec![samples.into_sorted()]
    }

    fn outliers(agents: &[Vec<Sorted>]) -> Vec<usize> {
        let agents: Vec<Vec<&Sorted>> = agents.iter().map(|parts| parts.iter().collect()).collect();
        outlying(&agents).iter().map(|outlier| outlier.agent).collect()
    }

    fn fleet(random: &mut SplitMix64, scales: &[f64], count: usize, sigma: f64) -> Vec<Vec<Sorted>> {
        scales.iter().map(|scale| agent(random, count, *scale, sigma)).collect()
    }

    /// Runs each case 1,000 times with agents that differ only by noise: narrow and wide latencies, few and many agents, few and many
    /// samples.
    #[test]
    fn agents_that_are_alike_are_not_reported() {
        for (agents, count, sigma) in
            [(3, 30, 1.0), (3, 200, 0.5), (4, 50, 2.0), (10, 30, 1.0), (10, 100, 0.5), (30, 30, 1.5)]
        {
            let mut random = SplitMix64::new(agents as u64 * 1_000 + count as u64);
            let alarms = (0..1_000)
                .filter(|_| !outliers(&fleet(&mut random, &vec![1.0; agents], count, sigma)).is_empty())
                .count();
            assert!(alarms <= 10, "{agents} agents of {count} samples, sigma {sigma}: {alarms} of 1,000");
        }
    }

    /// Each agent has its own hosts, whose queries differ in cost. Here the agents differ by a standard deviation of 5 % in addition to
    /// noise.
    #[test]
    fn agents_whose_hosts_differ_a_little_are_not_reported() {
        for agents in [3, 4, 10, 30] {
            let mut random = SplitMix64::new(agents as u64);
            let alarms = (0..1_000).filter(|_| {
                let scales: Vec<f64> = (0..agents).map(|_| (0.05 * random.normal()).exp()).collect();
                !outliers(&fleet(&mut random, &scales, 100, 0.5)).is_empty()
            });
            let alarms = alarms.count();
            assert!(alarms <= 10, "{agents} agents: {alarms} of 1,000");
        }
    }

    #[test]
    fn slow_and_fast_agents_are_reported() {
        let mut random = SplitMix64::new(7);
        for (scales, expected) in [
            (vec![1.0, 2.0, 1.0], vec![1]),
            (vec![1.0, 1.0, 0.5, 1.0, 1.0], vec![2]),
            (vec![1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0], vec![3, 6]),
        ] {
            assert_eq!(outliers(&fleet(&mut random, &scales, 1_000, 0.5)), expected, "{scales:?}");
        }
    }

    #[test]
    fn an_outlier_is_reported_with_the_median_of_the_others() {
        let mut random = SplitMix64::new(8);
        let agents = fleet(&mut random, &[1.0, 1.0, 1.0, 2.0], 4_000, 0.3);
        let agents: Vec<Vec<&Sorted>> = agents.iter().map(|parts| parts.iter().collect()).collect();
        let [outlier] = outlying(&agents)[..] else { panic!("expected one outlier") };
        assert!((1.95..2.05).contains(&outlier.ratio()), "{outlier:?}");
        assert!((980_000..1_020_000).contains(&outlier.others_median_ns), "{outlier:?}");
    }

    #[test]
    fn two_equal_groups_have_no_outlier() {
        let mut random = SplitMix64::new(9);
        let scales = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0];
        assert_eq!(outliers(&fleet(&mut random, &scales, 1_000, 0.3)), Vec::<usize>::new());
    }

    #[test]
    fn a_significant_difference_that_does_not_matter_is_not_reported() {
        let mut random = SplitMix64::new(10);
        let scales = [1.0, 1.0, 1.0, 1.15, 1.0];
        assert_eq!(outliers(&fleet(&mut random, &scales, 5_000, 0.2)), Vec::<usize>::new());
    }

    #[test]
    fn two_agents_or_too_few_samples_give_no_outliers() {
        let mut random = SplitMix64::new(11);
        assert_eq!(outliers(&fleet(&mut random, &[1.0, 9.0], 1_000, 0.2)), Vec::<usize>::new());
        assert_eq!(outliers(&fleet(&mut random, &[1.0, 1.0, 9.0], 29, 0.2)), Vec::<usize>::new());
        assert_eq!(outliers(&[]), Vec::<usize>::new());
    }

    /// One agent is idle and three have work.
    #[test]
    fn an_agent_without_samples_is_ignored() {
        let mut random = SplitMix64::new(12);
        let mut agents = fleet(&mut random, &[1.0, 1.0, 2.0], 1_000, 0.2);
        agents.insert(0, Vec::new());
        assert_eq!(outliers(&agents), [3]);
    }
}
