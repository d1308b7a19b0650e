//! The workers of one session, as the session sees them: told together, heard together. Where they run is the workplace's part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RunId, SlotId};
use muster_common::limits;
use muster_common::server_identity::{Reconnects, ServerIdentity};
use muster_common::server_side::{ExplainedPlan, Sight};
use muster_proto::control::{
    Database, Explain, PrepareFailed, PrepareFailure, Ready, RunConfig, WorkerReport,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::health::Gauges;
use crate::inbox::{RowSender, WorkerHandle, inbox};
use crate::permit::Permit;
use crate::postgres::no_database;
use crate::route::Route;
use crate::told::{Listener, told};
use crate::worker::{Phase, Round, Worker, WorkerEvent};
use crate::workplace::{CannotStart, Prepared, Reconnect, Shift, Workplace};

/// What the session must know of its workers.
pub(crate) enum CrewEvent {
    /// Every worker is prepared.
    Ready(Box<Ready>),
    PrepareFailed(PrepareFailed),
    /// One more worker has ended.
    Done,
}

pub(crate) struct Crew {
    events: mpsc::Receiver<WorkerEvent>,
    /// By worker.
    handles: Vec<WorkerHandle>,
    cancel: CancellationToken,
    /// `None` when there is no database that the workers could use.
    shift: Option<Box<dyn Shift>>,
    prepared: Vec<Option<Prepared>>,
    /// Workers that have the name of the slot that was given late.
    placed: usize,
    reports: Vec<Option<WorkerReport>>,
    /// Reconnects that are not yet reported to the coordinator, by round.
    reconnects: BTreeMap<u32, Vec<Reconnects>>,
    /// Why this process cannot start workers, in no run.
    limit: Option<String>,
}

/// Room for what a worker reports at most while the session does something else: prepared, placed, a reconnect, the end.
const EVENTS_PER_WORKER: usize = 4;

type Queues = Vec<RowSender>;

impl Crew {
    /// Starts the workers, which begin to connect at once, and run queries only as long as the permit lasts.
    pub(crate) fn open(
        workplace: &dyn Workplace,
        config: &AgentConfig,
        run: &RunConfig,
        route: &Route,
        application_name: String,
        permit: &Arc<Permit>,
        gauges: &Arc<Gauges>,
    ) -> (Self, Queues, Listener) {
        let count = usize::from(config.workers);
        let (event_sender, events) = mpsc::channel(EVENTS_PER_WORKER * count);
        let (tellers, told) = told(config.workers);
        let mut handles = Vec::with_capacity(count);
        let cancel = CancellationToken::new();
        let mut queues = Vec::with_capacity(count);
        let workers = (0..).zip(tellers).map(|(index, teller)| {
            let (handle, queue, inbox) = inbox();
            handles.push(handle);
            queues.push(queue);
            Worker {
                index,
                inbox,
                told: teller,
                events: event_sender.clone(),
                cancel: cancel.clone(),
                permit: Arc::clone(permit),
                think_time: run.think_time,
                gauges: Arc::clone(gauges),
            }
        });
        let shift = workplace.start(workers.collect(), config, run, route, application_name);
        let mut limit = None;
        let shift = shift.map_err(|problem| {
            let failed = match problem {
                CannotStart::Unprepared(failed) => failed,
                CannotStart::Thread(_) => PrepareFailed {
                    kind: PrepareFailure::Agent,
                    ..no_database(limit.insert(problem.to_string()))
                },
            };
            event_sender.try_send(WorkerEvent::PrepareFailed(failed)).expect("a new channel has room");
        });
        let crew = Self {
            events,
            handles,
            cancel,
            shift: shift.ok(),
            prepared: (0..count).map(|_| None).collect(),
            placed: 0,
            reports: vec![None; count],
            reconnects: BTreeMap::new(),
            limit,
        };
        (crew, queues, told)
    }

    /// The agent stood by and has a slot now; [`CrewEvent::Ready`] comes again.
    pub(crate) fn take_place(&self, application_name: &str) {
        let application_name: Arc<str> = application_name.into();
        for handle in &self.handles {
            handle.set_phase(Phase::Placed { application_name: Arc::clone(&application_name) });
        }
    }

    /// Ends what lost sessions of a slot left in the database that the workers use.
    pub(crate) fn end_backends(
        &self,
        run: &RunId,
        slot: SlotId,
        below: Epoch,
    ) -> BoxFuture<'static, Result<u32, String>> {
        match &self.shift {
            Some(shift) => shift.end_backends(run, slot, below),
            None => Box::pin(std::future::ready(Err("no database".to_owned()))),
        }
    }

    /// Why this process cannot start workers, in no run.
    pub(crate) fn limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    /// What the server has counted so far. `is_last`: the workers have ended.
    pub(crate) fn look(&self, run: &RunId, is_last: bool) -> BoxFuture<'static, Result<Sight, String>> {
        match &self.shift {
            Some(shift) => shift.look(run, is_last),
            None => Box::pin(std::future::ready(Err("no database".to_owned()))),
        }
    }

    /// The plan of one more execution of a row.
    pub(crate) fn explain(
        &self,
        run: &RunId,
        asked: Explain,
    ) -> BoxFuture<'static, Result<ExplainedPlan, String>> {
        match &self.shift {
            Some(shift) => shift.explain(run, asked),
            None => Box::pin(std::future::ready(Err("no database".to_owned()))),
        }
    }

    /// Starts a round; a second time for the same one changes nothing.
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

    /// Finish the query in flight and run no further row.
    pub(crate) fn drain(&self) {
        for handle in &self.handles {
            handle.set_phase(Phase::Draining);
        }
    }

    /// End the queries in flight on the server, too.
    pub(crate) fn cancel(&self) {
        self.handles.iter().for_each(WorkerHandle::cancel);
        self.cancel.cancel();
    }

    /// The next event; `None` when a worker broke. Pending for ever once all workers are done.
    pub(crate) async fn next(&mut self) -> Option<CrewEvent> {
        loop {
            match self.events.recv().await {
                Some(WorkerEvent::Prepared(worker, prepared)) => {
                    self.prepared[usize::from(worker)] = Some(prepared);
                    if self.prepared.iter().all(Option::is_some) {
                        return Some(CrewEvent::Ready(Box::new(self.ready())));
                    }
                }
                Some(WorkerEvent::Placed) => {
                    self.placed += 1;
                    if self.placed == self.prepared.len() {
                        return Some(CrewEvent::Ready(Box::new(self.ready())));
                    }
                }
                Some(WorkerEvent::PrepareFailed(failed)) => return Some(CrewEvent::PrepareFailed(failed)),
                Some(WorkerEvent::Reconnected { round, target, reconnect: Reconnect { outage, server } }) => {
                    let outage_max_ns = outage.map_or(0, nanoseconds);
                    let count = u64::from(outage.is_some());
                    let of_round = self.reconnects.entry(round).or_default();
                    Reconnects { target, server, count, outage_max_ns }.add_to(of_round);
                }
                Some(WorkerEvent::Done(worker, report)) => {
                    self.reports[usize::from(worker)] = Some(report);
                    return Some(CrewEvent::Done);
                }
                Some(WorkerEvent::Lost) => return None,
                None if self.shift.is_none() || self.reports().is_some() => std::future::pending().await,
                None => return None,
            }
        }
    }

    /// The reconnects since the last call, by round, added up for each server over all workers.
    pub(crate) fn take_reconnects(&mut self) -> BTreeMap<u32, Vec<Reconnects>> {
        std::mem::take(&mut self.reconnects)
    }

    /// Every worker's counters once all have ended.
    pub(crate) fn reports(&self) -> Option<Vec<WorkerReport>> {
        self.reports.iter().copied().collect()
    }

    /// Cancels what runs and waits for the workers, which end within the grace of a cancel. False when one did not.
    pub(crate) async fn stop(self) -> bool {
        self.cancel();
        drop(self.events);
        match self.shift {
            Some(shift) => shift.stop().await,
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

/// What the first worker found, and each server that any worker met, once.
fn merged<'a>(first: &Database, all: impl Iterator<Item = &'a Database>) -> Database {
    let mut identities: Vec<ServerIdentity> = Vec::new();
    for identity in all.flat_map(|database| &database.identities) {
        if identities.len() < limits::SERVERS_MAX && !identities.contains(identity) {
            identities.push(identity.clone());
        }
    }
    Database { identities, ..first.clone() }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
