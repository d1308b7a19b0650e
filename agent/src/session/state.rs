//! The state of a session, and how it starts.

use std::sync::Arc;
use std::time::Instant;

use muster_core::ids::RunId;
use muster_core::lease::Lease;
use muster_core::outbox::Outbox;
use muster_core::remote_clock::RemoteClock;
use muster_core::session_token::GrantedSession;
use muster_proto::control::{FromAgent, Standby, Welcome};
use tracing::{debug, info};

use super::requests::Requests;
use crate::clock;
use crate::config::AgentConfig;
use crate::dial::Client;
use crate::health::{Gauges, Reporter};
use crate::history::History;
use crate::join::{Control, Joined};
use crate::permit::Permit;
use crate::phase::Round;
use crate::result_sender::Telemetry;
use crate::route::Route;
use crate::runtime::Runtime;
use crate::session_end::SessionError;
use crate::work_stream::{WorkContext, WorkStream};
use crate::worker_set::WorkerSet;

/// A session that has been accepted by the coordinator.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) control: Control,
    pub(super) run: RunId,
    pub(super) lease: Lease,
    pub(super) permit: Arc<Permit>,
    /// The coordinator's clock.
    pub(super) remote_clock: RemoteClock,
    /// When the next heartbeat is sent.
    pub(super) next_beat_at: Instant,
    pub(super) worker_set: WorkerSet,
    pub(super) gauges: Arc<Gauges>,
    /// `Some` while queries run.
    pub(super) reporter: Option<Reporter>,
    /// False in a simulation.
    pub(super) reports_health: bool,
    /// What the Work stream needs, while the agent is on standby and has no slot.
    pub(super) waiting: Option<WorkContext>,
    /// `None` while the agent is on standby.
    pub(super) work: Option<Work>,
    /// Earlier sessions of this run whose results this one sends.
    pub(super) former: Vec<GrantedSession>,
    pub(super) requests: Requests,
    /// When the countdown of Arm ends. `None` once it has ended, and if health is not reported.
    pub(super) starts_at: Option<Instant>,
    /// The last round that was armed.
    pub(super) round: Option<Round>,
    pub(super) got_ready: bool,
    pub(super) has_started: bool,
    pub(super) has_reported_start: bool,
    /// All workers have ended and every result is acknowledged.
    pub(super) is_delivered: bool,
    pub(super) shutdown: Shutdown,
    /// The workers were asked to end. A worker that ends before that is an error.
    pub(super) may_end: bool,
}

/// The Work stream of a session that has a slot.
pub(super) struct Work {
    pub(super) stream: WorkStream,
    pub(super) session: GrantedSession,
}

/// The progress of the session's shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shutdown {
    NotYet,
    /// The run drains. Report is sent when that is done.
    Run,
    /// This agent was asked to stop. Leave is sent when it has drained, at the latest at the deadline.
    Agent {
        deadline: Instant,
    },
    /// The final message, Report or Leave, was sent.
    Sent,
}

impl Session {
    /// Starts the workers, and opens the Work stream if the agent has a slot.
    pub(super) fn start(
        config: &AgentConfig,
        runtime: &Runtime,
        (client, route): (Client, Route),
        (control, joined): (Control, Joined),
        lease: Lease,
        history: &mut History,
    ) -> Self {
        let Runtime { driver, metrics, .. } = runtime;
        let permit = Arc::new(Permit::until(lease.lapses_at()));
        let (run, run_config, name) = match &joined {
            Joined::Placed(Welcome { session, config }) => {
                (session.id.run.clone(), config, session.id.application_name())
            }
            Joined::OnStandby(Standby { run, config }) => {
                info!("on standby in run {run}: every slot is taken");
                (run.clone(), config, format!("muster:{run}:standby"))
            }
        };
        let gauges = Arc::new(Gauges::new(config.workers));
        let (worker_set, queues, worker_results) =
            WorkerSet::open(&**driver, config, run_config, &route, name, &permit, &gauges);
        let (inherited, former) = history.take_unacked(&run);
        let outbox = Outbox::new(config.workers, inherited);
        let telemetry = Telemetry { gauges: Arc::clone(&gauges), metrics: metrics.clone() };
        let waiting = Some(WorkContext { queues, worker_results, outbox, telemetry });
        let mut session = Self {
            client,
            control,
            run,
            lease,
            permit,
            remote_clock: RemoteClock::default(),
            next_beat_at: clock::now(),
            worker_set,
            waiting,
            work: None,
            former,
            gauges,
            reporter: None,
            reports_health: driver.is_real(),
            requests: Requests::default(),
            starts_at: None,
            round: None,
            got_ready: false,
            has_started: false,
            has_reported_start: false,
            is_delivered: false,
            shutdown: Shutdown::NotYet,
            may_end: false,
        };
        if let Joined::Placed(welcome) = joined {
            session.open_work(welcome.session);
        }
        session
    }

    /// Opens the Work stream of this session's slot. Called once per session.
    pub(super) fn open_work(&mut self, session: GrantedSession) {
        let Some(context) = self.waiting.take() else {
            debug!("a second Welcome is ignored");
            return;
        };
        info!("joined run {} as {}", session.id.run, session.id.slot);
        let stream = WorkStream::open(self.client.clone(), session.clone(), context);
        self.work = Some(Work { stream, session });
    }

    /// Reports when the first worker began the round, once per round.
    pub(super) fn report_start(&mut self) -> Result<(), SessionError> {
        match self.gauges.first_start().filter(|_| !self.has_reported_start) {
            Some(at) => {
                self.has_reported_start = true;
                self.control.send(FromAgent::Started { at: self.remote_clock.there(at) })
            }
            None => Ok(()),
        }
    }

    /// Called with each heartbeat, and before Report or Leave. When several workers have reconnected, one message is sent for each server.
    pub(super) fn report_reconnects(&mut self) -> Result<(), SessionError> {
        for (round, of_round) in self.worker_set.take_reconnects() {
            for reconnects in of_round {
                self.control.send(FromAgent::Reconnected(round, reconnects))?;
            }
        }
        Ok(())
    }

    /// Sends the last health sample, which must come before the final message.
    pub(super) async fn finish_reporter(&mut self) {
        if let Some(reporter) = self.reporter.take() {
            reporter.finish().await;
        }
    }
}
