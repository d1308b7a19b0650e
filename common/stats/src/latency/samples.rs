//! Storage for latencies: chunks of 65,536 values, each sorted in place. A chunk and the copy that a radix sort needs fit into the cache of
//! a processor core, and no sorted whole is needed, because a percentile is found by bisection over any number of chunks
//! (docs/internals/performance.md, "Percentiles"). A sample takes four bytes, and eight more if it is 4.29 s or longer.

/// Number of samples in every chunk except the last.
const CHUNK_LEN: usize = 1 << 16;

/// Times in nanoseconds, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Samples {
    /// Full chunks of `CHUNK_LEN` samples each.
    full: Vec<Chunk>,
    last: Chunk,
}

/// The same times with each chunk sorted, ready for queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted {
    /// Each is in ascending order.
    chunks: Vec<Chunk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Chunk {
    /// One entry per sample; `LONG` marks a value that is in `long_ns`.
    short_ns: Vec<u32>,
    /// Values of `LONG` or above, in the same order.
    long_ns: Vec<u64>,
}

const LONG: u32 = u32::MAX;

impl Samples {
    /// Allocates for a known number of samples: growing by doubling would briefly hold the old and the new buffer.
    pub fn with_capacity(count: usize) -> Self {
        Self { full: Vec::with_capacity(count / CHUNK_LEN), last: Chunk::with_capacity(count.min(CHUNK_LEN)) }
    }

    pub fn push(&mut self, value_ns: u64) {
        if self.last.len() == CHUNK_LEN {
            self.full.push(std::mem::replace(&mut self.last, Chunk::with_capacity(CHUNK_LEN)));
        }
        self.last.push(value_ns);
    }

    pub fn len(&self) -> usize {
        self.full.len() * CHUNK_LEN + self.last.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds each value to the one of `other` at the same position: response time = service time + lag. As long as the shorter of the two.
    pub fn plus(&self, other: &Self) -> Self {
        let mut sums = Self::with_capacity(self.len().min(other.len()));
        for (chunk, other_chunk) in self.chunks().zip(other.chunks()) {
            chunk.iter().zip(other_chunk.iter()).for_each(|(a, b)| sums.push(a.saturating_add(b)));
        }
        sums
    }

    /// Sorts in place, because a second copy of 10 million samples would take another 40 MB.
    pub fn into_sorted(self) -> Sorted {
        let Self { full: mut chunks, last } = self;
        chunks.push(last);
        chunks.iter_mut().for_each(Chunk::sort);
        Sorted { chunks }
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.full.iter().chain([&self.last])
    }
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// Returns the least and the greatest value.
    pub(super) fn min_max(&self) -> Option<(u64, u64)> {
        let of_chunks = || self.chunks.iter().filter_map(Chunk::min_max);
        Some((of_chunks().map(|(min_ns, _)| min_ns).min()?, of_chunks().map(|(_, max_ns)| max_ns).max()?))
    }

    pub(super) fn at_or_below(&self, value_ns: u64) -> usize {
        self.chunks.iter().map(|chunk| chunk.at_or_below(value_ns)).sum()
    }

    pub(super) fn sum(&self) -> u128 {
        self.chunks.iter().map(Chunk::sum).sum()
    }

    /// Returns twice the Mann-Whitney U statistic, an integer even with ties: the number of pairs of a sample and a value of `others_ns`
    /// (ascending) in which the other value is larger, plus those in which it is larger or equal.
    pub(super) fn mann_whitney_u_twice(&self, others_ns: &[u64]) -> u64 {
        self.chunks.iter().map(|chunk| chunk.mann_whitney_u_twice(others_ns)).sum()
    }

    /// Iterates over one chunk after the other.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.chunks.iter().flat_map(Chunk::iter)
    }
}

/// Methods that depend on an order require a sorted chunk, in which long values come last.
impl Chunk {
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
            LONG => long_ns.next().expect("each mark has a long value"),
            short_ns => short_ns.into(),
        })
    }

    /// The sum of the short values is below 2^48; adding them as 128-bit integers would take several times as long.
    fn sum(&self) -> u128 {
        let with_marks: u64 = self.short_ns.iter().copied().map(u64::from).sum();
        let marks = u64::from(LONG) * self.long_ns.len() as u64;
        u128::from(with_marks - marks) + self.long_ns.iter().copied().map(u128::from).sum::<u128>()
    }

    fn min_max(&self) -> Option<(u64, u64)> {
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

    fn mann_whitney_u_twice(&self, others_ns: &[u64]) -> u64 {
        let (mut below, mut up_to, mut twice) = (0, 0, 0);
        for other_ns in others_ns {
            below = self.skip(below, |ns| ns < *other_ns);
            up_to = self.skip(up_to.max(below), |ns| ns <= *other_ns);
            twice += (below + up_to) as u64;
        }
        twice
    }

    /// Returns the first position at or after `at` whose value is not `before`. Searches in doubling steps, because it is usually near.
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
    use crate::latency::parts::at_rank;
    use crate::random::SplitMix64;

    fn samples(values_ns: &[u64]) -> Samples {
        let mut samples = Samples::default();
        values_ns.iter().for_each(|value_ns| samples.push(*value_ns));
        samples
    }

    /// Some chunks have only short times, one also has long ones, and the last is not full.
    fn mixed() -> Vec<u64> {
        let mut random = SplitMix64::new(1);
        let count = 3 * CHUNK_LEN + CHUNK_LEN / 2;
        let value = |at: usize| match at / CHUNK_LEN {
            1 => random.below(1 << 34),
            _ => random.below(1 << 22),
        };
        (0..count).map(value).collect()
    }

    #[test]
    fn every_rank_over_several_chunks_equals_that_of_one_sort() {
        let mut values = mixed();
        let sorted = samples(&values).into_sorted();
        assert_eq!(sorted.chunks.len(), 4);
        assert_eq!(sorted.sum(), values.iter().copied().map(u128::from).sum());
        let have_long = sorted.chunks.iter().map(|chunk| !chunk.long_ns.is_empty());
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
    fn the_u_statistic_equals_that_of_comparing_every_pair() {
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
            assert_eq!(samples(&own).into_sorted().mann_whitney_u_twice(&others), expected, "{few} {many}");
        }
    }

    #[test]
    fn plus_adds_values_at_the_same_position_over_several_chunks() {
        let values = mixed();
        let doubled: Vec<u64> = values.iter().map(|value| 2 * value).collect();
        let all = samples(&values);
        assert_eq!(all.plus(&all), samples(&doubled));
        let few = samples(&values[..CHUNK_LEN + 5]);
        assert_eq!(all.plus(&few), samples(&doubled[..CHUNK_LEN + 5]));
    }

    #[test]
    fn values_around_the_limit_of_short_times_are_exact() {
        let long = u64::from(LONG);
        let around = [long, long + 1, 0, long - 1];
        for values in [&around[..1], &around[..2], &around[2..], &around] {
            let sorted = samples(values).into_sorted();
            assert_eq!(
                sorted.min_max(),
                Some((*values.iter().min().unwrap(), *values.iter().max().unwrap()))
            );
            assert_eq!(sorted.sum(), values.iter().copied().map(u128::from).sum());
            for bound in [0, 1, long - 2, long - 1, long, long + 1, u64::MAX] {
                let expected = values.iter().filter(|value| **value <= bound).count();
                assert_eq!(sorted.at_or_below(bound), expected, "{values:?} {bound}");
            }
        }
    }

    #[test]
    fn reserved_capacity_does_not_affect_equality() {
        let mut reserved = Samples::with_capacity(100);
        assert_eq!(reserved, Samples::default());
        assert_eq!(reserved.clone().into_sorted().min_max(), None);
        reserved.push(7);
        assert_eq!(reserved, samples(&[7]));
    }
}
