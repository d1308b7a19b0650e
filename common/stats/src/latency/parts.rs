//! Several sorted samples as if they were one, without merging them.

use std::ops::RangeInclusive;

use super::samples::Sorted;

/// Returns the Mann-Whitney U statistic: the number of pairs of a sample of `parts` and a value of `others_ns` (ascending) in which the
/// other value is larger; ties count one half.
pub(crate) fn mann_whitney_u(parts: &[&Sorted], others_ns: &[u64]) -> f64 {
    parts.iter().map(|part| part.mann_whitney_u_twice(others_ns)).sum::<u64>() as f64 / 2.0
}

/// Returns the number of samples in all parts.
pub(crate) fn count(parts: &[&Sorted]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// Returns the sample at a rank, counted from 1, of all parts together; `None` if there is no such rank.
pub(crate) fn at_rank(parts: &[&Sorted], rank: usize) -> Option<u64> {
    let (min_ns, max_ns) = min_max(parts)?;
    let index = rank.checked_sub(1).filter(|index| *index < count(parts))?;
    Some(value_at(parts, index, min_ns..=max_ns))
}

/// Iterates over all samples in no particular order.
pub(crate) fn values(parts: &[&Sorted]) -> impl Iterator<Item = u64> {
    parts.iter().flat_map(|part| part.iter())
}

/// Returns the least and the greatest sample of all parts.
pub(super) fn min_max(parts: &[&Sorted]) -> Option<(u64, u64)> {
    let of_parts = || parts.iter().filter_map(|part| part.min_max());
    Some((of_parts().map(|(min_ns, _)| min_ns).min()?, of_parts().map(|(_, max_ns)| max_ns).max()?))
}

/// Returns the value at `index` of all parts merged into one sorted list: the least value such that more than `index` samples are at or
/// below it. Found by bisecting the range of values; the result is always one of the samples.
pub(super) fn value_at(parts: &[&Sorted], index: usize, range_ns: RangeInclusive<u64>) -> u64 {
    let (mut low, mut high) = range_ns.into_inner();
    while low < high {
        let middle = low.midpoint(high);
        if parts.iter().map(|part| part.at_or_below(middle)).sum::<usize>() > index {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
