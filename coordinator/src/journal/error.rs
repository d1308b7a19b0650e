//! Errors of a journal file as a whole. A damaged record is reported as a [`Fault`](super::Fault) instead.

use std::io;
use std::path::{Path, PathBuf};

use muster_core::limits;

use super::format;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot create journal '{}': {source}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot open journal '{}': {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read journal '{}' at byte {offset}: {source}", path.display())]
    Read { path: PathBuf, offset: u64, source: io::Error },
    #[error("cannot write journal '{}' at byte {offset}: {source}{}", path.display(), hint(source))]
    Write { path: PathBuf, offset: u64, source: io::Error },
    #[error("journal '{}' accepts no more records after a failed write", path.display())]
    Refused { path: PathBuf },
    #[error("cannot lock journal '{}': {source}; use a run directory on a local disk", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error(
        "journal '{}' is locked by another process; wait for that run to end, or stop it",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error("'{}' is not a run journal: it does not start with '{}'", path.display(), format::MAGIC.escape_ascii())]
    NotAJournal { path: PathBuf },
    #[error(
        "journal '{}' has format version {found}, but this program reads version {}; use the program version that wrote it",
        path.display(), format::VERSION
    )]
    Version { path: PathBuf, found: u32 },
    #[error("the header of journal '{}' is damaged, so its records cannot be trusted; restore the file", path.display())]
    DamagedHeader { path: PathBuf },
    #[error("journal '{}' is shorter than the {end} bytes read from it; do not modify it during a run", path.display())]
    Shrunk { path: PathBuf, end: u64 },
    #[error("cannot write a journal event as JSON: {0}")]
    Fact(#[source] serde_json::Error),
    #[error(
        "a journal event of {bytes} bytes exceeds the limit of {} bytes",
        limits::JOURNAL_RECORD_BYTES_MAX
    )]
    TooLong { bytes: usize },
}

impl JournalError {
    pub(super) fn open(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Open { path: path.to_owned(), source }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free disk space, or choose another directory with --run-dir"
        }
        _ => "",
    }
}
