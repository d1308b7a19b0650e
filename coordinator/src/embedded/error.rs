//! The errors of the embedded server. Each message states the cause and how to fix it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to continue when no usable PostgreSQL was found.
const HINT: &str = "install PostgreSQL (apt-get install postgresql, dnf install postgresql-server, brew install postgresql), \
     specify the directory of its programs with --postgres-bin DIR, or use a running server with --database-url";

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("no PostgreSQL to start: {}; {HINT}", list(tried))]
    NotFound { tried: Vec<Tried> },
    #[error("--postgres-bin '{}': {reason}; specify the directory that contains initdb and postgres", path.display())]
    PostgresBin { path: PathBuf, reason: String },
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user 'postgres' nor a user 'nobody' to run it as; \
         start the coordinator as another user, or use a running server with --database-url"
    )]
    NoUser,
    #[error(
        "no directory for the embedded server's files: {}; set TMPDIR to a writable directory with a short path",
        list(tried)
    )]
    NoDirectory { tried: Vec<Tried> },
    #[error(
        "cannot start the embedded server's guard process /bin/sh: {0}; use a running server with --database-url"
    )]
    Guard(#[source] std::io::Error),
    #[error(
        "the embedded server's guard process failed: {output}; set TMPDIR to another directory, or use a running server with --database-url"
    )]
    GuardEnded { output: String },
    #[error(
        "initdb of {origin} failed; last log lines: {log}; try other programs with --postgres-bin DIR, or use a running server with --database-url"
    )]
    Initdb { origin: String, log: String },
    #[error(
        "{origin} ended while starting; last log lines: {log}; try other programs with --postgres-bin DIR, or use a running server with --database-url"
    )]
    Ended { origin: String, log: String },
    #[error(
        "{origin} was not ready after {within:?}; last log lines: {log}; use a running server with --database-url"
    )]
    NotReady { origin: String, within: Duration, log: String },
    #[error("the embedded server in '{}' did not stop within {within:?}; stop its processes and remove the directory manually", directory.display())]
    LeftBehind { directory: PathBuf, within: Duration },
}

/// A location that was tried, and the reason why it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub place: String,
    pub reason: String,
}

impl Tried {
    pub(super) fn new(place: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self { place: place.to_string(), reason: reason.to_string() }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.place, self.reason)
    }
}

/// A failed file operation, as part of a reason.
#[derive(Debug, thiserror::Error)]
#[error("{action} '{}': {source}", path.display())]
pub(super) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl FileError {
    pub(super) fn on(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

fn list(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return "no location was tried".to_owned();
    }
    let all: Vec<String> = tried.iter().map(Tried::to_string).collect();
    format!("tried {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_lists_what_was_tried_and_how_to_fix_it() {
        let error = EmbeddedError::NotFound {
            tried: vec![Tried::new("PATH", "no postgres in it"), Tried::new("pip", "not installed")],
        };
        let text = error.to_string();
        assert!(
            text.starts_with(
                "no PostgreSQL to start: tried PATH (no postgres in it), pip (not installed); install"
            ),
            "{text}"
        );
        for hint in ["apt-get install postgresql", "--postgres-bin", "--database-url"] {
            assert!(text.contains(hint), "{text}");
        }
    }
}
