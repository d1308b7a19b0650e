//! How often a workload's records are run, and how the ids of these executions are numbered. A record that is run three times is three
//! rows of the ledger: record r in pass p against target t has the id (p · targets + t) · records + r. With one pass and one target
//! a row's id is its record's position, as in the file.

use crate::ids::RowId;
use crate::limits;
use crate::random::SplitMix64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    records: u32,
    targets: u32,
    count: u32,
    is_endless: bool,
    seed: u64,
}

/// There are not so many row ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{records} rows times {times} are more than {} queries, the most that one run can count",
    limits::ROWS_MAX
)]
pub struct TooManyPasses {
    records: u32,
    times: u64,
}

impl Passes {
    /// Every record once.
    pub fn once(records: u32) -> Self {
        Self { records, targets: 1, count: 1, is_endless: false, seed: 0 }
    }

    /// Every record `count` times; with two targets, against both of them in every pass, in an order that `seed` decides.
    ///
    /// # Errors
    /// When the ids do not suffice.
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

    /// As many passes as ids suffice for: the clock ends the run.
    pub fn endless(records: u32, targets: u32, seed: u64) -> Self {
        let count = limits::ROWS_MAX / records.saturating_mul(targets).max(1);
        Self { records, targets, count: count.max(1), is_endless: true, seed }
    }

    /// Passes.
    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    pub fn targets(&self) -> u32 {
        self.targets
    }

    /// Row ids of all passes.
    pub fn rows(&self) -> u32 {
        self.records * self.targets * self.count
    }

    /// Row ids that a run begins with: all of them, or one pass of endless ones.
    pub fn rows_at_start(&self) -> u32 {
        if self.is_endless { self.rows_through(RowId::new(0)) } else { self.rows() }
    }

    /// The clock ends the run.
    pub fn is_endless(&self) -> bool {
        self.is_endless
    }

    /// Row ids of the passes up to the one of `row`, and of one pass at least.
    pub fn rows_through(&self, row: RowId) -> u32 {
        (self.pass_of(row) + 1) * self.records * self.targets
    }

    /// The id of a record's `turn`-th execution in a pass: with two targets, which of them comes first is left to chance.
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

    /// From 0.
    pub fn target_of(&self, row: RowId) -> u32 {
        row.get() / self.records.max(1) % self.targets
    }

    /// The same for both targets of a record in a pass, and for no other row.
    pub fn pair_of(&self, row: RowId) -> RowId {
        RowId::new(self.pass_of(row) * self.records + self.record_of(row).get())
    }

    /// From 0.
    pub fn pass_of(&self, row: RowId) -> u32 {
        row.get() / self.records.max(1) / self.targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_keeps_the_positions_of_the_file() {
        let once = Passes::once(5);
        assert_eq!(once.row(0, 0, RowId::new(3)), RowId::new(3));
        assert_eq!((once.rows(), once.rows_through(RowId::new(4))), (5, 5));
    }

    #[test]
    fn every_execution_has_an_id_of_its_own_that_leads_back() {
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
    fn which_target_comes_first_is_left_to_chance_and_repeats_with_the_seed() {
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
    fn more_passes_than_there_are_ids_are_refused_and_endless_ones_end_there() {
        assert!(Passes::try_new(1 << 31, 1, 2, 0).is_err());
        assert!(Passes::try_new(1 << 31, 1, 1, 0).is_ok());
        let endless = Passes::endless(1_000, 1, 0);
        assert!(endless.rows() > u32::MAX - 1_001);
        assert_eq!(Passes::endless(u32::MAX - 1, 2, 0).count(), 1);
    }
}
