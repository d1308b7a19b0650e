//! The workers of one session and the threads they run on. Each thread has a current_thread runtime of its own,
//! so that gRPC and queries do not distort each other. Several workers share a thread when there are more of them than processors.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use muster_common::limits;
use muster_common::measurement::Measurement;
use muster_proto::control::{PrepareFailed, Ready, RunConfig, WorkerReport};
use muster_proto::work::Assign;
use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::config::AgentConfig;
use crate::health::Gauges;
use crate::permit::Permit;
use crate::postgres::{Environment, Prepared, SessionSetup, Settings, Target, no_database};
use crate::worker::{Phase, Worker, WorkerEvent};

/// What the session must know of its workers.
pub(crate) enum CrewEvent {
    /// Every worker is prepared.
    Ready(Ready),
    PrepareFailed(PrepareFailed),
    /// One more worker has ended.
    Done,
}

pub(crate) struct Crew {
    events: mpsc::Receiver<WorkerEvent>,
    phase: watch::Sender<Phase>,
    cancel: CancellationToken,
    threads: Threads,
    /// `None` when there is no database that the workers could use.
    target: Option<Arc<Target>>,
    prepared: Vec<Option<Prepared>>,
    /// Workers that have the name of the slot that was given late.
    placed: usize,
    reports: Vec<Option<WorkerReport>>,
}

type Queues = Vec<mpsc::Sender<Assign>>;
type Measurements = mpsc::Receiver<(u16, Measurement)>;

impl Crew {
    /// Starts the threads; the workers begin to connect at once, and run queries only as long as the permit lasts.
    pub(crate) fn start(
        config: &AgentConfig,
        run: &RunConfig,
        application_name: String,
        permit: &Arc<Permit>,
        gauges: &Arc<Gauges>,
    ) -> (Self, Queues, Measurements) {
        let count = usize::from(config.workers);
        let (event_sender, events) = mpsc::channel(2 * count);
        let (measurement_sender, measurements) = mpsc::channel(4 * limits::BATCH_ROWS_MAX);
        let (phase, phase_receiver) = watch::channel(Phase::Preparing);
        let cancel = CancellationToken::new();
        let mut queues = Vec::with_capacity(count);
        let workers = (0..config.workers).map(|index| {
            // A queue holds batches, and each has at least one row: credit bounds both.
            let (queue, rows) = mpsc::channel(limits::CREDIT_ROWS_MAX as usize);
            queues.push(queue);
            Worker {
                index,
                rows,
                measurements: measurement_sender.clone(),
                phase: phase_receiver.clone(),
                events: event_sender.clone(),
                cancel: cancel.clone(),
                permit: Arc::clone(permit),
                gauges: Arc::clone(gauges),
            }
        });
        let workers: Vec<Worker> = workers.collect();
        let target = target(config, run, application_name).map(Arc::new);
        let threads = target.clone().and_then(|target| spawn_threads(workers, &target));
        let threads = threads.unwrap_or_else(|failed| {
            event_sender.try_send(WorkerEvent::PrepareFailed(failed)).expect("a new channel has room");
            Vec::new()
        });
        let crew = Self {
            events,
            phase,
            cancel,
            threads,
            target: target.ok(),
            prepared: (0..count).map(|_| None).collect(),
            placed: 0,
            reports: vec![None; count],
        };
        (crew, queues, measurements)
    }

    /// The agent stood by and has a slot now; [`CrewEvent::Ready`] comes again.
    pub(crate) fn take_place(&self, application_name: &str) {
        self.phase.send_replace(Phase::Placed { application_name: application_name.into() });
    }

    /// The database that the workers use.
    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        self.target.clone()
    }

    pub(crate) fn start_at(&self, starts_at: Instant) {
        self.phase.send_if_modified(|phase| {
            let is_first = matches!(phase, Phase::Preparing | Phase::Placed { .. });
            if is_first {
                *phase = Phase::Running { starts_at };
            }
            is_first
        });
    }

    /// Finish the query in flight and run no further row.
    pub(crate) fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// End the queries in flight on the server, too.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The next event; `None` when a worker's thread broke. Pending for ever once all workers are done.
    pub(crate) async fn next(&mut self) -> Option<CrewEvent> {
        loop {
            match self.events.recv().await {
                Some(WorkerEvent::Prepared(worker, prepared)) => {
                    self.prepared[usize::from(worker)] = Some(prepared);
                    if self.prepared.iter().all(Option::is_some) {
                        return Some(CrewEvent::Ready(self.ready()));
                    }
                }
                Some(WorkerEvent::Placed) => {
                    self.placed += 1;
                    if self.placed == self.prepared.len() {
                        return Some(CrewEvent::Ready(self.ready()));
                    }
                }
                Some(WorkerEvent::PrepareFailed(failed)) => return Some(CrewEvent::PrepareFailed(failed)),
                Some(WorkerEvent::Done(worker, report)) => {
                    self.reports[usize::from(worker)] = Some(report);
                    return Some(CrewEvent::Done);
                }
                Some(WorkerEvent::Lost) => return None,
                None if self.threads.is_empty() || self.reports().is_some() => std::future::pending().await,
                None => return None,
            }
        }
    }

    /// Every worker's counters once all have ended.
    pub(crate) fn reports(&self) -> Option<Vec<WorkerReport>> {
        self.reports.iter().copied().collect()
    }

    /// Cancels what runs and waits for the threads, which end within the grace of a cancel. False when one did not.
    pub(crate) async fn stop(self) -> bool {
        self.cancel.cancel();
        drop(self.events);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().all(|thread| thread.join().is_ok()));
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

    fn ready(&self) -> Ready {
        let prepared = || self.prepared.iter().flatten();
        let first = prepared().next().expect("an agent has at least one worker");
        Ready {
            connect: prepared().map(|one| one.connect).collect(),
            prepare: prepared().map(|one| one.prepare).collect(),
            database: first.database.clone(),
            sql: first.sql.clone(),
            bucket_function: first.bucket_function.clone(),
        }
    }
}

/// The agent's own database, else the coordinator's, else what libpq would take.
fn target(config: &AgentConfig, run: &RunConfig, application_name: String) -> Result<Target, PrepareFailed> {
    let settings = match (&config.database, &run.database_url) {
        (Some(own), _) => own.clone(),
        (None, handed) => {
            let url = handed.clone().map(SecretString::from);
            let environment = Environment::from_process();
            Settings::resolve(url.as_ref(), &environment).map_err(|error| no_database(&error))?
        }
    };
    Ok(Target {
        settings: Arc::new(settings),
        setup: SessionSetup {
            timezone: run.timezone.clone(),
            read_only: !config.allow_writes,
            // Cancelling is this agent's part; a query must not outlive it when the agent dies.
            statement_timeout: run.timeout.map(|limit| limit + limits::CANCEL_GRACE),
        },
        application_name,
        sql: run.sql.clone(),
        parameters: run.parameters,
        timeout: run.timeout,
    })
}

type Threads = Vec<thread::JoinHandle<()>>;

fn spawn_threads(workers: Vec<Worker>, target: &Arc<Target>) -> Result<Threads, PrepareFailed> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let count = processors.min(workers.len());
    let mut shares: Vec<Vec<Worker>> = (0..count).map(|_| Vec::new()).collect();
    for (position, worker) in workers.into_iter().enumerate() {
        shares[position % count].push(worker);
    }
    let spawn = |share: Vec<Worker>| {
        let target = Arc::clone(target);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name(format!("workers-{}", share[0].index))
            .spawn(move || runtime.block_on(run_share(share, target)))
    };
    let cannot = |error: std::io::Error| no_database(&format!("cannot start a worker thread: {error}"));
    shares.into_iter().map(|share| spawn(share).map_err(cannot)).collect()
}

async fn run_share(share: Vec<Worker>, target: Arc<Target>) {
    let events = share.first().map(|worker| worker.events.clone());
    let mut workers = tokio::task::JoinSet::new();
    for worker in share {
        workers.spawn(worker.run(Arc::clone(&target)));
    }
    while let Some(ended) = workers.join_next().await {
        if let (Err(broken), Some(events)) = (ended, &events) {
            error!("a worker broke: {broken}");
            let _ = events.send(WorkerEvent::Lost).await;
        }
    }
}
