//! The rows of one worker in file order, four bytes each. Only ids: the parameters are read from the file when a row is sent.

use std::collections::VecDeque;

use muster_common::ids::RowId;

/// Rows that a worker has yet to be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowQueue {
    rows: VecDeque<RowId>,
}

impl RowQueue {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self { rows: VecDeque::with_capacity(rows) }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes the next row.
    pub fn pop(&mut self) -> Option<RowId> {
        self.rows.pop_front()
    }

    /// Gives the row taken last back: it did not fit into the batch, or its worker was lost.
    pub fn put_back(&mut self, row: RowId) {
        self.rows.push_front(row);
    }

    /// Adds a row behind the others: it came from a worker that was lost.
    pub fn push(&mut self, row: RowId) {
        self.rows.push_back(row);
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowId> {
        self.rows.iter().copied()
    }
}
