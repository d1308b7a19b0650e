//! Runs the built programs as processes: starts them with a clean environment, waits for text on stderr, sends signals, waits for their
//! end. Every wait has a deadline, and each process that a test starts is killed by its id when the test ends.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use muster_report::result::RunResult;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::binaries::{agent_binary, coordinator_binary, temporary, workspace};

/// Much longer than any step takes, so that a busy machine fails no test.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns an address that nothing else on this machine uses: every process has its own part of 127.0.0.0/8, and outgoing
/// connections take no ports from there. A free port found by probing could be taken in the meantime.
pub fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [high, middle, low] = [16, 8, 0].map(|shift| (std::process::id() >> shift) as u8);
    ([127, high | 0x40, middle, low], NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

// -- starting them -----------------------------------------------------------------------------------------------------

pub fn coordinator(args: &[&str]) -> Command {
    // Builds the agent, if necessary, before a run waits for agents.
    agent_binary();
    program(coordinator_binary(), args)
}

/// A run that waits for agents at `address` and prints its result as JSON.
pub fn run(address: SocketAddr, agents: u16, args: &[&str]) -> Command {
    let (address, agents) = (address.to_string(), agents.to_string());
    let head = ["run", "--listen", &address, "--agents", &agents, "--output", "json"];
    coordinator(&[&head, args].concat())
}

/// An agent that dials this address, or several addresses until one answers.
pub fn agent(address: impl Display, args: &[&str]) -> Command {
    program(agent_binary(), &[&["--coordinator", &address.to_string()], args].concat())
}

/// Without the database settings and the log filter of the user who runs the tests.
fn program(path: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(args).current_dir(workspace()).env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Runs are stored, as they are by default, but not among the user's own runs.
    command.env("XDG_STATE_HOME", temporary().join("state"));
    command.env("MUSTER_LOG", "info").env("NO_COLOR", "1");
    // Tests run concurrently, so this machine's load must not void a run.
    command.env("MUSTER_ALLOW_VOID", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The same program with a limit on the size of the files that it writes.
pub fn limited(command: &Command, kib: u32) -> Command {
    under(command, &["/bin/bash", "-c", &format!("ulimit -f {kib}; exec \"$@\""), "bash"])
}

/// The same program with a limit on the number of open files.
pub fn with_files(command: &Command, count: u32) -> Command {
    under(command, &["/bin/bash", "-c", &format!("ulimit -n {count}; exec \"$@\""), "bash"])
}

/// The same program, started by another one that gets it as its last arguments.
pub fn under(command: &Command, args: &[&str]) -> Command {
    let inner = command.as_std();
    let mut outer = program(Path::new(args[0]), &args[1..]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

/// Runs a command to its end.
pub async fn complete(command: Command) -> Ended {
    Process::start(command).end().await
}

/// Runs a command with `input` on its standard input.
pub async fn complete_with(mut command: Command, input: &[u8]) -> Ended {
    crate::deadline::begin();
    let mut process = Process::start({
        command.stdin(Stdio::piped());
        command
    });
    let mut stdin = process.child.stdin.take().expect("stdin is piped");
    // A program that refuses its input early closes the pipe, which is valid.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    process.end().await
}

// -- watching them -----------------------------------------------------------------------------------------------------

pub struct Process {
    child: Child,
    id: u32,
    stdout: Output,
    stderr: Output,
}

/// The exit code and the whole output of a process.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal ended the process.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Expects this exit code; a failure prints the output.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The report of a run that ended with this exit code.
    #[track_caller]
    pub fn report(&self, code: i32) -> RunResult {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Expects this text on stderr.
    #[track_caller]
    pub fn expect_stderr(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "'{text}' is not in:\n{}", self.stderr);
        self
    }
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        crate::deadline::begin();
        let mut child = command.spawn().expect("the program starts");
        let id = child.id().expect("it was not awaited yet");
        let stdout = child.stdout.take().map(Output::of).unwrap_or_default();
        let stderr = child.stderr.take().map(Output::of).unwrap_or_default();
        Self { child, id, stdout, stderr }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits until stderr contains this text; returns everything printed so far.
    pub async fn wait_for(&mut self, text: &str) -> String {
        self.wait_for_times(1, text).await
    }

    pub async fn wait_for_times(&mut self, times: usize, text: &str) -> String {
        self.wait_until(&format!("{times} times '{text}'"), |stderr| stderr.matches(text).count() >= times)
            .await
    }

    pub async fn wait_for_either(&mut self, one: &str, other: &str) -> String {
        self.wait_until(&format!("'{one}' or '{other}'"), |stderr| {
            stderr.contains(one) || stderr.contains(other)
        })
        .await
    }

    async fn wait_until(&mut self, what: &str, is_found: impl Fn(&str) -> bool) -> String {
        let found = self.stderr.0.wait_for(|output| is_found(&output.text) || output.is_closed);
        match timeout(TIMEOUT, found).await {
            Ok(Ok(output)) if is_found(&output.text) => return output.text.clone(),
            _ => {}
        }
        panic!("{what} is not in:\n{}", self.stderr.text());
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal with the `kill` program, because the standard library supports only SIGKILL.
    pub fn signal(&self, name: &str) {
        signal(name, self.id);
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub async fn end(&mut self) -> Ended {
        let Ok(status) = timeout(TIMEOUT, self.child.wait()).await else {
            panic!("the process has not ended within {TIMEOUT:?}; its stderr:\n{}", self.stderr.text());
        };
        let status: ExitStatus = status.expect("the kernel knows its children");
        for output in [&mut self.stdout, &mut self.stderr] {
            let is_closed = timeout(TIMEOUT, output.0.wait_for(|output| output.is_closed)).await.is_ok();
            assert!(is_closed, "another process keeps its output open: {}", output.text());
        }
        Ended { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

pub fn signal(name: &str, id: u32) {
    let status = std::process::Command::new("kill").args(["-s", name, &id.to_string()]).status();
    assert!(status.expect("kill runs").success(), "kill -s {name} {id}");
}

/// The output of a pipe so far.
struct Output(watch::Receiver<Buffer>);

#[derive(Default)]
struct Buffer {
    text: String,
    is_closed: bool,
}

impl Default for Output {
    /// The output of a pipe that was not requested.
    fn default() -> Self {
        Self(watch::channel(Buffer { is_closed: true, ..Buffer::default() }).1)
    }
}

impl Output {
    fn of(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(Buffer::default());
        tokio::spawn(async move {
            let mut block = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut block).await {
                sender.send_modify(|output| output.text.push_str(&String::from_utf8_lossy(&block[..count])));
            }
            sender.send_modify(|output| output.is_closed = true);
        });
        Self(receiver)
    }

    fn text(&self) -> String {
        self.0.borrow().text.clone()
    }
}
