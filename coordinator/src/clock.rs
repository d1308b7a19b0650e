//! The current time according to tokio's timers, and helpers for blocking work. A test can pause or advance this clock; it then uses a
//! single-threaded runtime.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use muster_process::blocking;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tracing::warn;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Runs work that may wait for a disk. In a multi-threaded runtime, the other tasks of this thread move to another thread meanwhile.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Runs a task that waits for a disk repeatedly on a dedicated thread, because `block_in_place` for each write costs more than the write.
pub(crate) fn spawn_on_own_thread<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let handle = Handle::current();
    if handle.runtime_flavor() != RuntimeFlavor::MultiThread {
        return tokio::spawn(task);
    }
    let (task_sender, task_receiver) = mpsc::channel();
    let run = move || task_receiver.recv().ok().map(|task| handle.block_on(task));
    match blocking::start("journal", run) {
        Ok(done) => {
            // The thread waits only for this task, so the send cannot fail.
            let _ = task_sender.send(task);
            tokio::spawn(async {
                done.await.ok().flatten().expect("the task on the dedicated thread completed")
            })
        }
        Err(problem) => {
            warn!("{problem}; journal writes share threads with all other work");
            tokio::spawn(task)
        }
    }
}
