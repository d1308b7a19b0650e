//! The slowest rows of a run, so that their plans can be had. A row that is not among them costs one comparison.

use muster_common::ids::RowId;

use crate::workload::HostIndex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slow {
    pub(crate) row: RowId,
    /// Of the workload; with several passes a record has several rows.
    pub(crate) record: RowId,
    pub(crate) host: HostIndex,
    /// Position among the run's statements.
    pub(crate) statement: u16,
    pub(crate) service_time_ns: u64,
}

/// At most so many, slowest first; of one record its slowest row.
#[derive(Debug, Clone)]
pub(crate) struct Slowest {
    count_max: usize,
    rows: Vec<Slow>,
}

impl Slowest {
    pub(crate) fn new(count_max: u16) -> Self {
        Self { count_max: count_max.into(), rows: Vec::new() }
    }

    pub(crate) fn rows(&self) -> &[Slow] {
        &self.rows
    }

    pub(crate) fn add(&mut self, slow: Slow) {
        let is_full = self.rows.len() >= self.count_max;
        if is_full && self.rows.last().is_none_or(|last| last.service_time_ns >= slow.service_time_ns) {
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

    /// Rows of ten records; which of them are kept, slowest first.
    fn kept(count_max: u16, times: &[(u32, u64)]) -> Vec<u32> {
        let mut slowest = Slowest::new(count_max);
        for (row, service_time_ns) in times {
            let (row, record) = (RowId::new(*row), RowId::new(row % 10));
            slowest.add(Slow {
                row,
                record,
                host: HostIndex::new(0),
                statement: 0,
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
}
