//! Where runs are kept, and which of them a person means.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{JOURNAL, MANIFEST, RunDirError};

/// The directory that holds the directories of runs: the one that `--run-dir` names, or `$XDG_STATE_HOME/muster/runs`, or
/// `~/.local/state/muster/runs`. It need not exist.
pub fn parent(run_dir: Option<&Path>) -> Result<PathBuf, RunDirError> {
    match run_dir {
        Some(run_dir) => Ok(run_dir.to_owned()),
        None => Ok(state().ok_or(RunDirError::NoHome)?.join("runs")),
    }
}

/// Where Muster keeps what is this user's: `$XDG_STATE_HOME/muster` or `~/.local/state/muster`.
pub fn state() -> Option<PathBuf> {
    of_user(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

/// A relative XDG_STATE_HOME is to be ignored, says its specification.
fn of_user(xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".local/state")))?;
    Some(state.join("muster"))
}

/// The directory of the run that `run` names; see [`RunDir::open`](super::RunDir::open).
pub(super) fn find(run_dir: Option<&Path>, run: &str) -> Result<PathBuf, RunDirError> {
    let path = Path::new(run);
    // What has a slash in it is no id, nor are `.` and `..`.
    if run.contains('/') || (path.file_name().is_none() && path.is_dir()) {
        return Ok(path.to_owned());
    }
    let parent = match parent(run_dir) {
        Err(_) if path.is_dir() => return Ok(path.to_owned()),
        other => other?,
    };
    let mut names = match names(&parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(RunDirError::on("read directory", &parent))?,
    };
    names.retain(|name| !run.is_empty() && name.starts_with(run));
    match &names[..] {
        _ if names.iter().any(|name| name == run) => Ok(parent.join(run)),
        [only] => Ok(parent.join(only)),
        [] if path.is_dir() => Ok(path.to_owned()),
        [] => Err(RunDirError::NotFound { run: run.to_owned(), parent }),
        _ => Err(RunDirError::Ambiguous { start: run.to_owned(), names }),
    }
}

/// The names of the runs in `parent`, sorted and so by time. What is not a run's directory is left out; a broken one is one.
pub(super) fn names(parent: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let path = entry.path();
        let is_run = [MANIFEST, JOURNAL].iter().any(|file| path.join(file).exists());
        match entry.file_name().into_string() {
            Ok(name) if is_run && !name.starts_with('.') => names.push(name),
            _ => {}
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_where_the_xdg_rules_say() {
        let check = |xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let found = of_user(xdg.map(OsString::from), home.map(OsString::from));
            assert_eq!(found, expected.map(PathBuf::from), "{xdg:?} {home:?}");
        };
        check(Some("/x"), Some("/home/u"), Some("/x/muster"));
        check(None, Some("/home/u"), Some("/home/u/.local/state/muster"));
        check(Some("relative"), Some("/home/u"), Some("/home/u/.local/state/muster"));
        check(Some(""), Some(""), None);
        check(None, None, None);
    }
}
