//! An agent beside threads that never sleep, several for each processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::verdict::fixture::{Generator, health, reason};
use muster_testing::report::Report;

/// Per processor.
const THREADS: usize = 4;

struct Busy {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let processors = thread::available_parallelism().map_or(2, usize::from);
        let spin = |_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..THREADS * processors).map(spin).collect();
        Self { is_over, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// At least one of the two sensors notices it: a scheduler may prefer the probe's thread, which sleeps more than the workers.
#[tokio::test(flavor = "multi_thread")]
async fn busy_threads_beside_an_agent_are_reported() {
    let mut generator = Generator::start(1, 3_000, "200us", &["--allow-void"]).await;
    generator.join(&["--workers", "2"]);
    generator.armed().await;
    let busy = Busy::start();
    let report = generator.end(true).await;
    drop(busy);
    let is_late = report.list("/verdict/causes").iter().any(|cause| cause == "agent_late");
    let (cause, beginning) = match is_late {
        true => ("agent_late", "the scheduling delay of slot-0 was "),
        false => ("agent_waited", "workers of slot-0 were ready to run and waited for a processor for "),
    };
    let reason = reason(&report, cause);
    assert!(reason.starts_with(beginning), "{reason}");
    assert!(reason.contains("; stop other processes on "), "{reason}");
    assert!(health(&report, 0, "machine_busy_share_worst") > 0.9);
    assert!(health(&report, 0, "cpu_share") < 0.5, "the agent itself was not busy");
}

/// The queries are so short that a worker has hardly slept when the answer arrives. The probe's thread is preferred and notices little.
#[tokio::test(flavor = "multi_thread")]
async fn workers_with_short_queries_that_wait_for_a_processor_are_reported() {
    let mut generator = Generator::start(1, 4_000, "0us", &["--allow-void"]).await;
    generator.join(&["--workers", "2"]);
    generator.armed().await;
    let busy = Busy::start();
    let report = generator.end(true).await;
    drop(busy);
    if !counts_waits(&report) {
        return;
    }
    assert_ne!(report.text("/verdict/status"), "VALID");
    let reason = reason(&report, "agent_waited");
    assert!(
        reason.starts_with("workers of slot-0 were ready to run and waited for a processor for "),
        "{reason}"
    );
    assert!(reason.contains("; stop other processes on "), "{reason}");
    assert!(health(&report, 0, "run_queue/share") > 0.1);
}

/// Does not check how long the workers waited, because that depends on the machine.
#[tokio::test(flavor = "multi_thread")]
async fn the_waits_of_workers_are_reported_for_every_run() {
    let mut generator = Generator::start(1, 2_000, "0us", &["--allow-void"]).await;
    generator.join(&["--workers", "2"]);
    let report = generator.end(true).await;
    if !counts_waits(&report) {
        return;
    }
    assert!(health(&report, 0, "run_queue/waited_ms") > 0.0);
    assert!(health(&report, 0, "run_queue/share") > 0.0);
    assert!(health(&report, 0, "run_queue/turns") > 0.0);
    // No query failed, so these are the times in the report.
    let busy_ms: f64 = report.list("/workers").iter().map(|worker| worker["busy_ms"].as_f64().unwrap()).sum();
    let in_flight_ms = health(&report, 0, "run_queue/in_flight_ms");
    assert!((0.99..1.01).contains(&(in_flight_ms / busy_ms)), "{in_flight_ms} and {busy_ms}");
}

fn counts_waits(report: &Report) -> bool {
    let is_counted = report.at("/agents/0/health/run_queue").is_object();
    if !is_counted {
        println!("skipped: this kernel does not count how long threads wait for a processor");
    }
    is_counted
}
