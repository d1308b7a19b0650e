//! The write-ahead journal of a run: an append-only file of checksummed records of sent rows, results and events, in order. It lets a
//! coordinator that crashes recover everything it acknowledged. The journal does not depend on the ledger and does not interpret its
//! records; the `run` module does.
//!
//! The coordinator settles a result, writes it to the journal and then acknowledges it. It sends a row only after it has committed the
//! row's [`Sent`](Entry::Sent) record. So a result is in the journal before the agent discards it, and after a crash the journal lists
//! every row that may have run. [`Writer::commit`] passes all buffered records to the operating system with one write, so they survive
//! the death of this process. Batches are not synced to disk: if a power failure loses an acknowledged row, resuming the run executes
//! the row again, and it is still counted once.
//!
//! The layout is documented in `format` (header, frame, checksum), `columns` (numbers) and `record` (payloads).
//!
//! Arrow IPC was rejected as the format, although pandas and DuckDB can read it directly. It has no checksums, so a torn or damaged
//! batch decodes to wrong numbers; it adds several hundred bytes of metadata to each batch, and batches are small here; and it needs
//! about twenty more crates. Other tools read the measurements from the CSV or Parquet files that [`crate::output::samples`] writes.

mod columns;
mod error;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod lock;
mod reader;
mod record;
#[cfg(test)]
mod tests;
mod writer;

pub use error::JournalError;
pub use format::Fault;
pub use lock::{Lock, is_locked};
pub use reader::{Reader, Tail};
pub use record::{CountedSample, Entry};
pub use writer::Writer;
