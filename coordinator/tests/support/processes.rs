//! The built programs as processes: started with a clean environment, watched by what they say, signalled, awaited. No wait is
//! without a deadline, and whatever a test starts is killed when the test ends, by its id and nothing else.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::agent::agent_binary;

/// Much longer than anything here takes, so that a busy machine fails no test.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

// -- where they are ----------------------------------------------------------------------------------------------------

/// The workspace: `data/` and `docs/` are below it.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a member of a workspace")
}

/// An address that nothing else on this machine uses: every process has a part of 127.0.0.0/8 to itself, and no outgoing
/// connection takes its port from there. A free port that was only probed could be taken in the meantime.
pub(crate) fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [high, middle, low] = [16, 8, 0].map(|shift| (std::process::id() >> shift) as u8);
    ([127, high | 0x40, middle, low], NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

// -- starting them -----------------------------------------------------------------------------------------------------

pub(crate) fn coordinator(words: &[&str]) -> Command {
    // Before a run waits for agents, not while it does.
    agent_binary();
    program(Path::new(env!("CARGO_BIN_EXE_coordinator")), words)
}

/// A run that waits for agents at `address` and prints its result as JSON.
pub(crate) fn run(address: SocketAddr, agents: u16, words: &[&str]) -> Command {
    let (address, agents) = (address.to_string(), agents.to_string());
    let head = ["run", "--listen", &address, "--agents", &agents, "--output", "json"];
    coordinator(&[&head, words].concat())
}

/// One that dials this address, or the first of several that answers.
pub(crate) fn agent(address: impl Display, words: &[&str]) -> Command {
    program(agent_binary(), &[&["--coordinator", &address.to_string()], words].concat())
}

/// Neither a database nor a log filter of the person who runs the tests.
fn program(path: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(words).current_dir(workspace()).env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Runs are kept, as they are by default, but not among those of the person.
    command.env("XDG_STATE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    command.env("MUSTER_LOG", "info").env("NO_COLOR", "1");
    // Tests run beside each other: the machine is what they are not about.
    command.env("MUSTER_ALLOW_VOID", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The same program, and no file that it writes may grow beyond so many KiB.
pub(crate) fn limited(command: &Command, kib: u32) -> Command {
    under(command, &["/bin/bash", "-c", &format!("ulimit -f {kib}; exec \"$@\""), "bash"])
}

/// The same program, and so many files may be open in it.
pub(crate) fn with_files(command: &Command, count: u32) -> Command {
    under(command, &["/bin/bash", "-c", &format!("ulimit -n {count}; exec \"$@\""), "bash"])
}

/// The same program, started by another one, which gets it as its last arguments.
pub(crate) fn under(command: &Command, words: &[&str]) -> Command {
    let inner = command.as_std();
    let mut outer = program(Path::new(words[0]), &words[1..]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

/// Runs a command to its end.
pub(crate) async fn complete(command: Command) -> Ended {
    Process::start(command).end().await
}

/// Runs a command with `input` on its standard input.
pub(crate) async fn complete_with(mut command: Command, input: &[u8]) -> Ended {
    super::deadline::begin();
    let mut process = Process::start({
        command.stdin(Stdio::piped());
        command
    });
    let mut stdin = process.child.stdin.take().expect("it was piped");
    // A program that refuses its input early closes the pipe, and that is its right.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    process.end().await
}

// -- watching them -----------------------------------------------------------------------------------------------------

pub(crate) struct Process {
    child: Child,
    id: u32,
    stdout: Output,
    stderr: Output,
}

/// How a process ended and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Wants this exit code; a failure shows what was said.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Wants these words on stderr.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "'{words}' is not said in:\n{}", self.stderr);
        self
    }
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        super::deadline::begin();
        let mut child = command.spawn().expect("the program starts");
        let id = child.id().expect("it was not awaited yet");
        let stdout = child.stdout.take().map(Output::of).unwrap_or_default();
        let stderr = child.stderr.take().map(Output::of).unwrap_or_default();
        Self { child, id, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Until these words were said on stderr; everything said so far.
    pub(crate) async fn wait_for(&mut self, words: &str) -> String {
        self.wait_for_times(1, words).await
    }

    pub(crate) async fn wait_for_times(&mut self, times: usize, words: &str) -> String {
        self.wait_until(&format!("{times} times '{words}'"), |text| text.matches(words).count() >= times)
            .await
    }

    pub(crate) async fn wait_for_either(&mut self, one: &str, other: &str) -> String {
        self.wait_until(&format!("'{one}' or '{other}'"), |text| text.contains(one) || text.contains(other))
            .await
    }

    async fn wait_until(&mut self, what: &str, is_said: impl Fn(&str) -> bool) -> String {
        let heard = self.stderr.0.wait_for(|said| is_said(&said.text) || said.is_over);
        match timeout(WITHIN, heard).await {
            Ok(Ok(said)) if is_said(&said.text) => return said.text.clone(),
            _ => {}
        }
        panic!("{what} is not said in:\n{}", self.stderr.text());
    }

    pub(crate) fn said(&self) -> String {
        self.stderr.text()
    }

    /// By the `kill` program: the standard library knows only SIGKILL.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.id);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) async fn end(&mut self) -> Ended {
        let Ok(status) = timeout(WITHIN, self.child.wait()).await else {
            panic!("it has not ended within {WITHIN:?}; it said:\n{}", self.stderr.text());
        };
        let status: ExitStatus = status.expect("the kernel knows its children");
        for output in [&mut self.stdout, &mut self.stderr] {
            let is_over = timeout(WITHIN, output.0.wait_for(|said| said.is_over)).await.is_ok();
            assert!(is_over, "somebody else keeps its output open: {}", output.text());
        }
        Ended { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

pub(crate) fn signal(name: &str, id: u32) {
    let status = std::process::Command::new("kill").args(["-s", name, &id.to_string()]).status();
    assert!(status.expect("kill runs").success(), "kill -s {name} {id}");
}

/// What came out of a pipe so far.
struct Output(watch::Receiver<Said>);

#[derive(Default)]
struct Said {
    text: String,
    is_over: bool,
}

impl Default for Output {
    /// Of a pipe that was not asked for.
    fn default() -> Self {
        Self(watch::channel(Said { is_over: true, ..Said::default() }).1)
    }
}

impl Output {
    fn of(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(Said::default());
        tokio::spawn(async move {
            let mut block = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut block).await {
                sender.send_modify(|said| said.text.push_str(&String::from_utf8_lossy(&block[..count])));
            }
            sender.send_modify(|said| said.is_over = true);
        });
        Self(receiver)
    }

    fn text(&self) -> String {
        self.0.borrow().text.clone()
    }
}
