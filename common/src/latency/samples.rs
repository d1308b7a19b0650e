//! Times as they are kept: in runs of 65,536, each sorted by itself where it lies. A run and the copy that a radix sort needs of it fit
//! into a processor's own cache, and no sorted whole is needed: a percentile is found by halving, over however many runs
//! (docs/PERFORMANCE.md, "Percentiles"). A sample takes four bytes, and eight more if it is of 4.29 s or above.

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

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Run {
    /// `LONG` stands where a long one is.
    short_ns: Vec<u32>,
    /// Of `LONG` or above, in the same order.
    long_ns: Vec<u64>,
}

const LONG: u32 = u32::MAX;

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

    pub(super) fn at_or_below(&self, value_ns: u64) -> usize {
        self.runs.iter().map(|run| run.at_or_below(value_ns)).sum()
    }

    pub(super) fn sum(&self) -> u128 {
        self.runs.iter().map(Run::sum).sum()
    }

    /// Of all pairs of a sample and one of `others`, which ascend: twice those in which the other one is larger, and those with equal ones.
    pub(super) fn smaller_twice(&self, others_ns: &[u64]) -> u64 {
        self.runs.iter().map(|run| run.smaller_twice(others_ns)).sum()
    }

    /// One run after the other.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(Run::iter)
    }
}

/// Those that ask for an order are about a sorted run, whose long values come last.
impl Run {
    fn with_capacity(count: usize) -> Self {
        Self { short_ns: Vec::with_capacity(count), long_ns: Vec::new() }
    }

    fn len(&self) -> usize {
        self.short_ns.len()
    }

    fn push(&mut self, value_ns: u64) {
        let short_ns = u32::try_from(value_ns).unwrap_or(LONG);
        self.short_ns.push(short_ns);
        if short_ns == LONG {
            self.long_ns.push(value_ns);
        }
    }

    fn sort(&mut self) {
        radsort::sort(&mut self.short_ns);
        radsort::sort(&mut self.long_ns);
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        let mut long_ns = self.long_ns.iter().copied();
        self.short_ns.iter().map(move |short_ns| match *short_ns {
            LONG => long_ns.next().expect("one for each mark"),
            short_ns => short_ns.into(),
        })
    }

    /// The short ones' sum is below 2^48, and adding 128 bits for each of them would take several times as long.
    fn sum(&self) -> u128 {
        let with_marks: u64 = self.short_ns.iter().copied().map(u64::from).sum();
        let marks = u64::from(LONG) * self.long_ns.len() as u64;
        u128::from(with_marks - marks) + self.long_ns.iter().copied().map(u128::from).sum::<u128>()
    }

    fn ends(&self) -> Option<(u64, u64)> {
        let short_ns = &self.short_ns[..self.len() - self.long_ns.len()];
        let first = short_ns.first().copied().map(u64::from).or(self.long_ns.first().copied())?;
        let last = self.long_ns.last().copied().or(short_ns.last().copied().map(u64::from))?;
        Some((first, last))
    }

    fn at_or_below(&self, value_ns: u64) -> usize {
        match u32::try_from(value_ns) {
            Ok(value_ns) if value_ns < LONG => self.short_ns.partition_point(|ns| *ns <= value_ns),
            _ => self.len() - self.long_ns.len() + self.long_ns.partition_point(|ns| *ns <= value_ns),
        }
    }

    fn smaller_twice(&self, others_ns: &[u64]) -> u64 {
        let (mut below, mut up_to, mut twice) = (0, 0, 0);
        for other_ns in others_ns {
            below = self.skip(below, |ns| ns < *other_ns);
            up_to = self.skip(up_to.max(below), |ns| ns <= *other_ns);
            twice += (below + up_to) as u64;
        }
        twice
    }

    /// The first position from `at` on whose value is not `before`, in steps that double: what is searched for is often near.
    fn skip(&self, mut at: usize, before: impl Fn(u64) -> bool) -> usize {
        let mut step = 1;
        while at + step <= self.len() && before(self.value(at + step - 1)) {
            at += step;
            step *= 2;
        }
        let mut end = (at + step - 1).min(self.len());
        while at < end {
            let middle = at.midpoint(end);
            if before(self.value(middle)) {
                at = middle + 1;
            } else {
                end = middle;
            }
        }
        at
    }

    fn value(&self, at: usize) -> u64 {
        match self.short_ns[at] {
            LONG => self.long_ns[at + self.long_ns.len() - self.len()],
            short_ns => short_ns.into(),
        }
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
        let have_long = sorted.runs.iter().map(|run| !run.long_ns.is_empty());
        assert!(have_long.eq([false, true, false, false]));
        values.sort_unstable();
        for index in (0..values.len()).step_by(997).chain([0, values.len() - 1]) {
            assert_eq!(at_rank(&[&sorted], index + 1), Some(values[index]), "index {index}");
            let up_to = values.partition_point(|value| *value <= values[index]);
            assert_eq!(sorted.at_or_below(values[index]), up_to, "index {index}");
        }
        assert_eq!(at_rank(&[&sorted], values.len() + 1), None);
    }

    #[test]
    fn pairs_are_counted_as_by_comparing_each() {
        let mut random = SplitMix64::new(2);
        let mut values = |count: usize, bound: u64| -> Vec<u64> {
            let value = |_| random.below(bound) * if random.below(4) == 0 { 1 << 30 } else { 1 };
            (0..count).map(value).collect()
        };
        for (few, many, bound) in
            [(0, 5, 9), (5, 0, 9), (1, 300, 40), (300, 1, 40), (200, 300, 40), (7, 5_000, 1 << 20)]
        {
            let (mut others, own) = (values(few, bound), values(many, bound));
            others.sort_unstable();
            let twice = |own: &u64| {
                others.iter().map(|other| u64::from(other > own) + u64::from(other >= own)).sum::<u64>()
            };
            let expected: u64 = own.iter().map(twice).sum();
            assert_eq!(samples(&own).into_sorted().smaller_twice(&others), expected, "{few} {many}");
        }
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
    fn the_bound_of_short_times_is_kept_exactly() {
        let long = u64::from(LONG);
        let around = [long, long + 1, 0, long - 1];
        for values in [&around[..1], &around[..2], &around[2..], &around] {
            let sorted = samples(values).into_sorted();
            assert_eq!(sorted.ends(), Some((*values.iter().min().unwrap(), *values.iter().max().unwrap())));
            assert_eq!(sorted.sum(), values.iter().copied().map(u128::from).sum());
            for bound in [0, 1, long - 2, long - 1, long, long + 1, u64::MAX] {
                let expected = values.iter().filter(|value| **value <= bound).count();
                assert_eq!(sorted.at_or_below(bound), expected, "{values:?} {bound}");
            }
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
