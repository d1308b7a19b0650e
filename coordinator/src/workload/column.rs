//! Per-row numbers in chunks. A `Vec` doubles when it grows and holds old and new at once while it copies, three times what is
//! needed at the worst moment; ten million rows have to fit into 300 MB, and a pipe does not say how many rows will come.

use muster_common::ids::RowId;

const CHUNK_ROWS: usize = 1 << 16;

/// A list of 32-bit numbers that only grows; at most 256 KiB are reserved and not used.
#[derive(Debug, Default)]
pub(super) struct Column {
    chunks: Vec<Vec<u32>>,
}

impl Column {
    pub(super) fn push(&mut self, value: u32) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_ROWS => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK_ROWS);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    pub(super) fn get(&self, row: RowId) -> Option<u32> {
        let chunk = self.chunks.get(row.index() / CHUNK_ROWS)?;
        chunk.get(row.index() % CHUNK_ROWS).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flatten().copied()
    }

    pub(super) fn shrink(&mut self) {
        if let Some(last) = self.chunks.last_mut() {
            last.shrink_to_fit();
        }
    }
}

/// Byte offsets of the rows in 4 bytes each instead of 8: a full offset for every 1,024 rows and the distance from there.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    bases: Vec<u64>,
    distances: Column,
    len: usize,
}

/// Records are at most 1 MiB, so that rows which follow each other stay 1 GiB of the 4 below the limit.
const ROWS_PER_BASE: usize = 1_024;

impl Offsets {
    /// `None` when more than 4 GiB of blank lines or bad records lie among 1,024 rows.
    #[must_use]
    pub(super) fn push(&mut self, offset: u64) -> Option<()> {
        if self.len.is_multiple_of(ROWS_PER_BASE) {
            self.bases.push(offset);
        }
        let distance = offset.checked_sub(*self.bases.last()?)?;
        self.distances.push(u32::try_from(distance).ok()?);
        self.len += 1;
        Some(())
    }

    pub(super) fn get(&self, row: RowId) -> Option<u64> {
        let distance = self.distances.get(row)?;
        let base = self.bases.get(row.index() / ROWS_PER_BASE)?;
        Some(base + u64::from(distance))
    }

    pub(super) fn shrink(&mut self) {
        self.distances.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_gives_back_every_number_across_chunks() {
        let mut column = Column::default();
        let count = CHUNK_ROWS as u32 * 2 + 7;
        for value in 0..count {
            column.push(value * 3);
        }
        column.shrink();
        assert!(column.iter().eq((0..count).map(|value| value * 3)));
        for row in [0, CHUNK_ROWS as u32 - 1, CHUNK_ROWS as u32, count - 1] {
            assert_eq!(column.get(RowId::new(row)), Some(row * 3));
        }
        assert_eq!(column.get(RowId::new(count)), None);
    }

    #[test]
    fn offsets_beyond_32_bits_come_back_exactly() {
        let mut offsets = Offsets::default();
        let offset = |row: u64| row * 1_048_577 + 13;
        for row in 0..10_000 {
            offsets.push(offset(row)).unwrap();
        }
        for row in [0, 1, 1_023, 1_024, 5_000, 9_999] {
            assert_eq!(offsets.get(RowId::new(row)), Some(offset(u64::from(row))));
        }
        assert_eq!(offsets.get(RowId::new(10_000)), None);
    }

    #[test]
    fn a_gap_that_32_bits_cannot_hold_is_refused() {
        let mut offsets = Offsets::default();
        offsets.push(0).unwrap();
        assert_eq!(offsets.push(1 << 32), None);
        assert_eq!(offsets.push((1 << 32) - 1), Some(()));
    }
}
