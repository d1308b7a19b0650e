//! Scheduling delay: how long after its scheduled time something happened. Counts delays by logarithmic class, so that a second takes some
//! tens of bytes on the wire, and a day no more. For the health of the load generator; latencies are stored exactly elsewhere.

use serde::{Deserialize, Serialize};

use crate::latency::Percentile;

/// Number of classes: one per microsecond below 8 µs, then four per doubling, up to 2³⁶ µs (19 hours).
pub const CLASSES_MAX: usize = 8 + 33 * 4;

/// A distribution of delays. A percentile is the upper end of its class, at most 25 % above the true value; the maximum is exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct SchedulingDelay {
    /// Count per class, without empty classes at the end; at most [`CLASSES_MAX`] entries.
    counts: Vec<u64>,
    max_ns: u64,
}

/// The form in which it is sent and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub counts: Vec<u64>,
    pub max_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scheduling delay has {0} classes, but at most {CLASSES_MAX} are allowed")]
pub struct TooManyClasses(pub usize);

impl SchedulingDelay {
    pub fn record(&mut self, delay_ns: u64) {
        let class = class_of(delay_ns / 1_000);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] = self.counts[class].saturating_add(1);
        self.max_ns = self.max_ns.max(delay_ns);
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { counts, max_ns } = other;
        if self.counts.len() < counts.len() {
            self.counts.resize(counts.len(), 0);
        }
        for (own, more) in self.counts.iter_mut().zip(counts) {
            *own = own.saturating_add(*more);
        }
        self.max_ns = self.max_ns.max(*max_ns);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Returns a nearest-rank percentile; `None` if nothing was recorded.
    pub fn percentile_ns(&self, percentile: Percentile) -> Option<u64> {
        let rank = percentile.rank(self.count())?;
        let mut seen: u64 = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return Some(upper_end_us(class).saturating_mul(1_000).min(self.max_ns));
            }
        }
        None
    }
}

impl From<SchedulingDelay> for Parts {
    fn from(scheduling_delay: SchedulingDelay) -> Self {
        let SchedulingDelay { counts, max_ns } = scheduling_delay;
        Self { counts, max_ns }
    }
}

impl TryFrom<Parts> for SchedulingDelay {
    type Error = TooManyClasses;

    fn try_from(parts: Parts) -> Result<Self, TooManyClasses> {
        let Parts { mut counts, max_ns } = parts;
        if counts.len() > CLASSES_MAX {
            return Err(TooManyClasses(counts.len()));
        }
        while counts.pop_if(|last| *last == 0).is_some() {}
        Ok(Self { counts, max_ns })
    }
}

fn class_of(us: u64) -> usize {
    if us < 8 {
        return us as usize;
    }
    let doubling = us.ilog2();
    let quarter = (us >> (doubling - 2)) & 3;
    (8 + (doubling as usize - 3) * 4 + quarter as usize).min(CLASSES_MAX - 1)
}

/// Returns the first value above the class.
fn upper_end_us(class: usize) -> u64 {
    match class.checked_sub(8) {
        None => class as u64 + 1,
        Some(above) => (above as u64 % 4 + 5) << (above / 4 + 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delays(values_us: impl IntoIterator<Item = u64>) -> SchedulingDelay {
        let mut delays = SchedulingDelay::default();
        values_us.into_iter().for_each(|us| delays.record(us * 1_000));
        delays
    }

    #[test]
    fn a_percentile_is_at_most_a_quarter_above_the_true_value_and_never_below() {
        let delays_1_to_1000 = delays(1..=1_000);
        for (percentile, truth_us) in [(Percentile::P50, 500), (Percentile::P90, 900), (Percentile::P99, 990)]
        {
            let found = delays_1_to_1000.percentile_ns(percentile).unwrap();
            assert!(found >= truth_us * 1_000 && found <= truth_us * 1_250, "{found}");
        }
        assert_eq!(delays_1_to_1000.max_ns(), 1_000_000);
        assert_eq!(delays([7; 3]).percentile_ns(Percentile::P99), Some(7_000), "no more than the maximum");
    }

    #[test]
    fn an_empty_distribution_has_no_percentile() {
        assert_eq!(SchedulingDelay::default().percentile_ns(Percentile::P50), None);
    }

    #[test]
    fn one_second_takes_some_tens_of_classes_and_a_week_takes_all_of_them() {
        assert!(delays([60, 90, 250]).counts.len() < 40);
        assert_eq!(delays([7 * 24 * 3_600 * 1_000_000]).counts.len(), CLASSES_MAX);
    }

    #[test]
    fn too_many_classes_are_rejected_and_empty_classes_at_the_end_are_dropped() {
        let parts = |counts| Parts { counts, max_ns: 5 };
        let too_many = SchedulingDelay::try_from(parts(vec![0; CLASSES_MAX + 1]));
        assert_eq!(too_many, Err(TooManyClasses(CLASSES_MAX + 1)));
        assert_eq!(
            SchedulingDelay::try_from(parts(vec![1, 0, 0])),
            SchedulingDelay::try_from(parts(vec![1]))
        );
    }

    proptest! {
        #[test]
        fn every_value_lies_within_its_class(us in 0u64..1 << 36) {
            let class = class_of(us);
            prop_assert!(us < upper_end_us(class));
            prop_assert!(class == 0 || us >= upper_end_us(class - 1));
        }

        #[test]
        fn merging_parts_gives_the_whole(
            a in prop::collection::vec(0u64..1 << 30, 0..50),
            b in prop::collection::vec(0u64..1 << 30, 0..50),
        ) {
            let mut merged = delays(a.clone());
            merged.merge(&delays(b.clone()));
            prop_assert_eq!(merged, delays(a.into_iter().chain(b)));
        }
    }
}
