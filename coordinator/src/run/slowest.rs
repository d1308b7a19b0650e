//! The slowest rows of a run, whose plans are read after the run. A row that is not among them costs one comparison.

use std::collections::HashMap;

use muster_core::ids::RowId;
use muster_core::limits;
use muster_core::sample::Execution;

use crate::workload::HostIndex;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slow {
    pub(crate) row: RowId,
    /// The record of the workload. With several passes a record has several rows.
    pub(crate) record: RowId,
    pub(crate) host: HostIndex,
    /// Position in the placement's list of workers.
    pub(crate) worker: usize,
    /// Position among the run's statements.
    pub(crate) statement: u16,
    /// The number of the execution, counted by statement and connection from 1; 0 if it is unknown.
    pub(crate) execution: u32,
    /// The records of earlier executions of the statement on the connection, from the first on. PostgreSQL chose this execution's plan
    /// based on their plans. At most [`limits::EXPLAIN_EARLIER_MAX`]; empty if they are unknown.
    pub(crate) earlier: Vec<RowId>,
    pub(crate) service_time_ns: u64,
}

/// The slowest rows, slowest first, at most `count_max`. Contains only the slowest row of each record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slowest {
    count_max: usize,
    rows: Vec<Slow>,
    /// By worker and statement: the records of the first executions on the connection, without gaps, at most
    /// [`limits::EXPLAIN_EARLIER_MAX`].
    first: HashMap<(usize, u16), Vec<RowId>>,
}

impl Slowest {
    pub(crate) fn new(count_max: u16) -> Self {
        Self { count_max: count_max.into(), rows: Vec::new(), first: HashMap::new() }
    }

    pub(crate) fn rows(&self) -> &[Slow] {
        &self.rows
    }

    /// Records an execution. Must be called for every execution on the first database, in its worker's order. A reopened connection starts
    /// again with 1.
    pub(crate) fn executed(&mut self, worker: usize, execution: Execution, record: RowId) {
        let number = execution.number as usize;
        if self.count_max == 0 || !(1..=limits::EXPLAIN_EARLIER_MAX).contains(&number) {
            return;
        }
        let first = self.first.entry((worker, execution.statement)).or_default();
        if number == 1 {
            first.clear();
        }
        match first.len() + 1 == number {
            true => first.push(record),
            false => first.clear(),
        }
    }

    /// The value of [`Slow::earlier`].
    pub(crate) fn before(&self, worker: usize, statement: u16, number: u32) -> Vec<RowId> {
        let count = (number.saturating_sub(1) as usize).min(limits::EXPLAIN_EARLIER_MAX);
        let first = self.first.get(&(worker, statement));
        first.and_then(|first| first.get(..count)).unwrap_or_default().to_vec()
    }

    /// Returns true if a row with this service time is among the slowest so far.
    pub(crate) fn accepts(&self, service_time_ns: u64) -> bool {
        let is_full = self.rows.len() >= self.count_max;
        !is_full || self.rows.last().is_some_and(|last| last.service_time_ns < service_time_ns)
    }

    pub(crate) fn add(&mut self, slow: Slow) {
        if !self.accepts(slow.service_time_ns) {
            return;
        }
        if let Some(at) = self.rows.iter().position(|other| other.record == slow.record) {
            if self.rows[at].service_time_ns >= slow.service_time_ns {
                return;
            }
            self.rows.remove(at);
        }
        let at = self.rows.partition_point(|other| other.service_time_ns >= slow.service_time_ns);
        self.rows.insert(at, slow);
        self.rows.truncate(self.count_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds rows of ten records and returns the rows that are kept, slowest first.
    fn kept(count_max: u16, times: &[(u32, u64)]) -> Vec<u32> {
        let mut slowest = Slowest::new(count_max);
        for (row, service_time_ns) in times {
            let (row, record) = (RowId::new(*row), RowId::new(row % 10));
            slowest.add(Slow {
                row,
                record,
                host: HostIndex::new(0),
                worker: 0,
                statement: 0,
                execution: 0,
                earlier: Vec::new(),
                service_time_ns: *service_time_ns,
            });
        }
        slowest.rows().iter().map(|slow| slow.row.get()).collect()
    }

    #[test]
    fn the_slowest_are_kept_in_order() {
        assert_eq!(kept(2, &[(0, 5), (1, 9), (2, 7), (3, 1)]), [1, 2]);
        assert_eq!(kept(9, &[(0, 5), (1, 9)]), [1, 0]);
        assert!(kept(0, &[(0, 5)]).is_empty());
    }

    #[test]
    fn a_record_that_was_slow_twice_is_kept_once() {
        assert_eq!(kept(2, &[(3, 5), (13, 9), (23, 7), (4, 1)]), [13, 4]);
    }

    #[test]
    fn the_first_executions_of_a_connection_are_known_up_to_the_first_gap() {
        let mut slowest = Slowest::new(1);
        let execution = |number| Execution { statement: 1, number, ..Execution::default() };
        let check = |slowest: &Slowest, number, expected: &[u32]| {
            let expected: Vec<RowId> = expected.iter().copied().map(RowId::new).collect();
            assert_eq!(slowest.before(3, 1, number), expected, "{number}");
        };
        (1..=9).for_each(|number| slowest.executed(3, execution(number), RowId::new(100 + number)));
        check(&slowest, 1, &[]);
        check(&slowest, 3, &[101, 102]);
        check(&slowest, 10, &[101, 102, 103, 104, 105, 106, 107, 108, 109]);
        check(&slowest, 12, &[]);
        (10..=300).for_each(|number| slowest.executed(3, execution(number), RowId::new(100 + number)));
        let first: Vec<u32> = (101..=200).collect();
        check(&slowest, 101, &first);
        check(&slowest, 300, &first);
        slowest.executed(3, execution(1), RowId::new(7));
        check(&slowest, 2, &[7]);
        check(&slowest, 12, &[]);
        slowest.executed(3, execution(3), RowId::new(8));
        check(&slowest, 4, &[]);
        assert!(slowest.before(4, 1, 2).is_empty());
    }
}
