//! All workers of one session: the session sends them commands and receives their events through this type. The driver decides where the
//! workers run.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_core::limits;
use muster_core::prepare::{Database, PrepareFailed, PrepareFailure};
use muster_core::server_identity::{Reconnects, ServerIdentity};
use muster_postgres::no_database;
use muster_proto::control::{Ready, RunConfig, WorkerReport};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::nanoseconds;
use crate::config::AgentConfig;
use crate::driver::{CannotStart, Driver, Prepared, Reconnect, WorkerPool};
use crate::health::Gauges;
use crate::inbox::{RowSender, WorkerHandle, inbox};
use crate::permit::Permit;
use crate::phase::{Phase, Round};
use crate::route::Route;
use crate::worker::{Worker, WorkerEvent};
use crate::worker_results::{self, WorkerResultReceiver};

/// An event of the workers that the session handles.
pub(crate) enum WorkerSetEvent {
    /// Every worker is prepared.
    Ready(Box<Ready>),
    PrepareFailed(PrepareFailed),
    /// One more worker has ended.
    Done,
}

pub(crate) struct WorkerSet {
    events: mpsc::Receiver<WorkerEvent>,
    /// One handle for each worker.
    handles: Vec<WorkerHandle>,
    cancel: CancellationToken,
    /// `None` if the workers could not be started, for example because there is no usable database.
    pool: Option<Box<dyn WorkerPool>>,
    prepared: Vec<Option<Prepared>>,
    /// Number of workers whose connections have taken the name of a slot that was given to an agent on standby.
    placed: usize,
    reports: Vec<Option<WorkerReport>>,
    /// Reconnects that were not yet reported to the coordinator, by round.
    reconnects: BTreeMap<u32, Vec<Reconnects>>,
    /// Why this process cannot start workers in any run.
    limit: Option<String>,
}

type Queues = Vec<RowSender>;

impl WorkerSet {
    /// Starts the workers, which begin to connect at once. They run queries only while the permit is valid.
    pub(crate) fn open(
        driver: &dyn Driver,
        config: &AgentConfig,
        run: &RunConfig,
        route: &Route,
        application_name: String,
        permit: &Arc<Permit>,
        gauges: &Arc<Gauges>,
    ) -> (Self, Queues, WorkerResultReceiver) {
        let count = usize::from(config.workers);
        let (event_sender, events) = mpsc::channel(limits::EVENTS_PER_WORKER * count);
        let (senders, worker_results) = worker_results::channel(config.workers);
        let mut handles = Vec::with_capacity(count);
        let cancel = CancellationToken::new();
        let mut queues = Vec::with_capacity(count);
        let workers = (0..).zip(senders).map(|(index, results)| {
            let (handle, queue, inbox) = inbox();
            handles.push(handle);
            queues.push(queue);
            Worker {
                index,
                inbox,
                results,
                events: event_sender.clone(),
                cancel: cancel.clone(),
                permit: Arc::clone(permit),
                think_time: run.session.load.think_time,
                gauges: Arc::clone(gauges),
            }
        });
        let pool = driver.start(workers.collect(), config, run, route, application_name);
        let mut limit = None;
        let pool = pool.map_err(|problem| {
            let failed = match problem {
                CannotStart::Unprepared(failed) => failed,
                CannotStart::Thread(_) => PrepareFailed {
                    kind: PrepareFailure::Agent,
                    ..no_database(limit.insert(problem.to_string()))
                },
            };
            event_sender.try_send(WorkerEvent::PrepareFailed(failed)).expect("a new channel has room");
        });
        let worker_set = Self {
            events,
            handles,
            cancel,
            pool: pool.ok(),
            prepared: (0..count).map(|_| None).collect(),
            placed: 0,
            reports: vec![None; count],
            reconnects: BTreeMap::new(),
            limit,
        };
        (worker_set, queues, worker_results)
    }

    /// Gives the session's name to the connections of an agent that was on standby and now has a slot. [`WorkerSetEvent::Ready`] is
    /// reported again afterwards.
    pub(crate) fn take_slot(&self, application_name: &str) {
        let application_name: Arc<str> = application_name.into();
        for handle in &self.handles {
            handle.set_phase(Phase::Placed { application_name: Arc::clone(&application_name) });
        }
    }

    /// Sends a request to the databases of the workers, on a connection of its own.
    pub(crate) fn request<T: Send + 'static>(
        &self,
        request: impl FnOnce(&dyn WorkerPool) -> BoxFuture<'static, Result<T, String>>,
    ) -> BoxFuture<'static, Result<T, String>> {
        match &self.pool {
            Some(pool) => request(&**pool),
            None => Box::pin(std::future::ready(Err("no database".to_owned()))),
        }
    }

    /// Returns the reason if this process cannot start workers in any run.
    pub(crate) fn limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    /// Starts a round. A second call for the same round has no effect.
    pub(crate) fn start(&self, round: Round) {
        for handle in &self.handles {
            handle.replace_phase(|phase| {
                let is_new = match phase {
                    Phase::Preparing | Phase::Placed { .. } => true,
                    Phase::Running(running) => running.number != round.number,
                    Phase::Draining => false,
                };
                is_new.then_some(Phase::Running(round))
            });
        }
    }

    /// Lets each worker finish its query in flight and run no further row.
    pub(crate) fn drain(&self) {
        for handle in &self.handles {
            handle.set_phase(Phase::Draining);
        }
    }

    /// Ends the workers and cancels their queries in flight on the server.
    pub(crate) fn cancel(&self) {
        self.handles.iter().for_each(WorkerHandle::cancel);
        self.cancel.cancel();
    }

    /// Returns the next event, or `None` when a worker has failed. Never returns once all workers have ended.
    pub(crate) async fn next(&mut self) -> Option<WorkerSetEvent> {
        loop {
            match self.events.recv().await {
                Some(WorkerEvent::Prepared(worker, prepared)) => {
                    self.prepared[usize::from(worker)] = Some(prepared);
                    if self.prepared.iter().all(Option::is_some) {
                        return Some(WorkerSetEvent::Ready(Box::new(self.ready())));
                    }
                }
                Some(WorkerEvent::Placed) => {
                    self.placed += 1;
                    if self.placed == self.prepared.len() {
                        return Some(WorkerSetEvent::Ready(Box::new(self.ready())));
                    }
                }
                Some(WorkerEvent::PrepareFailed(failed)) => {
                    return Some(WorkerSetEvent::PrepareFailed(failed));
                }
                Some(WorkerEvent::Reconnected { round, target, reconnect: Reconnect { outage, server } }) => {
                    let outage_max_ns = outage.map_or(0, nanoseconds);
                    let count = u64::from(outage.is_some());
                    let of_round = self.reconnects.entry(round).or_default();
                    Reconnects { target, server, count, outage_max_ns }.add_to(of_round);
                }
                Some(WorkerEvent::Done(worker, report)) => {
                    self.reports[usize::from(worker)] = Some(report);
                    return Some(WorkerSetEvent::Done);
                }
                Some(WorkerEvent::Lost) => return None,
                None if self.pool.is_none() || self.reports().is_some() => std::future::pending().await,
                None => return None,
            }
        }
    }

    /// Returns the reconnects since the last call by round, summed over all workers for each server.
    pub(crate) fn take_reconnects(&mut self) -> BTreeMap<u32, Vec<Reconnects>> {
        std::mem::take(&mut self.reconnects)
    }

    /// Returns the report of every worker once all have ended.
    pub(crate) fn reports(&self) -> Option<Vec<WorkerReport>> {
        self.reports.iter().copied().collect()
    }

    /// Cancels the workers and waits until they have ended, which takes at most the grace period of a cancel. Returns false if one did
    /// not end.
    pub(crate) async fn stop(self) -> bool {
        self.cancel();
        drop(self.events);
        match self.pool {
            Some(pool) => pool.stop().await,
            None => true,
        }
    }

    fn ready(&self) -> Ready {
        let prepared = || self.prepared.iter().flatten();
        let first = prepared().next().expect("an agent has at least one worker");
        Ready {
            connect: prepared().map(|one| one.connect).collect(),
            prepare: prepared().map(|one| one.prepare).collect(),
            database: merged(&first.database, prepared().map(|one| &one.database)),
            sql: first.sql.clone(),
            bucket_function: first.bucket_function.clone(),
            versus: first
                .versus
                .as_ref()
                .map(|database| merged(database, prepared().filter_map(|one| one.versus.as_ref()))),
            results: first.results.clone(),
            is_pooled: prepared().any(|one| one.is_pooled),
        }
    }
}

/// Returns the first worker's database with the servers of all workers' connections, without duplicates.
fn merged<'a>(first: &Database, all: impl Iterator<Item = &'a Database>) -> Database {
    let mut identities: Vec<ServerIdentity> = Vec::new();
    for identity in all.flat_map(|database| &database.identities) {
        if identities.len() < limits::SERVERS_MAX && !identities.contains(identity) {
            identities.push(identity.clone());
        }
    }
    Database { identities, ..first.clone() }
}
