//! Locates the directory that stores the runs, and finds a run in it by id, prefix or path.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{JOURNAL, MANIFEST, RunDirError};

/// Returns the directory that contains the run directories: the value of `--run-dir`, `$XDG_STATE_HOME/muster/runs` or
/// `~/.local/state/muster/runs`. It may not exist yet.
pub fn parent(run_dir: Option<&Path>) -> Result<PathBuf, RunDirError> {
    match run_dir {
        Some(run_dir) => Ok(run_dir.to_owned()),
        None => Ok(state().ok_or(RunDirError::NoHome)?.join("runs")),
    }
}

/// Returns the directory of this user's Muster state: `$XDG_STATE_HOME/muster` or `~/.local/state/muster`.
pub fn state() -> Option<PathBuf> {
    user_state_dir(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

/// The XDG specification requires that a relative XDG_STATE_HOME is ignored.
fn user_state_dir(xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".local/state")))?;
    Some(state.join("muster"))
}

/// Returns the directory of the run that `run` names; see [`RunDir::open`](super::RunDir::open).
pub(super) fn find(run_dir: Option<&Path>, run: &str) -> Result<PathBuf, RunDirError> {
    let path = Path::new(run);
    // A run id contains no slash and is not `.` or `..`.
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

/// Returns the names of the runs in `parent`, sorted by name and therefore by time. Entries that are not run directories are skipped;
/// broken run directories are included.
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
    fn the_state_directory_follows_the_xdg_specification() {
        let check = |xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let found = user_state_dir(xdg.map(OsString::from), home.map(OsString::from));
            assert_eq!(found, expected.map(PathBuf::from), "{xdg:?} {home:?}");
        };
        check(Some("/x"), Some("/home/u"), Some("/x/muster"));
        check(None, Some("/home/u"), Some("/home/u/.local/state/muster"));
        check(Some("relative"), Some("/home/u"), Some("/home/u/.local/state/muster"));
        check(Some(""), Some(""), None);
        check(None, None, None);
    }
}
