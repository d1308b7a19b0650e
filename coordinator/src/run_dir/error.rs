//! Errors of run directories.

use std::io;
use std::path::{Path, PathBuf};

use muster_core::limits::RUNS_SHOWN;

use super::manifest::SCHEMA;
use crate::journal::JournalError;

#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    #[error(
        "no directory to store the run in: neither XDG_STATE_HOME nor HOME is an absolute path; \
         choose a directory with --run-dir, or do not store the run with --no-run-dir"
    )]
    NoHome,
    #[error("cannot {action} '{}': {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("'{}' already exists; remove it, or choose another directory with --run-dir", path.display())]
    Exists { path: PathBuf },
    #[error(
        "there is no run '{run}' in '{}'; list the runs with 'coordinator runs', or choose another directory with --run-dir",
        parent.display()
    )]
    NotFound { run: String, parent: PathBuf },
    #[error("'{start}' matches {} runs: {}; use a longer prefix or the full id", names.len(), list(names))]
    Ambiguous { start: String, names: Vec<String> },
    #[error("'{}' is not a run directory: it has no manifest.json", path.display())]
    NotARun { path: PathBuf },
    #[error("'{}' has the schema '{found}' and this program reads '{SCHEMA}'; use the version that created the run", path.display())]
    Schema { path: PathBuf, found: String },
    #[error("cannot parse '{}': {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("'{}' is longer than {bytes_max} bytes, so it is not a run manifest", path.display())]
    TooLong { path: PathBuf, bytes_max: usize },
    #[error("'{}' does not match the run's manifest: {problem}", path.display())]
    Hosts { path: PathBuf, problem: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl RunDirError {
    pub(super) fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(RUNS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(RUNS_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
