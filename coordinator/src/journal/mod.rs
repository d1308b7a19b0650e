//! The journal of a run: what was sent, what was counted and what happened, in the order in which it did, so that a coordinator
//! that dies loses nothing that it acknowledged. An append-only file of records, each with a checksum. It knows no ledger and decides
//! nothing: what a record means for the run is the run's affair.
//!
//! The order is settle → journal → acknowledge, and a row is sent only behind its [`Sent`](Entry::Sent). So a row is in the journal
//! before the agent forgets it, and after a crash it is known which rows may have run. [`Writer::commit`] hands everything gathered to
//! the operating system with one write: that outlives the death of this process. Batches are not forced to the disk, for a power
//! failure that takes an acknowledged row with it has the row run again on resume, and never counted twice.
//!
//! The layout is told in `format` (header, frame, checksum), `columns` (numbers) and `record` (what is in a record).
//!
//! Why a format of our own and not an Arrow IPC stream: that would be readable by pandas and DuckDB as it is, but it has no checksum,
//! so that a torn or damaged batch reads as numbers; it spends several hundred bytes of metadata on each batch, which are small here;
//! and it brings some twenty crates. Others read the measurements from the CSV or Parquet that [`crate::output::samples`] writes.

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
pub use record::{Entry, Sample};
pub use writer::Writer;
