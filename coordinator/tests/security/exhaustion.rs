//! A machine that has no more to give: files, threads; a clock that is of no use; an agent that can join and can do nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;

use crate::site::{directory, token};
use crate::support::files::Files;
use crate::support::processes::{Process, address, agent, complete, coordinator, run, under, with_files};
use crate::support::report::Report;
use crate::victim::Victim;

const PROBLEM: &str = "cannot accept a connection: Too many open files";

/// A run of these rows, without a database.
fn words(files: &Files, rows: usize, more: &[&str]) -> Vec<String> {
    let rows: String = (0..rows).map(|row| format!("h{}\n", row % 20)).collect();
    let rows = files.write("rows.csv", format!("hostname\n{rows}"));
    let query = files.write("q.sql", "SELECT :hostname::text");
    let own = [&*rows, "--query", &query, "--allow-void"];
    own.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn command(listen: SocketAddr, agents: u16, words: &[String]) -> Command {
    run(listen, agents, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// More connections than it may have open, and what it makes of them.
async fn runs_out_of_files(process: &mut Process, address: SocketAddr) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..60 {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    process.wait_for(PROBLEM).await;
    let victim = Victim::of(process);
    let cpu = victim.cpu(Duration::from_secs(3)).await;
    assert!(cpu < 10, "{cpu} % of a processor while it waits for files");
    let said = process.said();
    let lines = said.lines().filter(|line| line.contains("WARN") && line.contains(PROBLEM)).count();
    assert!((1..=3).contains(&lines), "{lines} lines:\n{said}");
    open
}

async fn an_agent_joins_after_files_are_there_again(name: &str, encrypted: bool) {
    let files = Files::new();
    let listen = address();
    let mut words = words(&files, 4, &["--no-run-dir", "--join-timeout", "300s"]);
    let mut join = vec!["--once".to_owned(), "--null-database".to_owned()];
    if encrypted {
        let secret = token(&files, &[]).await;
        words.extend(["--identity".to_owned(), directory(&files)]);
        join.extend(["--join-file".to_owned(), files.secret("join", secret)]);
    }
    let mut coordinator = Process::start(with_files(&command(listen, 1, &words), 40));
    coordinator.wait_for("waiting for").await;
    let open = runs_out_of_files(&mut coordinator, listen).await;
    // The line about missing agents names the reason.
    coordinator.wait_for(&format!("waiting for 1 of 1 agents (slot-0); {PROBLEM}")).await;
    println!("{name}: it is said");
    drop(open);
    let join: Vec<&str> = join.iter().map(String::as_str).collect();
    let mut agent = Process::start(agent(listen, &join));
    coordinator.end().await.expect(0);
    agent.end().await.expect(0);
}

#[tokio::test]
async fn without_files_a_coordinator_pauses_and_says_so_in_clear() {
    an_agent_joins_after_files_are_there_again("in clear", false).await;
}

#[tokio::test]
async fn without_files_a_coordinator_pauses_and_says_so_in_tls() {
    an_agent_joins_after_files_are_there_again("in TLS", true).await;
}

#[tokio::test]
async fn without_files_the_port_of_metrics_pauses_and_says_so() {
    let metrics = address();
    let command = agent(address(), &["--metrics", &metrics.to_string()]);
    let mut agent = Process::start(with_files(&command, 24));
    agent.wait_for("metrics at").await;
    drop(runs_out_of_files(&mut agent, metrics).await);
}

/// A user of whom nothing else runs, so that a limit on a user's processes is one on this process's threads.
const NOBODY_ELSE: &str = "54321";

/// The command, which may have so many threads. `None` where this cannot be had.
fn with_threads(command: &Command, count: u32) -> Option<Command> {
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let programs = ["setpriv", "prlimit"].map(|name| Path::new("/usr/bin").join(name));
    if !is_root || !programs.iter().all(|program| program.exists()) {
        println!("skipped: limits on threads need root, setpriv and prlimit");
        return None;
    }
    let limit = format!("--nproc={count}");
    let as_nobody = ["--reuid", NOBODY_ELSE, "--regid", NOBODY_ELSE, "--clear-groups"];
    let words = [&[programs[0].to_str().unwrap()], &as_nobody[..], &[programs[1].to_str().unwrap(), &limit]];
    Some(under(command, &words.concat()))
}

#[tokio::test]
async fn an_agent_that_cannot_start_its_threads_says_so_and_so_does_the_run() {
    let files = Files::new();
    let listen = address();
    let ask = ["--workers", "16", "--null-database"];
    let Some(limited) = with_threads(&agent(listen, &ask), 6) else { return };
    let mut coordinator = Process::start(command(listen, 1, &words(&files, 4, &["--no-run-dir"])));
    coordinator.wait_for("waiting for").await;
    let ended = complete(limited).await.expect(2).says("cannot start a worker thread");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    coordinator
        .end()
        .await
        .expect(2)
        .says("slot-0 cannot prepare: cannot start a worker thread")
        .says("--workers");
}

#[tokio::test]
async fn a_program_that_can_start_no_thread_says_so() {
    let files = Files::new();
    let words = words(&files, 4, &["--no-run-dir"]);
    let commands = [(command(address(), 1, &words), 2), (agent(address(), &[]), 1)];
    for (command, threads) in commands {
        let Some(limited) = with_threads(&command, threads) else { return };
        let ended = complete(limited).await.expect(2).says("cannot start a thread").says("ulimit -u");
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

/// The wall clock is set to 1969; other clocks are as they are.
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
async fn a_clock_before_1970_is_said_and_nothing_hangs() {
    let files = Files::new();
    let (source, library) = (files.write("early.c", EARLY), files.path().join("early.so"));
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().await;
    if !compiled.is_ok_and(|status| status.success()) {
        println!("skipped: there is no C compiler that would make another clock");
        return;
    }
    let words = words(&files, 4, &["--no-run-dir"]);
    for mut command in [command(address(), 1, &words), agent(address(), &[])] {
        command.env("LD_PRELOAD", &library);
        complete(command).await.expect(2).says("s before 1970").says("NTP");
    }
}

#[tokio::test]
async fn an_agent_that_cannot_prepare_joins_less_and_less_often_and_is_one_line() {
    let files = Files::new();
    let listen = address();
    let dir = files.path().join("runs");
    let dir = dir.to_str().unwrap();
    let words = words(&files, 300, &["--rate", "20", "--run-dir", dir, "--slot-grace", "8s"]);
    let mut coordinator = Process::start(command(listen, 2, &words));
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
    // With delays of 0.1, 0.2, 0.4 … 2 s there is room for some ten in the eight seconds of the grace.
    assert!((3..=14).contains(&losses[0].0), "{losses:?}");
    let lines = ended.stderr.matches("cannot prepare").count();
    assert!(lines <= 4, "{lines} lines of {}", ended.stderr);
    // Its work stream may be closed before Bye arrives, which is another reason; one that follows another is said again.
    assert!(unable.said().matches("run ended: cannot prepare").count() <= 4, "{}", unable.said());
    let run = report.text("/run_id");
    let again = coordinator_report(dir, run).await;
    assert_eq!(again, ended.stdout, "read back from the journal");
}

async fn coordinator_report(dir: &str, run: &str) -> String {
    complete(coordinator(&["report", run, "--run-dir", dir, "--output", "json"])).await.expect(0).stdout
}
