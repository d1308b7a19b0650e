//! How late something happened that was due at a known moment: counts by logarithmic class, so that a second of it takes some tens of
//! bytes on the wire and a day of it no more. For the health of the load generator; latencies are kept exactly, elsewhere.

use serde::{Deserialize, Serialize};

use crate::latency::Percentile;

/// Classes: microseconds one by one below 8, then four to each doubling, up to 2³⁶ µs (19 hours).
pub const CLASSES_MAX: usize = 8 + 33 * 4;

/// A distribution of delays. A quantile is told as the upper end of its class, at most 25 % above the truth; the maximum is exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Lateness {
    /// By class, without the empty ones at the end; never longer than [`CLASSES_MAX`].
    counts: Vec<u64>,
    max_ns: u64,
}

/// As it is sent and written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub counts: Vec<u64>,
    pub max_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} classes of lateness, and there are at most {CLASSES_MAX}")]
pub struct TooManyClasses(pub usize);

impl Lateness {
    pub fn record(&mut self, late_ns: u64) {
        let class = class_of(late_ns / 1_000);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] = self.counts[class].saturating_add(1);
        self.max_ns = self.max_ns.max(late_ns);
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

    /// Nearest rank, as every percentile here; `None` when nothing was recorded.
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

impl From<Lateness> for Parts {
    fn from(lateness: Lateness) -> Self {
        let Lateness { counts, max_ns } = lateness;
        Self { counts, max_ns }
    }
}

impl TryFrom<Parts> for Lateness {
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

/// The first value above the class.
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

    fn of(values_us: impl IntoIterator<Item = u64>) -> Lateness {
        let mut lateness = Lateness::default();
        values_us.into_iter().for_each(|us| lateness.record(us * 1_000));
        lateness
    }

    #[test]
    fn a_quantile_is_at_most_a_quarter_above_the_truth_and_never_below() {
        let lateness = of(1..=1_000);
        for (percentile, truth_us) in [(Percentile::P50, 500), (Percentile::P90, 900), (Percentile::P99, 990)]
        {
            let told = lateness.percentile_ns(percentile).unwrap();
            assert!(told >= truth_us * 1_000 && told <= truth_us * 1_250, "{told}");
        }
        assert_eq!(lateness.max_ns(), 1_000_000);
        assert_eq!(of([7; 3]).percentile_ns(Percentile::P99), Some(7_000), "no more than the maximum");
    }

    #[test]
    fn nothing_recorded_has_no_quantile() {
        assert_eq!(Lateness::default().percentile_ns(Percentile::P50), None);
    }

    #[test]
    fn a_second_takes_some_tens_of_classes_and_a_frozen_week_all_of_them() {
        assert!(of([60, 90, 250]).counts.len() < 40);
        assert_eq!(of([7 * 24 * 3_600 * 1_000_000]).counts.len(), CLASSES_MAX);
    }

    #[test]
    fn parts_that_cannot_be_are_refused_and_empty_classes_forgotten() {
        let parts = |counts| Parts { counts, max_ns: 5 };
        assert_eq!(Lateness::try_from(parts(vec![0; CLASSES_MAX + 1])), Err(TooManyClasses(CLASSES_MAX + 1)));
        assert_eq!(Lateness::try_from(parts(vec![1, 0, 0])), Lateness::try_from(parts(vec![1])));
    }

    proptest! {
        #[test]
        fn every_value_lies_below_the_upper_end_of_its_class_and_not_below_the_one_before(us in 0u64..1 << 36) {
            let class = class_of(us);
            prop_assert!(us < upper_end_us(class));
            prop_assert!(class == 0 || us >= upper_end_us(class - 1));
        }

        #[test]
        fn parts_add_up_to_the_whole(a in prop::collection::vec(0u64..1 << 30, 0..50), b in prop::collection::vec(0u64..1 << 30, 0..50)) {
            let mut merged = of(a.clone());
            merged.merge(&of(b.clone()));
            prop_assert_eq!(merged, of(a.into_iter().chain(b)));
        }
    }
}
