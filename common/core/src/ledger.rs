//! The ledger records the outcome of every row. Each row is settled once; a later result for it is a duplicate and changes nothing.
//! It takes two bits per row and holds no latencies.

use crate::ids::RowId;

/// The outcome of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Completed,
    Failed,
}

/// The effect of a result on the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    Counted,
    /// The row already has a result; this one is dropped.
    Duplicate,
    /// This run has no such row.
    Unknown,
}

/// The rows of one run, from 0 to `rows − 1`.
#[derive(Debug)]
pub struct Ledger {
    rows: u32,
    /// Two bits per row, 32 rows per word.
    states: Vec<u64>,
    completed: u32,
    failed: u32,
    withdrawn: u32,
}

const ROWS_PER_WORD: usize = 32;
const OPEN: u64 = 0;
const COMPLETED: u64 = 1;
const FAILED: u64 = 2;
const WITHDRAWN: u64 = 3;

impl Ledger {
    pub fn new(rows: u32) -> Self {
        let words = (rows as usize).div_ceil(ROWS_PER_WORD);
        Self { rows, states: vec![OPEN; words], completed: 0, failed: 0, withdrawn: 0 }
    }

    /// Grows the ledger to `rows` rows. Never shrinks it.
    pub fn grow_to(&mut self, rows: u32) {
        if rows > self.rows {
            self.rows = rows;
            self.states.resize((rows as usize).div_ceil(ROWS_PER_WORD), OPEN);
        }
    }

    /// Settles a row. Only the first call for a row counts.
    pub fn settle(&mut self, row: RowId, settled: Settled) -> Settlement {
        if row.get() >= self.rows {
            return Settlement::Unknown;
        }
        if self.state(row) != OPEN {
            return Settlement::Duplicate;
        }
        let (bits, counter) = match settled {
            Settled::Completed => (COMPLETED, &mut self.completed),
            Settled::Failed => (FAILED, &mut self.failed),
        };
        *counter += 1;
        self.states[row.index() / ROWS_PER_WORD] |= bits << shift(row);
        Settlement::Counted
    }

    /// Marks a row as never sent because the run ended first: no result is expected for it. A settled row stays settled.
    pub fn withdraw(&mut self, row: RowId) {
        if row.get() < self.rows && self.state(row) == OPEN {
            self.withdrawn += 1;
            self.states[row.index() / ROWS_PER_WORD] |= WITHDRAWN << shift(row);
        }
    }

    /// Returns true if the row has a result or was withdrawn. Returns false for a row that this run does not have.
    pub fn is_settled(&self, row: RowId) -> bool {
        row.get() < self.rows && self.state(row) != OPEN
    }

    /// Returns the number of all rows, including withdrawn ones.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the number of rows that need a result: all except withdrawn ones.
    pub fn expected(&self) -> u32 {
        self.rows - self.withdrawn
    }

    pub fn completed(&self) -> u32 {
        self.completed
    }

    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Returns the number of rows without a result: `completed + failed + unaccounted = expected`.
    pub fn unaccounted(&self) -> u32 {
        self.expected() - self.completed - self.failed
    }

    pub fn is_closed(&self) -> bool {
        self.unaccounted() == 0
    }

    /// Returns the rows without a result as inclusive ranges, ascending.
    pub fn unaccounted_ranges(&self) -> Vec<[RowId; 2]> {
        let mut ranges: Vec<[RowId; 2]> = Vec::new();
        for row in (0..self.rows).map(RowId::new).filter(|row| self.state(*row) == OPEN) {
            match ranges.last_mut() {
                Some([_, last]) if last.get() + 1 == row.get() => *last = row,
                _ => ranges.push([row, row]),
            }
        }
        ranges
    }

    fn state(&self, row: RowId) -> u64 {
        self.states[row.index() / ROWS_PER_WORD] >> shift(row) & 0b11
    }
}

fn shift(row: RowId) -> usize {
    row.index() % ROWS_PER_WORD * 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashMap;

    use super::*;

    fn settled() -> impl Strategy<Value = Settled> {
        prop_oneof![Just(Settled::Completed), Just(Settled::Failed)]
    }

    proptest! {
        #[test]
        fn the_ledger_balances_with_duplicate_and_missing_results(
            rows in 0u32..200,
            results in proptest::collection::vec((0u32..220, settled()), 0..400),
        ) {
            let mut ledger = Ledger::new(rows);
            let mut first: HashMap<u32, Settled> = HashMap::new();
            for (row, settled) in results {
                let expected = match () {
                    () if row >= rows => Settlement::Unknown,
                    () if first.contains_key(&row) => Settlement::Duplicate,
                    () => { first.insert(row, settled); Settlement::Counted }
                };
                prop_assert_eq!(ledger.settle(RowId::new(row), settled), expected);
            }
            let count = |wanted| first.values().filter(|settled| **settled == wanted).count();
            prop_assert_eq!(ledger.completed() as usize, count(Settled::Completed));
            prop_assert_eq!(ledger.failed() as usize, count(Settled::Failed));
            prop_assert_eq!(ledger.unaccounted() as usize, rows as usize - first.len());
            let listed: u32 = ledger.unaccounted_ranges().iter().map(|[a, b]| b.get() - a.get() + 1).sum();
            prop_assert_eq!(listed, ledger.unaccounted());
            for [first_row, last_row] in ledger.unaccounted_ranges() {
                for row in first_row.get()..=last_row.get() {
                    prop_assert!(!first.contains_key(&row));
                }
            }
        }
    }

    #[test]
    fn adjacent_rows_without_a_result_form_one_range() {
        let mut ledger = Ledger::new(70);
        ledger.settle(RowId::new(0), Settled::Completed);
        ledger.settle(RowId::new(33), Settled::Failed);
        let ranges = [[1, 32], [34, 69]].map(|range| range.map(RowId::new));
        assert_eq!(ledger.unaccounted_ranges(), ranges);
    }
}
