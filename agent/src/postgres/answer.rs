//! What a query answered, reduced to counts and a digest. Rows are kept while the clock runs and looked at afterwards.

use std::error::Error;

use muster_common::limits;
use muster_common::measurement::Answer;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Row, SimpleQueryRow};
use xxhash_rust::xxh3::Xxh3;

/// The rows of one answer, in order.
pub(super) struct Rows {
    kept: Vec<Row>,
    /// Of the simple protocol.
    kept_texts: Vec<SimpleQueryRow>,
    kept_bytes: usize,
    reduced: Reduced,
}

struct Reduced {
    rows: u64,
    bytes: u64,
    hash: Xxh3,
}

impl Rows {
    pub(super) fn new() -> Self {
        let reduced = Reduced { rows: 0, bytes: 0, hash: Xxh3::new() };
        Self { kept: Vec::new(), kept_texts: Vec::new(), kept_bytes: 0, reduced }
    }

    /// On the timed path: keeps the row. Only an answer beyond [`limits::ANSWER_BYTES_KEPT`] is reduced while the clock runs.
    pub(super) fn push(&mut self, row: Row) {
        self.kept_bytes += row.raw_size_bytes();
        self.kept.push(row);
        if self.kept_bytes > limits::ANSWER_BYTES_KEPT {
            self.reduce();
        }
    }

    /// The same for a row of the simple protocol, whose values are text: the digest differs from that of the other protocols.
    pub(super) fn push_text(&mut self, row: SimpleQueryRow) {
        self.kept_bytes += (0..row.len()).filter_map(|index| row.get(index)).map(str::len).sum::<usize>();
        self.kept_texts.push(row);
        if self.kept_bytes > limits::ANSWER_BYTES_KEPT {
            self.reduce();
        }
    }

    pub(super) fn finish(mut self) -> Answer {
        self.reduce();
        let Reduced { rows, bytes, hash } = self.reduced;
        Answer { rows, bytes, digest: hash.digest() }
    }

    fn reduce(&mut self) {
        for row in self.kept.drain(..) {
            self.reduced.rows += 1;
            for index in 0..row.len() {
                // Reading raw bytes fails for no type and no index below `len`.
                let value = row.try_get::<_, RawValue<'_>>(index).map_or(None, |value| value.0);
                self.reduced.take(value);
            }
        }
        for row in self.kept_texts.drain(..) {
            self.reduced.rows += 1;
            (0..row.len()).for_each(|index| self.reduced.take(row.get(index).map(str::as_bytes)));
        }
        self.kept_bytes = 0;
    }
}

impl Reduced {
    fn take(&mut self, value: Option<&[u8]>) {
        // The length goes first, so that neighbouring values cannot run into each other; NULL has one of its own.
        let length = value.map_or(u64::MAX, |value| value.len() as u64);
        self.hash.update(&length.to_le_bytes());
        if let Some(value) = value {
            self.hash.update(value);
            self.bytes += value.len() as u64;
        }
    }
}

/// A column's value as the server sent it, of any type.
struct RawValue<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for RawValue<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
