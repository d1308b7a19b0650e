//! Times as they are kept: in runs of 65,536, each sorted by itself where it lies. A run and the copy that a radix sort needs of it fit
//! into a processor's own cache, and no sorted whole is needed: a percentile is found by halving, over however many runs
//! (docs/PERFORMANCE.md, "Percentiles"). A run takes four bytes a sample, and eight once one of them is above 4.29 s.

/// How many samples a run has, but for the last.
const RUN_LEN: usize = 1 << 16;

/// Times in nanoseconds, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Samples {
    /// Of `RUN_LEN` each.
    full: Vec<Run>,
    last: Run,
}

/// The same times, ready to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted {
    /// Each in ascending order.
    runs: Vec<Run>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

impl Samples {
    /// For a known number of samples: growing by doubling holds old and new together for a moment.
    pub fn with_capacity(count: usize) -> Self {
        Self { full: Vec::with_capacity(count / RUN_LEN), last: Run::with_capacity(count.min(RUN_LEN)) }
    }

    pub fn push(&mut self, value_ns: u64) {
        if self.last.len() == RUN_LEN {
            self.full.push(std::mem::replace(&mut self.last, Run::with_capacity(RUN_LEN)));
        }
        self.last.push(value_ns);
    }

    pub fn len(&self) -> usize {
        self.full.len() * RUN_LEN + self.last.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each value with the one of `other` that stands beside it: response time is service time and lag. As long as the shorter of both.
    pub fn plus(&self, other: &Self) -> Self {
        let mut sums = Self::with_capacity(self.len().min(other.len()));
        for (run, beside) in self.runs().zip(other.runs()) {
            run.iter().zip(beside.iter()).for_each(|(a, b)| sums.push(a.saturating_add(b)));
        }
        sums
    }

    /// Sorts in place: a second copy of 10 million samples would cost another 40 MB.
    pub fn into_sorted(self) -> Sorted {
        let Self { full: mut runs, last } = self;
        runs.push(last);
        runs.iter_mut().for_each(Run::sort);
        Sorted { runs }
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.full.iter().chain([&self.last])
    }
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(Run::len).sum()
    }

    /// The least and the greatest.
    pub(super) fn ends(&self) -> Option<(u64, u64)> {
        let ends = || self.runs.iter().filter_map(Run::ends);
        Some((ends().map(|(min_ns, _)| min_ns).min()?, ends().map(|(_, max_ns)| max_ns).max()?))
    }

    pub(super) fn below(&self, value_ns: u64) -> usize {
        value_ns.checked_sub(1).map_or(0, |value_ns| self.at_or_below(value_ns))
    }

    pub(super) fn at_or_below(&self, value_ns: u64) -> usize {
        self.runs.iter().map(|run| run.at_or_below(value_ns)).sum()
    }

    pub(super) fn sum(&self) -> u128 {
        self.runs.iter().map(Run::sum).sum()
    }

    /// One run after the other.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(Run::iter)
    }
}

impl Run {
    fn with_capacity(count: usize) -> Self {
        Self::Narrow(Vec::with_capacity(count))
    }

    fn len(&self) -> usize {
        match self {
            Self::Narrow(values_ns) => values_ns.len(),
            Self::Wide(values_ns) => values_ns.len(),
        }
    }

    fn push(&mut self, value_ns: u64) {
        match self {
            Self::Wide(values_ns) => values_ns.push(value_ns),
            Self::Narrow(values_ns) => match u32::try_from(value_ns) {
                Ok(value_ns) => values_ns.push(value_ns),
                Err(_) => *self = Self::Wide(self.iter().chain([value_ns]).collect()),
            },
        }
    }

    fn sort(&mut self) {
        match self {
            Self::Narrow(values_ns) => radsort::sort(values_ns),
            Self::Wide(values_ns) => radsort::sort(values_ns),
        }
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        let (narrow, wide): (&[u32], &[u64]) = match self {
            Self::Narrow(values_ns) => (values_ns, &[]),
            Self::Wide(values_ns) => (&[], values_ns),
        };
        narrow.iter().copied().map(u64::from).chain(wide.iter().copied())
    }

    /// A narrow run's sum is below 2^48, and adding 128 bits for each value would take several times as long.
    fn sum(&self) -> u128 {
        match self {
            Self::Narrow(values_ns) => values_ns.iter().copied().map(u64::from).sum::<u64>().into(),
            Self::Wide(values_ns) => values_ns.iter().copied().map(u128::from).sum(),
        }
    }

    /// Of a sorted run.
    fn ends(&self) -> Option<(u64, u64)> {
        match self {
            Self::Narrow(values_ns) => Some(((*values_ns.first()?).into(), (*values_ns.last()?).into())),
            Self::Wide(values_ns) => Some((*values_ns.first()?, *values_ns.last()?)),
        }
    }

    /// Of a sorted run.
    fn at_or_below(&self, value_ns: u64) -> usize {
        match self {
            Self::Wide(values_ns) => values_ns.partition_point(|ns| *ns <= value_ns),
            Self::Narrow(values_ns) => match u32::try_from(value_ns) {
                Ok(value_ns) => values_ns.partition_point(|ns| *ns <= value_ns),
                Err(_) => values_ns.len(),
            },
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::at_rank;
    use crate::random::SplitMix64;

    fn samples(values_ns: &[u64]) -> Samples {
        let mut samples = Samples::default();
        values_ns.iter().for_each(|value_ns| samples.push(*value_ns));
        samples
    }

    /// Some runs have only short times, some long ones too, and the last is not full.
    fn mixed() -> Vec<u64> {
        let mut random = SplitMix64::new(1);
        let count = 3 * RUN_LEN + RUN_LEN / 2;
        let value = |at: usize| match at / RUN_LEN {
            1 => random.below(1 << 34),
            _ => random.below(1 << 22),
        };
        (0..count).map(value).collect()
    }

    #[test]
    fn every_rank_over_several_runs_is_that_of_one_sort() {
        let mut values = mixed();
        let sorted = samples(&values).into_sorted();
        assert_eq!(sorted.runs.len(), 4);
        assert_eq!(sorted.sum(), values.iter().copied().map(u128::from).sum());
        assert!(matches!(sorted.runs[..], [Run::Narrow(_), Run::Wide(_), Run::Narrow(_), Run::Narrow(_)]));
        values.sort_unstable();
        for index in (0..values.len()).step_by(997).chain([0, values.len() - 1]) {
            assert_eq!(at_rank(&[&sorted], index + 1), Some(values[index]), "index {index}");
            let below = values.partition_point(|value| *value < values[index]);
            assert_eq!(sorted.below(values[index]), below, "index {index}");
        }
        assert_eq!(at_rank(&[&sorted], values.len() + 1), None);
    }

    #[test]
    fn sums_pair_what_arrived_together_over_several_runs() {
        let values = mixed();
        let doubled: Vec<u64> = values.iter().map(|value| 2 * value).collect();
        let all = samples(&values);
        assert_eq!(all.plus(&all), samples(&doubled));
        let few = samples(&values[..RUN_LEN + 5]);
        assert_eq!(all.plus(&few), samples(&doubled[..RUN_LEN + 5]));
    }

    #[test]
    fn the_bound_of_narrow_values_is_kept_exactly() {
        let around = [u64::from(u32::MAX), u64::from(u32::MAX) + 1, 0];
        for values in [&around[..1], &around] {
            let sorted = samples(values).into_sorted();
            assert_eq!(sorted.ends(), Some((*values.iter().min().unwrap(), *values.iter().max().unwrap())));
            assert_eq!(sorted.at_or_below(u64::from(u32::MAX)), values.len().min(2));
            assert_eq!(sorted.at_or_below(u64::from(u32::MAX) + 1), values.len());
        }
    }

    #[test]
    fn room_made_ahead_does_not_count() {
        let mut ahead = Samples::with_capacity(100);
        assert_eq!(ahead, Samples::default());
        assert_eq!(ahead.clone().into_sorted().ends(), None);
        ahead.push(7);
        assert_eq!(ahead, samples(&[7]));
    }
}
