//! Processes whose machine runs out of files or threads, or has a wrong clock, and an agent that can join but cannot prepare.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;

use crate::security::site::{directory, token};
use crate::security::victim::Victim;
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, agent, complete, coordinator, run, under, with_files};
use muster_testing::report::Report;

const PROBLEM: &str = "cannot accept a connection: Too many open files";

/// The arguments of a run with `rows` rows and no database.
fn args(files: &Files, rows: usize, more: &[&str]) -> Vec<String> {
    let rows: String = (0..rows).map(|row| format!("h{}\n", row % 20)).collect();
    let rows = files.write("rows.csv", format!("hostname\n{rows}"));
    let query = files.write("q.sql", "SELECT :hostname::text");
    let own = [&*rows, "--query", &query, "--allow-void"];
    own.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn command(listen: SocketAddr, agents: u16, args: &[String]) -> Command {
    run(listen, agents, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Opens more connections than the process may have files, and checks how it reacts. Returns the connections.
async fn runs_out_of_files(process: &mut Process, address: SocketAddr) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..60 {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    process.wait_for(PROBLEM).await;
    let victim = Victim::of(process);
    let cpu = victim.cpu(Duration::from_secs(3)).await;
    assert!(cpu < 10, "{cpu} % of a processor while it waits for files");
    let stderr = process.stderr();
    let lines = stderr.lines().filter(|line| line.contains("WARN") && line.contains(PROBLEM)).count();
    assert!((1..=3).contains(&lines), "{lines} lines:\n{stderr}");
    open
}

async fn check_recovery_from_missing_files(name: &str, encrypted: bool) {
    let files = Files::new();
    let listen = address();
    let mut args = args(&files, 4, &["--no-run-dir", "--join-timeout", "300s"]);
    let mut join = vec!["--once".to_owned(), "--null-database".to_owned()];
    if encrypted {
        let secret = token(&files, &[]).await;
        args.extend(["--identity".to_owned(), directory(&files)]);
        join.extend(["--join-file".to_owned(), files.secret("join", secret)]);
    }
    let mut coordinator = Process::start(with_files(&command(listen, 1, &args), 40));
    coordinator.wait_for("waiting for").await;
    let open = runs_out_of_files(&mut coordinator, listen).await;
    // The line about missing agents includes the reason.
    coordinator.wait_for(&format!("waiting for 1 of 1 agents (slot-0); {PROBLEM}")).await;
    println!("{name}: the reason is printed");
    drop(open);
    let join: Vec<&str> = join.iter().map(String::as_str).collect();
    let mut agent = Process::start(agent(listen, &join));
    coordinator.end().await.expect(0);
    agent.end().await.expect(0);
}

#[tokio::test]
async fn without_files_a_coordinator_pauses_and_reports_it_in_clear() {
    check_recovery_from_missing_files("in clear", false).await;
}

#[tokio::test]
async fn without_files_a_coordinator_pauses_and_reports_it_in_tls() {
    check_recovery_from_missing_files("in TLS", true).await;
}

#[tokio::test]
async fn without_files_the_metrics_port_pauses_and_reports_it() {
    let metrics = address();
    let command = agent(address(), &["--metrics", &metrics.to_string()]);
    let mut agent = Process::start(with_files(&command, 24));
    agent.wait_for("metrics at").await;
    drop(runs_out_of_files(&mut agent, metrics).await);
}

/// A user without other processes, so that the limit on a user's processes limits this process's threads.
const UNUSED_USER: &str = "54321";

/// The same command with a limit on the number of threads. Where this is not possible, prints that it was skipped and returns `None`.
fn with_threads(command: &Command, count: u32) -> Option<Command> {
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let programs = ["setpriv", "prlimit"].map(|name| Path::new("/usr/bin").join(name));
    if !is_root || !programs.iter().all(|program| program.exists()) {
        println!("skipped: limits on threads need root, setpriv and prlimit");
        return None;
    }
    let limit = format!("--nproc={count}");
    let as_user = ["--reuid", UNUSED_USER, "--regid", UNUSED_USER, "--clear-groups"];
    let args = [&[programs[0].to_str().unwrap()], &as_user[..], &[programs[1].to_str().unwrap(), &limit]];
    Some(under(command, &args.concat()))
}

#[tokio::test]
async fn an_agent_that_cannot_start_its_threads_fails_the_run_with_the_reason() {
    let files = Files::new();
    let listen = address();
    let ask = ["--workers", "16", "--null-database"];
    let Some(limited) = with_threads(&agent(listen, &ask), 6) else { return };
    let mut coordinator = Process::start(command(listen, 1, &args(&files, 4, &["--no-run-dir"])));
    coordinator.wait_for("waiting for").await;
    let ended = complete(limited).await.expect(2).expect_stderr("cannot start a worker thread");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    coordinator
        .end()
        .await
        .expect(2)
        .expect_stderr("slot-0 cannot prepare: cannot start a worker thread")
        .expect_stderr("--workers");
}

#[tokio::test]
async fn a_program_that_cannot_start_a_thread_exits_with_the_reason() {
    let files = Files::new();
    let args = args(&files, 4, &["--no-run-dir"]);
    let commands = [(command(address(), 1, &args), 2), (agent(address(), &[]), 1)];
    for (command, threads) in commands {
        let Some(limited) = with_threads(&command, threads) else { return };
        let ended = complete(limited)
            .await
            .expect(2)
            .expect_stderr("cannot start a thread")
            .expect_stderr("ulimit -u");
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

/// Sets the wall clock to 1969; other clocks are unchanged.
const EARLY: &str = r"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_REALTIME) at->tv_sec = -86400;
    return failed;
}
";

#[tokio::test]
async fn a_clock_before_1970_is_an_error() {
    let files = Files::new();
    let (source, library) = (files.write("early.c", EARLY), files.path().join("early.so"));
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().await;
    if !compiled.is_ok_and(|status| status.success()) {
        println!("skipped: no C compiler to build the replaced clock");
        return;
    }
    let args = args(&files, 4, &["--no-run-dir"]);
    for mut command in [command(address(), 1, &args), agent(address(), &[])] {
        command.env("LD_PRELOAD", &library);
        complete(command).await.expect(2).expect_stderr("s before 1970").expect_stderr("NTP");
    }
}

#[tokio::test]
async fn an_agent_that_cannot_prepare_backs_off_and_is_reported_once() {
    let files = Files::new();
    let listen = address();
    let dir = files.path().join("runs");
    let dir = dir.to_str().unwrap();
    let args = args(&files, 300, &["--rate", "20", "--run-dir", dir, "--slot-grace", "8s"]);
    let mut coordinator = Process::start(command(listen, 2, &args));
    coordinator.wait_for("waiting for").await;
    let honest = || Process::start(agent(listen, &["--null-database"]));
    let mut agents = [honest(), honest()];
    coordinator.wait_for("armed").await;
    agents[1].signal("KILL");
    agents[1].end().await;
    let mut command = agent(listen, &[]);
    command.env("DATABASE_URL", "postgresql://x@127.0.0.1:1/x");
    let unable = Process::start(command);
    let ended = coordinator.end().await.expect(0);
    let report = Report::of(&ended);
    let losses: Vec<(u64, &str)> = report
        .list("/events")
        .iter()
        .map(|event| (event["times"].as_u64().unwrap_or(1), event["what"].as_str().unwrap()))
        .filter(|(_, what)| what.contains("cannot prepare"))
        .collect();
    assert_eq!(losses.len(), 1, "{losses:?}");
    // With delays of 0.1, 0.2, 0.4 … 2 s, about ten attempts fit into the grace of eight seconds.
    assert!((3..=14).contains(&losses[0].0), "{losses:?}");
    let lines = ended.stderr.matches("cannot prepare").count();
    assert!(lines <= 4, "{lines} lines of {}", ended.stderr);
    // The Work stream may be closed before Bye arrives, which is logged as another reason; each change of the reason is logged again.
    assert!(unable.stderr().matches("run ended: cannot prepare").count() <= 4, "{}", unable.stderr());
    let run = report.text("/run_id");
    let again = coordinator_report(dir, run).await;
    assert_eq!(again, ended.stdout, "the report from the journal differs");
}

async fn coordinator_report(dir: &str, run: &str) -> String {
    complete(coordinator(&["report", run, "--run-dir", dir, "--output", "json"])).await.expect(0).stdout
}
