//! What can be wrong with a run's directory, in sentences.

use std::io;
use std::path::{Path, PathBuf};

use muster_common::limits::RUNS_SHOWN;

use super::manifest::SCHEMA;
use crate::journal::JournalError;

#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    #[error(
        "no place to keep the run: neither XDG_STATE_HOME nor HOME is an absolute path; \
         name a directory with --run-dir, or keep nothing with --no-run-dir"
    )]
    NoHome,
    #[error("cannot {action} '{}': {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("'{}' exists already; remove it, or name another directory with --run-dir", path.display())]
    Exists { path: PathBuf },
    #[error(
        "there is no run '{run}' in '{}'; coordinator runs lists them, --run-dir names another directory",
        parent.display()
    )]
    NotFound { run: String, parent: PathBuf },
    #[error("'{start}' is the beginning of {} runs: {}; name one of them", names.len(), list(names))]
    Ambiguous { start: String, names: Vec<String> },
    #[error("'{}' is not the directory of a run: it has no manifest.json", path.display())]
    NotARun { path: PathBuf },
    #[error("'{}' has the schema '{found}' and this program reads '{SCHEMA}'; use the one that made the run", path.display())]
    Schema { path: PathBuf, found: String },
    #[error("'{}' cannot be understood: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("'{}' is longer than {bytes_max} bytes, so it is not what its name says", path.display())]
    TooLong { path: PathBuf, bytes_max: usize },
    #[error("'{}' is not the list of hosts that the run was made with: {problem}", path.display())]
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
