//! The cache directory of downloaded programs: chooses it, creates it, and removes the leftovers of interrupted downloads. It does not
//! decide what the directory contains.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::error::FileError;
use super::user::RunAs;

/// The cache directory for root when the user that runs the server cannot enter root's home directory.
const SYSTEM_CACHE: &str = "/var/cache/muster";
/// A killed download leaves a directory with this prefix. The next download removes it once it is older than `UNFINISHED_MAX_AGE`.
const UNFINISHED: &str = ".fetch-";
/// Longer than any download may run.
const UNFINISHED_MAX_AGE: Duration = Duration::from_secs(3_600);

#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("no cache directory: set HOME or XDG_CACHE_HOME to an absolute path")]
    None,
    #[error("cache directory '{}' cannot be entered{by_user}", path.display())]
    Closed { path: PathBuf, by_user: String },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Returns the cache directory to use, which need not exist yet.
pub(super) async fn directory(requested: Option<&Path>, run_as: &RunAs) -> Result<PathBuf, CacheError> {
    let (xdg, home) = (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    let of_user = of_user(xdg.as_deref(), home.as_deref());
    choose(requested, of_user, run_as).await
}

/// Creates the directory and its missing parents, readable by all users regardless of the umask. Existing directories keep their modes.
pub(super) fn make(path: &Path) -> Result<(), CacheError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    fs::create_dir_all(path).map_err(FileError::on("create", path))?;
    for made in missing {
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(made, mode).map_err(FileError::on("set the mode of", made))?;
    }
    Ok(())
}

/// Creates a temporary directory in the cache, so that a rename into the cache stays on one file system. It is removed when dropped.
pub(super) fn work_directory(cache: &Path) -> Result<TempDir, CacheError> {
    remove_unfinished(cache);
    let made = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(cache);
    Ok(made.map_err(FileError::on("create a directory in", cache))?)
}

/// A directory that the user specified is used or refused. The default directory can be replaced by the system's.
async fn choose(
    requested: Option<&Path>,
    of_user: Option<PathBuf>,
    run_as: &RunAs,
) -> Result<PathBuf, CacheError> {
    if let Some(path) = requested {
        let path = std::path::absolute(path).map_err(FileError::on("find cache directory", path))?;
        return match can_be_entered(&path, run_as).await {
            true => Ok(path),
            false => Err(CacheError::Closed { path, by_user: run_as.by_user() }),
        };
    }
    match of_user {
        Some(path) if can_be_entered(&path, run_as).await => Ok(path),
        _ if matches!(run_as, RunAs::Other(_)) => Ok(PathBuf::from(SYSTEM_CACHE)),
        // This user cannot enter its own cache. The attempt to create it reports the cause.
        Some(path) => Ok(path),
        None => Err(CacheError::None),
    }
}

/// Returns true if the server's user can enter the directory. A missing directory will be created readable by all, so its nearest existing
/// ancestor decides.
async fn can_be_entered(path: &Path, run_as: &RunAs) -> bool {
    let nearest = path.ancestors().find(|ancestor| ancestor.exists());
    match nearest {
        Some(nearest) => run_as.can_enter(nearest).await,
        None => false,
    }
}

/// Returns `$XDG_CACHE_HOME/muster`, else `~/.cache/muster`. A relative XDG_CACHE_HOME is ignored, as the XDG specification requires.
fn of_user(xdg: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let absolute = |path: Option<&OsStr>| path.map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".cache"))).map(|cache| cache.join("muster"))
}

/// Removes old leftovers. Errors are ignored: a remaining directory only takes disk space.
fn remove_unfinished(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).map(|m| m.elapsed());
        let is_old = matches!(age, Ok(Ok(age)) if age > UNFINISHED_MAX_AGE);
        if is_old && entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_xdg_rules() {
        let check = |xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let found = of_user(xdg.map(OsStr::new), home.map(OsStr::new));
            assert_eq!(found, expected.map(PathBuf::from), "{xdg:?} {home:?}");
        };
        check(Some("/x"), Some("/home/u"), Some("/x/muster"));
        check(None, Some("/home/u"), Some("/home/u/.cache/muster"));
        check(Some("relative"), Some("/home/u"), Some("/home/u/.cache/muster"));
        check(Some(""), None, None);
    }

    #[tokio::test]
    async fn a_cache_that_the_servers_user_cannot_enter_is_refused_or_replaced_by_the_systems() {
        let run_as = RunAs::of_this_process().await.unwrap();
        if run_as == RunAs::CurrentUser {
            return println!("skipped: only root starts a server as another user");
        }
        let closed = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
        let below = closed.path().join("muster");
        let refused = choose(Some(&below), None, &run_as).await;
        assert!(matches!(refused, Err(CacheError::Closed { .. })), "{refused:?}");
        let fallback = choose(None, Some(below.clone()), &run_as).await;
        assert_eq!(fallback.unwrap(), Path::new(SYSTEM_CACHE));
        fs::set_permissions(closed.path(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(choose(None, Some(below.clone()), &run_as).await.unwrap(), below);
    }

    #[test]
    fn the_leftovers_of_a_killed_download_are_removed_once_they_are_old() {
        let cache = tempfile::tempdir().unwrap();
        let names = [".fetch-old", ".fetch-new", "postgresql-18.6"];
        for name in names {
            let path = cache.path().join(name);
            fs::create_dir(&path).unwrap();
            let age = if name.ends_with("new") { 0 } else { 7_200 };
            let then = std::time::SystemTime::now() - Duration::from_secs(age);
            fs::File::open(&path).unwrap().set_modified(then).unwrap();
        }
        let work = work_directory(cache.path()).unwrap();
        let left = names.map(|name| cache.path().join(name).exists());
        assert_eq!(left, [false, true, true]);
        assert!(work.path().exists());
    }
}
