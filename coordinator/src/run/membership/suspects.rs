//! Rows during which too many agent processes seem to have died, and the times until which these processes may return.

use std::time::Instant;

use muster_core::ids::RowId;
use muster_core::limits;

#[derive(Debug, Default)]
pub(super) struct Suspects(Vec<(Instant, Vec<RowId>)>);

impl Suspects {
    pub(super) fn add(&mut self, rows: Vec<RowId>, now: Instant) {
        if !rows.is_empty() {
            self.0.push((now + limits::RETURN_GRACE, rows));
        }
    }

    /// A row that is no longer a suspect gets a new waiting time if another process dies with it.
    pub(super) fn retain(&mut self, suspects: &[RowId]) {
        self.0.iter_mut().for_each(|(_, rows)| rows.retain(|row| suspects.contains(row)));
    }

    /// Removes the rows whose processes did not return in time.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<RowId> {
        self.0.extract_if(.., |(until, _)| now >= *until).flat_map(|(_, rows)| rows).collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
