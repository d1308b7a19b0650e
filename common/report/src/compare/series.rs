//! The measurements of a run in the form that a comparison needs.

use muster_core::ids::RowId;

/// The execution of a row that is counted. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    pub row: RowId,
    /// A number that is unique among the workers of the run.
    pub worker: u32,
    /// Time since the start of the run.
    pub start_ns: u64,
    /// Start minus due time.
    pub lag_ns: u64,
    pub service_ns: u64,
}

impl Timed {
    pub(super) fn service_ns(&self) -> u64 {
        self.service_ns
    }

    pub(super) fn response_ns(&self) -> u64 {
        self.lag_ns.saturating_add(self.service_ns)
    }
}

/// All measurements of a run, in order of start time, with each row once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Series {
    timed: Vec<Timed>,
}

impl Series {
    /// Takes measurements in any order. If a row occurs twice, the earlier execution is kept.
    pub fn new(mut timed: Vec<Timed>) -> Self {
        timed.sort_unstable_by_key(|timed| (timed.row, timed.start_ns));
        timed.dedup_by_key(|timed| timed.row);
        timed.sort_unstable_by_key(|timed| (timed.start_ns, timed.row));
        Self { timed }
    }

    pub fn len(&self) -> usize {
        self.timed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.timed.is_empty()
    }

    pub(super) fn timed(&self) -> &[Timed] {
        &self.timed
    }

    /// Returns true if a query started after it was due.
    pub(super) fn has_lag(&self) -> bool {
        self.timed.iter().any(|timed| timed.lag_ns > 0)
    }

    /// Returns the positions sorted by row.
    pub(super) fn by_row(&self) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..self.timed.len()).collect();
        positions.sort_unstable_by_key(|position| self.timed[*position].row);
        positions
    }
}
