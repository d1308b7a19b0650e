//! Threads that never sleep, many times as many as there are processors, beside an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::fixture::{Generator, health, reason};

/// Of each processor.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_loop_beside_an_agent_is_named() {
    let mut generator = Generator::gather(1, 3_000, "200us", &["--allow-void"]).await;
    generator.join(&["--workers", "2"]);
    generator.armed().await;
    let busy = Busy::start();
    let report = generator.end(true).await;
    drop(busy);
    let reason = reason(&report, "agent_late");
    assert!(reason.starts_with("threads of slot-0 that were due woke "), "{reason}");
    assert!(reason.contains("; end what else runs on "), "{reason}");
    assert!(health(&report, 0, "machine_busy_share_worst") > 0.9);
    assert!(health(&report, 0, "cpu_share") < 0.5, "it was not the agent that was busy");
}
