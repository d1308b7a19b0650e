//! Why there is no embedded server, in words that say what to do next. No decisions here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What gets a person on, whatever went wrong with finding the programs.
const CURE: &str = "install PostgreSQL (apt-get install postgresql, dnf install postgresql-server, brew install postgresql), \
     name its programs with --postgres-bin DIR, or name a running server with --database-url";

#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("no PostgreSQL to start: {}; {CURE}", list(tried))]
    NotFound { tried: Vec<Tried> },
    #[error("--postgres-bin '{}': {reason}; name the directory that holds initdb and postgres", path.display())]
    PostgresBin { path: PathBuf, reason: String },
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user 'postgres' nor 'nobody' to run it as; \
         start as another user, or name a running server with --database-url"
    )]
    NoUser,
    #[error(
        "no directory for the embedded server's files: {}; point TMPDIR at a writable one with a short name",
        list(tried)
    )]
    NoDirectory { tried: Vec<Tried> },
    #[error("start the embedded server's guard /bin/sh: {0}; name a running server with --database-url")]
    Guard(#[source] std::io::Error),
    #[error(
        "the embedded server's guard gave up: {said}; point TMPDIR at another directory, or name a running server with --database-url"
    )]
    GuardEnded { said: String },
    #[error(
        "initdb of {origin} failed; its last lines: {log}; try other programs with --postgres-bin DIR, or name a running server with --database-url"
    )]
    Initdb { origin: String, log: String },
    #[error(
        "{origin} ended while starting; its last lines: {log}; try other programs with --postgres-bin DIR, or name a running server with --database-url"
    )]
    Ended { origin: String, log: String },
    #[error(
        "{origin} was not ready after {within:?}; its last lines: {log}; name a running server with --database-url"
    )]
    NotReady { origin: String, within: Duration, log: String },
    #[error("the embedded server in '{}' was not gone after {within:?}; look for its processes and remove the directory by hand", directory.display())]
    LeftBehind { directory: PathBuf, within: Duration },
}

/// A place that was looked at, and why it did not do.
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

/// One file that resisted; part of a reason.
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
        return "nothing was tried".to_owned();
    }
    let all: Vec<String> = tried.iter().map(Tried::to_string).collect();
    format!("tried {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_and_the_cure_stand_in_one_sentence() {
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
        for cure in ["apt-get install postgresql", "--postgres-bin", "--database-url"] {
            assert!(text.contains(cure), "{text}");
        }
    }
}
