//! What can go wrong with a journal as a whole, in sentences. What is wrong within one is a [`Fault`](super::Fault).

use std::io;
use std::path::{Path, PathBuf};

use muster_common::limits;

use super::format;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot create journal '{}': {source}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot open journal '{}': {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read journal '{}' at byte {offset}: {source}", path.display())]
    Read { path: PathBuf, offset: u64, source: io::Error },
    #[error("cannot write journal '{}' at byte {offset}: {source}{}", path.display(), way_out(source))]
    Write { path: PathBuf, offset: u64, source: io::Error },
    #[error("journal '{}' takes no more after a write that failed", path.display())]
    Refused { path: PathBuf },
    #[error("cannot lock journal '{}': {source}; use a run directory on a local disk", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error(
        "journal '{}' is being written by another process; wait until that run has ended, or end it",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error("'{}' is not the journal of a run; that begins with '{}'", path.display(), format::MAGIC.escape_ascii())]
    NotAJournal { path: PathBuf },
    #[error(
        "journal '{}' is of version {found} and this program reads version {}; use the one that wrote it",
        path.display(), format::VERSION
    )]
    Version { path: PathBuf, found: u32 },
    #[error("the header of journal '{}' is damaged, so what follows cannot be trusted; restore the file", path.display())]
    DamagedHeader { path: PathBuf },
    #[error("journal '{}' is shorter than the {end} bytes that were read of it; leave it alone during a run", path.display())]
    Shrunk { path: PathBuf, end: u64 },
    #[error("a fact cannot be written as JSON: {0}")]
    Fact(#[source] serde_json::Error),
    #[error(
        "a fact of {bytes} bytes is too long for the journal, which takes {}",
        limits::JOURNAL_RECORD_BYTES_MAX
    )]
    TooLong { bytes: usize },
}

impl JournalError {
    pub(super) fn open(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Open { path: path.to_owned(), source }
    }
}

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space, or name another directory with --run-dir"
        }
        _ => "",
    }
}
