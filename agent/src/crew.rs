//! The workers of one session, as the session sees them: told together, heard together. Where they run is the workplace's part.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RunId, SlotId};
use muster_common::limits;
use muster_common::server_side::Sight;
use muster_proto::control::{Explain, PrepareFailed, Ready, RunConfig, WorkerReport};
use muster_proto::work::Assign;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::health::Gauges;
use crate::permit::Permit;
use crate::told::{Listener, told};
use crate::worker::{Phase, Round, Worker, WorkerEvent};
use crate::workplace::{Prepared, Shift, Workplace};

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
    /// By worker. The receivers of one channel are told in a random order, and the same run could not be run again.
    phases: Vec<watch::Sender<Phase>>,
    cancel: CancellationToken,
    /// `None` when there is no database that the workers could use.
    shift: Option<Box<dyn Shift>>,
    prepared: Vec<Option<Prepared>>,
    /// Workers that have the name of the slot that was given late.
    placed: usize,
    reports: Vec<Option<WorkerReport>>,
}

type Queues = Vec<mpsc::Sender<Assign>>;

impl Crew {
    /// Starts the workers, which begin to connect at once, and run queries only as long as the permit lasts.
    pub(crate) fn open(
        workplace: &dyn Workplace,
        config: &AgentConfig,
        run: &RunConfig,
        application_name: String,
        permit: &Arc<Permit>,
        gauges: &Arc<Gauges>,
    ) -> (Self, Queues, Listener) {
        let count = usize::from(config.workers);
        let (event_sender, events) = mpsc::channel(2 * count);
        let (tellers, told) = told(config.workers);
        let mut phases = Vec::with_capacity(count);
        let cancel = CancellationToken::new();
        let mut queues = Vec::with_capacity(count);
        let workers = (0..).zip(tellers).map(|(index, teller)| {
            // A queue holds batches, and each has at least one row: credit bounds both.
            let (queue, rows) = mpsc::channel(limits::CREDIT_ROWS_MAX as usize);
            queues.push(queue);
            let (phase_sender, phase) = watch::channel(Phase::Preparing);
            phases.push(phase_sender);
            Worker {
                index,
                rows,
                told: teller,
                phase,
                events: event_sender.clone(),
                cancel: cancel.clone(),
                permit: Arc::clone(permit),
                think_time: run.think_time,
                gauges: Arc::clone(gauges),
            }
        });
        let shift = workplace.start(workers.collect(), config, run, application_name);
        let shift = shift.map_err(|failed| {
            event_sender.try_send(WorkerEvent::PrepareFailed(failed)).expect("a new channel has room");
        });
        let crew = Self {
            events,
            phases,
            cancel,
            shift: shift.ok(),
            prepared: (0..count).map(|_| None).collect(),
            placed: 0,
            reports: vec![None; count],
        };
        (crew, queues, told)
    }

    /// The agent stood by and has a slot now; [`CrewEvent::Ready`] comes again.
    pub(crate) fn take_place(&self, application_name: &str) {
        let application_name: Arc<str> = application_name.into();
        for phase in &self.phases {
            phase.send_replace(Phase::Placed { application_name: Arc::clone(&application_name) });
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
    ) -> BoxFuture<'static, Result<Vec<String>, String>> {
        match &self.shift {
            Some(shift) => shift.explain(run, asked),
            None => Box::pin(std::future::ready(Err("no database".to_owned()))),
        }
    }

    /// Starts a round; a second time for the same one changes nothing.
    pub(crate) fn start(&self, round: Round) {
        for phase in &self.phases {
            phase.send_if_modified(|phase| {
                let is_new = match phase {
                    Phase::Preparing | Phase::Placed { .. } => true,
                    Phase::Running(running) => running.number != round.number,
                    Phase::Draining => false,
                };
                if is_new {
                    *phase = Phase::Running(round);
                }
                is_new
            });
        }
    }

    /// Finish the query in flight and run no further row.
    pub(crate) fn drain(&self) {
        for phase in &self.phases {
            phase.send_replace(Phase::Draining);
        }
    }

    /// End the queries in flight on the server, too.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The next event; `None` when a worker broke. Pending for ever once all workers are done.
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
                None if self.shift.is_none() || self.reports().is_some() => std::future::pending().await,
                None => return None,
            }
        }
    }

    /// Every worker's counters once all have ended.
    pub(crate) fn reports(&self) -> Option<Vec<WorkerReport>> {
        self.reports.iter().copied().collect()
    }

    /// Cancels what runs and waits for the workers, which end within the grace of a cancel. False when one did not.
    pub(crate) async fn stop(self) -> bool {
        self.cancel.cancel();
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
            database: first.database.clone(),
            sql: first.sql.clone(),
            bucket_function: first.bucket_function.clone(),
            versus: first.versus.clone(),
        }
    }
}
