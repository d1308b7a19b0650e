//! The worker threads. Each worker has its own thread, which blocks on its socket. gRPC uses other threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc as blocking;
use std::thread;

use muster_core::limits;
use muster_postgres::Execute;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::driver::CannotStart;
use crate::waiter::ThreadWaiter;
use crate::worker::{Opened, Worker, WorkerEvent};

/// The threads of one session's workers.
pub(crate) struct Threads {
    threads: Vec<thread::JoinHandle<()>>,
    /// Closed when the last thread ends.
    running: mpsc::Receiver<()>,
}

/// A started thread that waits for its worker.
struct Started {
    hand_over: blocking::Sender<Worker>,
    thread: thread::JoinHandle<()>,
}

impl Threads {
    /// Starts a thread for each worker. `open` connects a worker, given by its index, to each database of the run. It may block. Either all
    /// workers are started, or none.
    pub(crate) fn start<E: Execute>(
        workers: Vec<Worker>,
        open: impl Fn(u16, CancellationToken) -> Opened<E> + Clone + Send + 'static,
    ) -> Result<Self, CannotStart> {
        let (held, running) = mpsc::channel(1);
        let start = |worker: &Worker| {
            let (open, held) = (open.clone(), held.clone());
            start_one(worker.index, move |worker| {
                run(worker, open);
                drop(held);
            })
        };
        let started: io::Result<Vec<Started>> = workers.iter().map(start).collect();
        let started = started.map_err(CannotStart::Thread)?;
        let threads = started.into_iter().zip(workers).map(|(Started { hand_over, thread }, worker)| {
            // This cannot fail: the thread does nothing but wait for its worker.
            let _ = hand_over.send(worker);
            thread
        });
        Ok(Self { threads: threads.collect(), running })
    }

    /// Waits for the workers, which were stopped before and end within the grace period of a cancel. Returns false if one did not end.
    pub(crate) async fn join(self) -> bool {
        let Self { threads, mut running } = self;
        if timeout(limits::CANCEL_GRACE + limits::SHUTDOWN_TIMEOUT, running.recv()).await.is_err() {
            warn!("a worker thread did not end and is abandoned");
            return false;
        }
        // Each thread has dropped its sender, which is the last thing that it does, so these calls do not block for long.
        if !threads.into_iter().all(|thread| thread.join().is_ok()) {
            warn!("a worker thread panicked");
        }
        true
    }
}

/// Starts a thread that runs `run` when it receives its worker. It ends at once if the sender is dropped instead.
fn start_one(index: u16, run: impl FnOnce(Worker) + Send + 'static) -> io::Result<Started> {
    let (hand_over, handed_over) = blocking::channel();
    let body = move || {
        if let Ok(worker) = handed_over.recv() {
            run(worker);
        }
    };
    let builder =
        thread::Builder::new().name(format!("worker-{index}")).stack_size(limits::WORKER_STACK_BYTES);
    Ok(Started { hand_over, thread: builder.spawn(body)? })
}

fn run<E: Execute>(worker: Worker, open: impl Fn(u16, CancellationToken) -> Opened<E>) {
    let (index, events) = (worker.index, worker.events.clone());
    let waiter = ThreadWaiter::registered(worker.gauges.register_thread());
    let ran = || worker.run(waiter, |cancel| open(index, cancel));
    if catch_unwind(AssertUnwindSafe(ran)).is_err() {
        error!("worker {index} panicked");
        let _ = events.blocking_send(WorkerEvent::Lost);
    }
}
