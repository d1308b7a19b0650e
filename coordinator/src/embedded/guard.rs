//! The guard: a shell in a process group of its own that makes the directory, runs initdb and the server, and takes all of it
//! away when its standard input ends. Only the owner holds the other end of that pipe, so a clean stop, a panic, Ctrl-C and
//! `kill -9` of the owner all take the same way out. It must know nothing about where programs come from or when a server is ready.

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

/// What the script says on its standard output before each step; the last one said is the step that failed.
pub(super) const SAYS_INITDB: &str = "initdb";
pub(super) const SAYS_SERVER: &str = "server";

/// `$1` the directory, `$2` the programs, the rest the server's arguments.
///
/// - Signals go to the whole group, `0`, which is whatever of guard, initdb, initdb's own children and postmaster there is at that
///   moment; no process id is remembered that could have become another process's. The shells ignore them, the programs install
///   handlers of their own. QUIT is repeated: one that comes before the handler is lost.
/// - PIPE is ignored too: a word to an owner who is gone must not be the last thing that is done.
/// - The directory is made here and not by the owner, who could be killed before there is anybody to remove it.
/// - Only what is started keeps the output pipe open, as descriptor 3, so that the pipe's end tells the owner that it ended.
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

/// For a guard that was itself killed, which leaves its group without a leader: `$1` the group, `$2` the directory.
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
    /// `None` once released.
    lifeline: Option<ChildStdin>,
    directory: PathBuf,
    run_as: RunAs,
    swept: bool,
}

impl Guard {
    /// The guard, and the pipe on which it says its steps and whose end is the end of initdb or the server.
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
        let said = shell.stdout.take().map(OwnedFd::from);
        let guard =
            Self { lifeline: shell.stdin.take(), shell, directory, run_as: run_as.clone(), swept: false };
        let said = said.ok_or_else(|| io::Error::other("no pipe from it"));
        let said = said.and_then(pipe::Receiver::from_owned_fd);
        Ok((guard, said.map_err(EmbeddedError::Guard)?))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets go, and waits until server and directory are gone.
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
            // Killed, and not by its own last resort, which removes the directory first.
            Ok(Some(status)) if status.signal().is_some() && !self.swept && self.directory.exists() => {
                !self.sweep()
            }
            Ok(Some(_)) | Err(_) => true,
        }
    }

    /// Puts a sweeper in the dead guard's place, to be waited for like it. As the server's user: it can reach nothing else.
    fn sweep(&mut self) -> bool {
        self.swept = true;
        let group = self.shell.id().to_string();
        let mut sweeper = self.run_as.command(Path::new("/bin/sh"));
        sweeper.args(["-c", SWEEP, "muster-sweep", &group]).arg(&self.directory);
        sweeper.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        match sweeper.spawn() {
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
    /// For panics and dropped futures: the same as `stop`, blocking. After a `stop` there is nothing left to wait for.
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
