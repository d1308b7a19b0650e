//! The guard process: a shell in its own process group that creates the directory, runs initdb and the server, and stops the server and
//! removes the directory when its standard input ends. Only the owner holds the other end of that pipe, so a clean stop, a panic, Ctrl-C
//! and `kill -9` of the owner all lead to the same cleanup. This module must not depend on where programs come from or on when a server is
//! ready.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use tokio::net::unix::pipe;

use super::error::EmbeddedError;
use super::user::RunAs;

/// Longer than the script's own bound, which is longer than the 5 s after which a stopping server kills its children.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);
const STOP_POLL: Duration = Duration::from_millis(5);

/// The lines that the script prints on its standard output before each step. The last line printed is the step that failed.
pub(super) const STEP_INITDB: &str = "initdb";
pub(super) const STEP_SERVER: &str = "server";

/// Arguments: `$1` is the directory, `$2` the directory of the programs, the rest are the server's arguments.
///
/// - Signals go to the whole process group, `0`, which contains the guard and the running programs: initdb, its children or the postmaster.
///   No process id is stored, because it could have been reused by another process. The shells ignore the signals; the programs install
///   their own handlers. QUIT is repeated, because a signal that arrives before the handler is installed is lost.
/// - PIPE is ignored too, so that a write to an owner that has exited does not end the guard before it has cleaned up.
/// - The guard creates the directory, not the owner: an owner killed before the guard starts would leave the directory behind.
/// - Only initdb and the server keep the output pipe open, as descriptor 3, so the end of the pipe means that they have ended.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM PIPE
umask 077
ulimit -c 0
directory=$1 programs=$2
shift 2
exec 3>&1 2>&1
mkdir "$directory" || exit 1
{
    echo initdb >&3
    "$programs/initdb" -D "$directory/data" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync || exit
    echo server >&3
    exec "$programs/postgres" -D "$directory/data" "$@"
} </dev/null >"$directory/log" 2>&1 &
started=$!
exec 3>&- >/dev/null 2>&1
while read -r nothing; do :; done
{
    tries=0
    while [ "$tries" -lt 160 ]; do
        kill -QUIT 0
        sleep 0.05 || sleep 1
        tries=$((tries + 1))
    done
    rm -rf "$directory"
    kill -KILL 0
} &
ending=$!
wait "$started"
kill -KILL "$ending"
tries=0
until rm -rf "$directory"; do
    [ "$tries" -lt 40 ] || exit 1
    sleep 0.05 || sleep 1
    tries=$((tries + 1))
done
"#;

/// Cleans up after a guard that was killed, which leaves its process group without a leader: `$1` is the group, `$2` the directory.
const SWEEP: &str = r#"
tries=0
while [ "$tries" -lt 120 ] && kill -QUIT "-$1"; do
    sleep 0.05 || sleep 1
    tries=$((tries + 1))
done
kill -KILL "-$1"
rm -rf "$2"
"#;

#[derive(Debug)]
pub(super) struct Guard {
    shell: Child,
    /// The guard's standard input; `None` once released.
    lifeline: Option<ChildStdin>,
    directory: PathBuf,
    run_as: RunAs,
    /// True once the sweep script was started.
    swept: bool,
}

impl Guard {
    /// Starts the guard. Also returns the pipe on which it prints its steps; the pipe ends when initdb or the server has ended.
    pub(super) fn spawn(
        run_as: &RunAs,
        directory: PathBuf,
        programs: &Path,
        server_args: &[OsString],
    ) -> Result<(Self, pipe::Receiver), EmbeddedError> {
        let mut shell = run_as
            .command(Path::new("/bin/sh"))
            .args(["-c", SCRIPT, "muster-guard"])
            .args([&directory, programs])
            .args(server_args)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(EmbeddedError::Guard)?;
        let output = shell.stdout.take().map(OwnedFd::from);
        let guard =
            Self { lifeline: shell.stdin.take(), shell, directory, run_as: run_as.clone(), swept: false };
        let output = output.ok_or_else(|| io::Error::other("standard output is not a pipe"));
        let output = output.and_then(pipe::Receiver::from_owned_fd);
        Ok((guard, output.map_err(EmbeddedError::Guard)?))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Closes the guard's standard input, and waits until the server has stopped and the directory is removed.
    pub(super) async fn stop(mut self) -> Result<(), EmbeddedError> {
        let deadline = self.release();
        while !self.has_ended() && Instant::now() < deadline {
            tokio::time::sleep(STOP_POLL).await;
        }
        self.verify_gone()
    }

    fn release(&mut self) -> Instant {
        self.lifeline = None;
        Instant::now() + STOP_TIMEOUT
    }

    fn has_ended(&mut self) -> bool {
        match self.shell.try_wait() {
            Ok(None) => false,
            // The guard was killed, and not by its own final `kill -KILL 0`, which runs after the directory is removed.
            Ok(Some(status)) if status.signal().is_some() && !self.swept && self.directory.exists() => {
                !self.sweep()
            }
            Ok(Some(_)) | Err(_) => true,
        }
    }

    /// Starts the sweep script in place of the dead guard, and waits for it in the same way. It runs as the server's user, so it cannot
    /// affect other users' processes and files.
    fn sweep(&mut self) -> bool {
        self.swept = true;
        let group = self.shell.id().to_string();
        let mut sweep = self.run_as.command(Path::new("/bin/sh"));
        sweep.args(["-c", SWEEP, "muster-sweep", &group]).arg(&self.directory);
        sweep.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        match sweep.spawn() {
            Ok(shell) => {
                self.shell = shell;
                true
            }
            Err(_) => false,
        }
    }

    fn verify_gone(&self) -> Result<(), EmbeddedError> {
        if self.directory.exists() {
            return Err(EmbeddedError::LeftBehind {
                directory: self.directory.clone(),
                within: STOP_TIMEOUT,
            });
        }
        Ok(())
    }
}

impl Drop for Guard {
    /// Does the same as `stop`, but blocks, for panics and dropped futures. After a `stop` it returns at once.
    fn drop(&mut self) {
        let deadline = self.release();
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(STOP_POLL);
        }
        if let Err(error) = self.verify_gone() {
            tracing::warn!("{error}");
        }
    }
}
