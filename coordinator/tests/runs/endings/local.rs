//! `run --local` without a database: the embedded server, its directory and all its processes are removed with the coordinator, in every
//! phase and however it ends.

use std::path::Path;

use tokio::time::{Duration, Instant, sleep};

use muster_testing::binaries::workspace;
use muster_testing::files::{Files, SLEEP, args};
use muster_testing::processes::{Process, complete, coordinator};
use muster_testing::report::Report;

/// The longest time that a stopping server needs to end its child processes.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// There is no notification for the end of a file or of another user's process, so they are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The text on stderr at the beginning of each phase, and whether rows run by then.
const PHASES: [(&str, bool); 3] =
    [("starting PostgreSQL", false), ("loading 345600 rows", false), ("armed", true)];

/// A run whose server has its own TMPDIR. Its rows are slow enough that the test can act in the middle of it.
struct Local {
    coordinator: Process,
    tmp: Files,
    _rows: Files,
}

impl Local {
    async fn start(phase: &str) -> Option<Self> {
        Self::start_with(SLEEP, phase).await
    }

    /// Waits until `phase` is printed. `None` without a PostgreSQL.
    async fn start_with(sql: &str, phase: &str) -> Option<Self> {
        let (tmp, rows) = (Files::new(), Files::new());
        let sleeps = rows.sleeps(2_000, 0.05);
        rows.write("sleep.sql", sql);
        let head = ["run", "--local", "--agents", "2", "--output", "json"];
        let mut command = coordinator(&[&head, &args(&sleeps)[..]].concat());
        command.env("TMPDIR", tmp.path());
        let mut coordinator = Process::start(command);
        let stderr = coordinator.wait_for_either(phase, "no PostgreSQL to start").await;
        if stderr.contains("no PostgreSQL to start") {
            println!("skipped: {stderr}");
            return None;
        }
        Some(Self { coordinator, tmp, _rows: rows })
    }

    async fn expect_nothing_left(&self) {
        expect_nothing_left(&self.tmp).await;
    }
}

async fn expect_nothing_left(tmp: &Files) {
    let since = Instant::now();
    loop {
        let files: Vec<_> = std::fs::read_dir(tmp.path()).unwrap().flatten().collect();
        let processes = processes_in(tmp.path());
        if files.is_empty() && processes.is_empty() {
            return;
        }
        assert!(since.elapsed() < GONE_WITHIN, "still there: {files:?} {processes:?}");
        sleep(POLL_INTERVAL).await;
    }
}

/// Returns the processes that have the directory in their command line or as their working directory.
fn processes_in(directory: &Path) -> Vec<String> {
    let name = directory.to_str().unwrap();
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let cwd = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
        if line.contains(name) || cwd.starts_with(directory) {
            found.push(format!("{} {line}", process.file_name().to_string_lossy()));
        }
    }
    found
}

#[tokio::test]
async fn the_first_command_of_the_readme_runs_to_its_end_and_leaves_nothing() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let line = |start: &str| readme.lines().find_map(|line| line.strip_prefix(start)).expect(start);
    let args: Vec<&str> = line("cargo run --release --bin coordinator -- ").split(' ').collect();
    let (tmp, runs) = (Files::new(), Files::new());
    let mut command = coordinator(&args);
    command.env("TMPDIR", tmp.path()).env("XDG_STATE_HOME", runs.path());
    let ended = complete(command).await;
    if ended.stderr.contains("no PostgreSQL to start") {
        println!("skipped: {}", ended.stderr);
        return;
    }
    let report = ended.expect(0).stdout;
    assert!(report.contains("200 total · 200 completed · 0 failed · 0 unaccounted"), "{report}");
    let result = line("result  ");
    assert!(report.contains(result), "the README's report has {result}, but this one is: {report}");
    expect_nothing_left(&tmp).await;
}

#[tokio::test]
async fn nothing_is_left_by_a_coordinator_that_is_killed_in_any_phase() {
    for (phase, _) in PHASES {
        let Some(mut local) = Local::start(phase).await else { return };
        if phase == "armed" {
            let found = processes_in(local.tmp.path());
            assert!(found.len() >= 5, "the server's processes are not found: {found:?}");
        }
        local.coordinator.signal("KILL");
        assert_eq!(local.coordinator.end().await.code, None);
        local.expect_nothing_left().await;
    }
}

#[tokio::test]
async fn nothing_is_left_by_a_coordinator_that_is_interrupted_in_any_phase() {
    for (phase, runs) in PHASES {
        for signal in ["INT", "TERM"] {
            let Some(mut local) = Local::start(phase).await else { return };
            local.coordinator.signal(signal);
            let ended = local.coordinator.end().await.expect(130);
            if runs {
                assert_eq!(Report::of(&ended).text("/ending"), "interrupted");
            } else {
                assert_eq!(ended.stdout, "", "{phase}");
            }
            local.expect_nothing_left().await;
        }
    }
}

#[tokio::test]
async fn nothing_is_left_by_a_coordinator_that_is_interrupted_twice() {
    let Some(mut local) = Local::start("armed").await else { return };
    local.coordinator.signal("INT");
    local.coordinator.signal("TERM");
    local.coordinator.end().await.expect(130);
    local.expect_nothing_left().await;
}

#[tokio::test]
async fn nothing_is_left_by_a_run_that_cannot_start() {
    let Some(mut local) = Local::start_with("SELECT :hostname::text, nonsense", "starting").await else {
        return;
    };
    local.coordinator.end().await.expect(2).expect_stderr("LINE 1:");
    local.expect_nothing_left().await;
}
