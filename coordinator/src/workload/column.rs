//! Per-row numbers, stored in chunks. A `Vec` doubles its capacity and holds the old and the new buffer while it copies, which takes up to
//! three times the memory that is needed. Ten million rows must fit into 300 MB, and the number of rows in a pipe is not known in advance.

use muster_core::ids::RowId;

const CHUNK_ROWS: usize = 1 << 16;

/// An append-only list of 32-bit numbers. At most 256 KiB are allocated but unused.
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

/// Byte offsets of the rows, in 4 bytes each instead of 8: one full offset per 1,024 rows, and each row's distance from it.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    bases: Vec<u64>,
    distances: Column,
    len: usize,
}

/// A record is at most 1 MiB, so 1,024 consecutive rows span at most 1 GiB, well below the 4 GiB that a distance can hold.
const ROWS_PER_BASE: usize = 1_024;

impl Offsets {
    /// Returns `None` when the distance exceeds 4 GiB, because of blank lines or bad records between the rows.
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
    fn a_column_returns_every_number_across_chunks() {
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
    fn offsets_beyond_32_bits_are_returned_exactly() {
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
    fn a_distance_beyond_32_bits_is_refused() {
        let mut offsets = Offsets::default();
        offsets.push(0).unwrap();
        assert_eq!(offsets.push(1 << 32), None);
        assert_eq!(offsets.push((1 << 32) - 1), Some(()));
    }
}
