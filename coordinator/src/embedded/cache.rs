//! The directory that keeps fetched programs: which one, made how, and rid of what killed fetches left. What is in it is for
//! others to decide.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::error::FileError;
use super::user::RunAs;

/// For root when its home cannot be entered by the user that runs the server.
const CACHE_OF_SYSTEM: &str = "/var/cache/muster";
/// A fetch that was killed leaves a directory of this prefix; the next one removes it when it is older than any fetch may run.
const UNFINISHED: &str = ".fetch-";
const UNFINISHED_FOR: Duration = Duration::from_secs(3_600);

#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("no cache directory: set HOME or XDG_CACHE_HOME to an absolute path")]
    None,
    #[error("cache directory '{}' cannot be entered{by_whom}", path.display())]
    Closed { path: PathBuf, by_whom: String },
    #[error(transparent)]
    File(#[from] FileError),
}

/// The cache to use, which need not exist yet.
pub(super) async fn directory(asked: Option<&Path>, run_as: &RunAs) -> Result<PathBuf, CacheError> {
    let (xdg, home) = (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    let of_user = of_user(xdg.as_deref(), home.as_deref());
    choose(asked, of_user, run_as).await
}

/// Directories that are made on the way are open to all, whatever the umask; those that exist keep their modes.
pub(super) fn make(path: &Path) -> Result<(), CacheError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    fs::create_dir_all(path).map_err(FileError::on("create", path))?;
    for made in missing {
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(made, mode).map_err(FileError::on("set the mode of", made))?;
    }
    Ok(())
}

/// A directory in the cache, and so on its file system, to be renamed from; removed when dropped.
pub(super) fn work_directory(cache: &Path) -> Result<TempDir, CacheError> {
    remove_unfinished(cache);
    let made = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(cache);
    Ok(made.map_err(FileError::on("create a directory in", cache))?)
}

/// A cache that was asked for is used or refused; the default may give way to the system's.
async fn choose(
    asked: Option<&Path>,
    of_user: Option<PathBuf>,
    run_as: &RunAs,
) -> Result<PathBuf, CacheError> {
    if let Some(path) = asked {
        let path = std::path::absolute(path).map_err(FileError::on("find cache directory", path))?;
        return match can_be_entered(&path, run_as).await {
            true => Ok(path),
            false => Err(CacheError::Closed { path, by_whom: run_as.by_whom() }),
        };
    }
    match of_user {
        Some(path) if can_be_entered(&path, run_as).await => Ok(path),
        _ if matches!(run_as, RunAs::Other(_)) => Ok(PathBuf::from(CACHE_OF_SYSTEM)),
        // Myself cannot enter my own cache: the attempt to create it names the cause.
        Some(path) => Ok(path),
        None => Err(CacheError::None),
    }
}

/// A directory still to be made will be open, so its nearest ancestor that exists decides.
async fn can_be_entered(path: &Path, run_as: &RunAs) -> bool {
    let nearest = path.ancestors().find(|ancestor| ancestor.exists());
    match nearest {
        Some(nearest) => run_as.can_enter(nearest).await,
        None => false,
    }
}

/// `$XDG_CACHE_HOME/muster`, else `~/.cache/muster`. A relative XDG_CACHE_HOME is to be ignored, says its specification.
fn of_user(xdg: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let absolute = |path: Option<&OsStr>| path.map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".cache"))).map(|cache| cache.join("muster"))
}

/// Best effort: what cannot be removed costs disk space and nothing else.
fn remove_unfinished(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).map(|m| m.elapsed());
        let is_old = matches!(age, Ok(Ok(age)) if age > UNFINISHED_FOR);
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
    async fn a_cache_that_is_closed_to_the_servers_user_is_refused_or_gives_way() {
        let run_as = RunAs::of_this_process().await.unwrap();
        if run_as == RunAs::Myself {
            return println!("skipped: only root starts a server as another user");
        }
        let closed = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
        let below = closed.path().join("muster");
        let refused = choose(Some(&below), None, &run_as).await;
        assert!(matches!(refused, Err(CacheError::Closed { .. })), "{refused:?}");
        let given_way = choose(None, Some(below.clone()), &run_as).await;
        assert_eq!(given_way.unwrap(), Path::new(CACHE_OF_SYSTEM));
        fs::set_permissions(closed.path(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(choose(None, Some(below.clone()), &run_as).await.unwrap(), below);
    }

    #[test]
    fn what_a_killed_fetch_left_goes_once_it_is_old() {
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
