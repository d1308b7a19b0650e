//! How often the records of a workload run, and the row ids of these executions. A record that runs three times is three rows of the
//! ledger: record r in pass p against target t has the id (p · targets + t) · records + r. With one pass and one target a row's id is the
//! position of its record in the file.

use muster_stats::random::SplitMix64;

use crate::ids::RowId;
use crate::limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    records: u32,
    targets: u32,
    count: u32,
    is_endless: bool,
    seed: u64,
}

/// The executions need more row ids than there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{records} rows × {times} executions exceed the limit of {} queries per run: reduce the number of repetitions",
    limits::ROWS_MAX
)]
pub struct TooManyPasses {
    records: u32,
    times: u64,
}

impl Passes {
    /// Runs every record once.
    pub fn once(records: u32) -> Self {
        Self { records, targets: 1, count: 1, is_endless: false, seed: 0 }
    }

    /// Runs every record `count` times. With two targets, every pass runs it against both, in a random order determined by `seed`.
    ///
    /// # Errors
    /// Fails if there are not enough row ids.
    pub fn try_new(records: u32, targets: u32, count: u32, seed: u64) -> Result<Self, TooManyPasses> {
        let times = u64::from(targets) * u64::from(count);
        let all = u64::from(records).checked_mul(times);
        match all {
            Some(all) if all <= limits::ROWS_MAX.into() => {
                Ok(Self { records, targets, count, is_endless: false, seed })
            }
            _ => Err(TooManyPasses { records, times }),
        }
    }

    /// Runs as many passes as there are row ids; the run ends after a duration.
    pub fn endless(records: u32, targets: u32, seed: u64) -> Self {
        let count = limits::ROWS_MAX / records.saturating_mul(targets).max(1);
        Self { records, targets, count: count.max(1), is_endless: true, seed }
    }

    /// Returns the number of passes.
    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    pub fn targets(&self) -> u32 {
        self.targets
    }

    /// Returns the number of row ids of all passes.
    pub fn rows(&self) -> u32 {
        self.records * self.targets * self.count
    }

    /// Returns the number of row ids at the start of a run: all of them, or those of one pass if passes are endless.
    pub fn rows_at_start(&self) -> u32 {
        if self.is_endless { self.rows_through(RowId::new(0)) } else { self.rows() }
    }

    /// Returns true if the run ends after a duration rather than after a number of passes.
    pub fn is_endless(&self) -> bool {
        self.is_endless
    }

    /// Returns the number of row ids in all passes up to the one that contains `row`.
    pub fn rows_through(&self, row: RowId) -> u32 {
        (self.pass_of(row) + 1) * self.records * self.targets
    }

    /// Returns the row id of a record's execution number `turn` in a pass. With two targets, their order is random.
    pub fn row(&self, pass: u32, turn: u32, record: RowId) -> RowId {
        let target = match self.targets {
            2 => turn ^ u32::from(self.begins_with_second(pass, record)),
            _ => turn,
        };
        RowId::new((pass * self.targets + target) * self.records + record.get())
    }

    fn begins_with_second(&self, pass: u32, record: RowId) -> bool {
        let stream = u64::from(pass) << 32 | u64::from(record.get());
        SplitMix64::of_stream(self.seed, stream).next() >> 63 == 1
    }

    pub fn record_of(&self, row: RowId) -> RowId {
        RowId::new(row.get() % self.records.max(1))
    }

    /// Returns the target of a row, from 0.
    pub fn target_of(&self, row: RowId) -> u32 {
        row.get() / self.records.max(1) % self.targets
    }

    /// Returns an id that the two targets of a record share in a pass, and that is different for all other rows.
    pub fn pair_of(&self, row: RowId) -> RowId {
        RowId::new(self.pass_of(row) * self.records + self.record_of(row).get())
    }

    /// Returns the pass of a row, from 0.
    pub fn pass_of(&self, row: RowId) -> u32 {
        row.get() / self.records.max(1) / self.targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_one_pass_row_ids_are_positions_in_the_file() {
        let once = Passes::once(5);
        assert_eq!(once.row(0, 0, RowId::new(3)), RowId::new(3));
        assert_eq!((once.rows(), once.rows_through(RowId::new(4))), (5, 5));
    }

    #[test]
    fn every_execution_has_a_unique_id_that_maps_back() {
        let passes = Passes::try_new(7, 2, 3, 42).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for (pass, turn, record) in (0..3)
            .flat_map(|pass| (0..2).flat_map(move |turn| (0..7).map(move |record| (pass, turn, record))))
        {
            let row = passes.row(pass, turn, RowId::new(record));
            assert!(seen.insert(row) && row.get() < passes.rows());
            assert_eq!((passes.pass_of(row), passes.record_of(row)), (pass, RowId::new(record)));
            assert_eq!(passes.rows_through(row), (pass + 1) * 14);
        }
        assert_eq!(seen.len(), 42);
    }

    #[test]
    fn the_order_of_targets_is_random_and_reproducible_from_the_seed() {
        let firsts = |seed| -> Vec<u32> {
            let passes = Passes::try_new(1_000, 2, 1, seed).unwrap();
            (0..1_000).map(|record| passes.target_of(passes.row(0, 0, RowId::new(record)))).collect()
        };
        let seconds: u32 = firsts(1).iter().sum();
        assert!((420..580).contains(&seconds), "{seconds} of 1,000");
        assert_eq!(firsts(1), firsts(1));
        assert_ne!(firsts(1), firsts(2));
    }

    #[test]
    fn passes_are_limited_by_the_number_of_row_ids() {
        assert!(Passes::try_new(1 << 31, 1, 2, 0).is_err());
        assert!(Passes::try_new(1 << 31, 1, 1, 0).is_ok());
        let endless = Passes::endless(1_000, 1, 0);
        assert!(endless.rows() > u32::MAX - 1_001);
        assert_eq!(Passes::endless(u32::MAX - 1, 2, 0).count(), 1);
    }
}
