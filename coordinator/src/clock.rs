//! The time as tokio's timers have it, and work that may block. A test may run the clock ahead of the machine's, on a single thread.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use muster_agent::blocking;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tracing::warn;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Runs what may wait for a disk. The other tasks of this thread go on elsewhere, where there is an elsewhere.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A task that waits for a disk again and again: on a thread of its own, since leaving this one each time costs more than the writing.
pub(crate) fn aside<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let handle = Handle::current();
    if handle.runtime_flavor() != RuntimeFlavor::MultiThread {
        return tokio::spawn(task);
    }
    let (hand_over, handed_over) = mpsc::channel();
    let run = move || handed_over.recv().ok().map(|task| handle.block_on(task));
    match blocking::start("journal", run) {
        Ok(done) => {
            // It waits for nothing else.
            let _ = hand_over.send(task);
            tokio::spawn(async {
                done.await.ok().flatten().expect("the task on the other thread has ended well")
            })
        }
        Err(problem) => {
            warn!("{problem}; what is written shares a thread with everything else");
            tokio::spawn(task)
        }
    }
}
