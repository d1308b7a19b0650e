//! Threads of workers: each has a current_thread runtime of its own, so that gRPC and queries do not distort each other. Several workers
//! share a thread when there are more of them than processors.

use std::num::NonZeroU16;
use std::thread;

use muster_common::limits;
use muster_proto::control::PrepareFailed;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::postgres::{Prepared, no_database};
use crate::worker::{Worker, WorkerEvent};
use crate::workplace::Execute;

/// The threads of one session's workers.
pub(crate) struct Threads(Vec<thread::JoinHandle<()>>);

impl Threads {
    /// Starts so many threads, or one for each processor, but no more than there are workers. `open` connects a worker to each database
    /// of the run.
    pub(crate) fn start<E, Opening>(
        workers: Vec<Worker>,
        threads: Option<NonZeroU16>,
        open: impl Fn(CancellationToken) -> Opening + Clone + Send + 'static,
    ) -> Result<Self, PrepareFailed>
    where
        E: Execute + 'static,
        Opening: Future<Output = Result<(Vec<E>, Prepared), PrepareFailed>> + Send + 'static,
    {
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        let count = threads.map_or_else(processors, |threads| threads.get().into()).min(workers.len());
        let mut shares: Vec<Vec<Worker>> = (0..count).map(|_| Vec::new()).collect();
        for (position, worker) in workers.into_iter().enumerate() {
            shares[position % count].push(worker);
        }
        let spawn = |share: Vec<Worker>| {
            let open = open.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            thread::Builder::new().name(format!("workers-{}", share[0].index)).spawn(move || {
                // Until its last query has ended.
                let _registered = share[0].gauges.register_thread();
                runtime.block_on(run_share(share, open));
            })
        };
        let cannot = |error: std::io::Error| no_database(&format!("cannot start a worker thread: {error}"));
        shares.into_iter().map(|share| spawn(share).map_err(cannot)).collect::<Result<_, _>>().map(Self)
    }

    /// Waits for the workers, which were told to end and do so within the grace of a cancel. False when one did not.
    pub(crate) async fn join(self) -> bool {
        let joined = tokio::task::spawn_blocking(|| self.0.into_iter().all(|thread| thread.join().is_ok()));
        match timeout(limits::CANCEL_GRACE + limits::FAREWELL_TIMEOUT, joined).await {
            Ok(Ok(true)) => true,
            Ok(_) => {
                warn!("a worker thread panicked");
                true
            }
            Err(_) => {
                warn!("a worker thread did not end; it is left to itself");
                false
            }
        }
    }
}

async fn run_share<E, Opening>(
    share: Vec<Worker>,
    open: impl Fn(CancellationToken) -> Opening + Clone + Send + 'static,
) where
    E: Execute + 'static,
    Opening: Future<Output = Result<(Vec<E>, Prepared), PrepareFailed>> + Send + 'static,
{
    let events = share.first().map(|worker| worker.events.clone());
    let mut workers = tokio::task::JoinSet::new();
    for worker in share {
        workers.spawn(worker.run(open.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        if let (Err(broken), Some(events)) = (ended, &events) {
            error!("a worker broke: {broken}");
            let _ = events.send(WorkerEvent::Lost).await;
        }
    }
}
