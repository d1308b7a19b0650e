//! A CSV file other than the workload, read once from start to end with the same parser. Used to load demo data.

use std::path::Path;

use super::error::WorkloadError;
use super::index::{Blocks, Found};
use super::records::Records;
use super::source::Source;

pub(crate) struct CsvFile {
    blocks: Blocks,
    record: Records,
}

impl CsvFile {
    pub(crate) fn open(path: &Path) -> Result<Self, WorkloadError> {
        let source = Source::open(path, &mut |_| {})?;
        Ok(Self { blocks: Blocks::new(source), record: Records::new() })
    }

    /// Reads the next record. Returns the line where it begins, or the line of the faulty opening quote. `None` at the end.
    pub(crate) fn read(&mut self) -> Result<Option<(u64, Found)>, WorkloadError> {
        let found = self.blocks.next(&mut self.record)?;
        Ok(found.map(|(place, record)| (place.line(), record)))
    }

    /// Number of fields of the record.
    pub(crate) fn len(&self) -> usize {
        self.record.len()
    }

    /// A field of the record without leading and trailing white space; empty beyond the last field.
    pub(crate) fn field(&self, position: usize) -> &[u8] {
        self.record.field(position).trim_ascii()
    }
}
