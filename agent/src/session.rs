//! One session: from Hello to Bye. This file drives the Control stream and the lease; rows and results have a task of their own.
//! Nothing here waits for a full channel: a control queue that is full means a dead peer, and ends the session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::ids::{Epoch, RunId, SessionId, SlotId};
use muster_common::lease::Lease;
use muster_common::limits;
use muster_common::outbox::{Kept, Outbox};
use muster_common::slots::Grant;
use muster_proto::WireError;
use muster_proto::control::{BackendsEnded, FromAgent, FromCoordinator, StandBy, Welcome};
use muster_proto::v1::muster_client::MusterClient;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use crate::config::AgentConfig;
use crate::crew::{Crew, CrewEvent};
use crate::dial::dial;
use crate::health::{Gauges, Reporter};
use crate::join::{Control, Joined, join};
use crate::permit::Permit;
use crate::postgres::end_backends;
use crate::results::{Cargo, WorkStream};

/// How a session ended well.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The run is over; whether this agent had a place in it, or only stood by.
    Bye {
        reason: String,
        had_place: bool,
    },
    Shutdown,
}

/// How a session ended badly. None of them is final but `Refused`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("cannot reach it")]
    Unreachable(#[source] tonic::transport::Error),
    #[error("no place in this run: {reason}")]
    Full { reason: String },
    #[error("refused: {reason}")]
    Refused { reason: String },
    #[error("coordinator did not answer within {0:?}")]
    Silent(Duration),
    #[error("coordinator closed the {0} stream")]
    Closed(&'static str),
    #[error("stream broke: {}", .0.message())]
    Broken(#[from] tonic::Status),
    #[error("coordinator sent a malformed message")]
    Malformed(#[from] WireError),
    #[error("coordinator broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("lease lapsed: no beat was acknowledged within {:?}", limits::LEASE)]
    Lapsed,
    #[error("a worker ended unexpectedly")]
    WorkerLost,
}

impl SessionError {
    /// Whether there was a session: this agent had been answered before the error.
    pub(crate) fn ended_a_session(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Broken(_) | Self::Lapsed | Self::WorkerLost)
    }
}

/// Results of an earlier session that nobody acknowledged, for the next one of the same run.
#[derive(Debug)]
pub(crate) struct KeptResults {
    pub(crate) run: RunId,
    pub(crate) results: Vec<Kept>,
    pub(crate) since: Instant,
}

/// Joins and serves one run. Takes what `kept` has for that run, and leaves there what nobody acknowledged; `last` is the session that
/// this process held, once nothing of it runs.
pub(crate) async fn serve(
    config: &AgentConfig,
    kept: &mut Option<KeptResults>,
    last: &mut Option<SessionId>,
    shutdown: &CancellationToken,
) -> Result<Ended, SessionError> {
    let mut client = tokio::select! {
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        client = dial(&config.coordinator) => client.map_err(SessionError::Unreachable)?,
    };
    let hello_sent = Instant::now();
    let (control, joined) = tokio::select! {
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        joined = join(&mut client, config, last.clone()) => joined?,
    };
    let mut session = Session::start(config, client, control, joined, Lease::new(hello_sent), kept);
    let ended = session.drive(shutdown).await;
    let run = session.run.clone();
    let (results, stopped) = session.stop().await;
    if let Some(stopped) = stopped {
        *last = Some(stopped);
    }
    if !results.is_empty() {
        *kept = Some(KeptResults { run, results, since: Instant::now() });
    }
    ended
}

struct Session {
    client: MusterClient<Channel>,
    control: Control,
    run: RunId,
    lease: Lease,
    permit: Arc<Permit>,
    /// From the latest acknowledged beat.
    round_trip: Duration,
    crew: Crew,
    gauges: Arc<Gauges>,
    /// While queries run.
    reporter: Option<Reporter>,
    work: Work,
    /// Backends of lost sessions that are being ended for the coordinator.
    fences: JoinSet<BackendsEnded>,
    fence_turn: Arc<tokio::sync::Mutex<()>>,
    /// When the countdown of Arm ends; taken once Started is sent.
    starts_at: Option<Instant>,
    has_started: bool,
    /// All workers have ended and every result is acknowledged.
    is_delivered: bool,
    farewell: Farewell,
    /// Workers end when they are told to; before, it is a fault.
    may_end: bool,
}

/// Rows and results.
enum Work {
    /// No slot yet: it stands by.
    Waiting(Box<Cargo>),
    Open {
        stream: WorkStream,
        grant: Grant,
    },
    /// Only for the moment between the two.
    Opening,
}

/// Who ends the session, and how far that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    NotYet,
    /// The run drains; Report follows.
    Run,
    /// This agent was asked to stop; Leave follows, at the latest then.
    Agent {
        deadline: Instant,
    },
    /// The last word is said.
    Said,
}

impl Session {
    fn start(
        config: &AgentConfig,
        client: MusterClient<Channel>,
        control: Control,
        joined: Joined,
        lease: Lease,
        kept: &mut Option<KeptResults>,
    ) -> Self {
        let permit = Arc::new(Permit::until(lease.lapses_at()));
        let (run, run_config, name) = match &joined {
            Joined::Placed(Welcome { session, config }) => {
                (session.run.clone(), config, session.application_name())
            }
            Joined::StandingBy(StandBy { run, config }) => {
                info!("standing by in run {run}: every slot is taken");
                (run.clone(), config, format!("muster:{run}:standby"))
            }
        };
        let gauges = Arc::new(Gauges::new(config.workers));
        let (crew, queues, measurements) = Crew::start(config, run_config, name, &permit, &gauges);
        let outbox = Outbox::new(config.workers, inherited(kept, &run));
        let mut session = Self {
            client,
            control,
            run,
            lease,
            permit,
            round_trip: Duration::ZERO,
            crew,
            work: Work::Waiting(Box::new(Cargo {
                queues,
                measurements,
                outbox,
                gauges: Arc::clone(&gauges),
            })),
            gauges,
            reporter: None,
            fences: JoinSet::new(),
            fence_turn: Arc::default(),
            starts_at: None,
            has_started: false,
            is_delivered: false,
            farewell: Farewell::NotYet,
            may_end: false,
        };
        if let Joined::Placed(welcome) = joined {
            session.open_work(welcome.session);
        }
        session
    }

    async fn drive(&mut self, shutdown: &CancellationToken) -> Result<Ended, SessionError> {
        let mut beats = tokio::time::interval(limits::BEAT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let lapses_at = self.lease.lapses_at();
            let starts_at = self.starts_at.unwrap_or(lapses_at);
            let leaves_at = match self.farewell {
                Farewell::Agent { deadline } => Some(deadline),
                _ => None,
            };
            tokio::select! {
                // In this order: after a freeze the lapse comes before anything that waited meanwhile.
                biased;
                () = sleep_until(lapses_at.into()) => return Err(SessionError::Lapsed),
                () = shutdown.cancelled(), if self.farewell == Farewell::NotYet => {
                    self.begin_to_leave();
                }
                () = sleep_until(leaves_at.unwrap_or(lapses_at).into()), if leaves_at.is_some() => {
                    self.leave(false).await?;
                    return Ok(Ended::Shutdown);
                }
                () = sleep_until(starts_at.into()), if self.starts_at.is_some() => {
                    self.starts_at = None;
                    self.control.send(FromAgent::Started { round_trip: self.round_trip })?;
                    let line = self.control.sideline();
                    let tell = move |interval| line(FromAgent::Health(interval));
                    self.reporter = Some(Reporter::start(Arc::clone(&self.gauges), tell));
                }
                _ = beats.tick() => {
                    let number = self.lease.beat(Instant::now());
                    self.control.send(FromAgent::Beat(number))?;
                }
                message = self.control.receive() => {
                    if let Some(ended) = self.obey(message?) {
                        return Ok(ended);
                    }
                }
                event = self.crew.next() => match event.ok_or(SessionError::WorkerLost)? {
                    CrewEvent::Ready(ready) => self.control.send(FromAgent::Ready(ready))?,
                    CrewEvent::PrepareFailed(failed) => {
                        self.may_end = true;
                        self.control.send(FromAgent::PrepareFailed(failed))?;
                    }
                    CrewEvent::Done if self.may_end => {}
                    // A worker ends when its permit lapses. After a freeze that may be before the timer above has noticed.
                    CrewEvent::Done if self.lease.has_lapsed(Instant::now()) => return Err(SessionError::Lapsed),
                    CrewEvent::Done => return Err(SessionError::WorkerLost),
                },
                delivered = self.work.delivered() => {
                    delivered?;
                    self.is_delivered = true;
                }
                Some(fenced) = self.fences.join_next() => {
                    let answer = fenced.map_err(|_| SessionError::WorkerLost)?;
                    self.control.send(FromAgent::BackendsEnded(answer))?;
                }
            }
            if self.say_last_word().await? {
                return Ok(Ended::Shutdown);
            }
        }
    }

    /// Does what the coordinator says; `Some` when that is to end.
    fn obey(&mut self, message: FromCoordinator) -> Option<Ended> {
        match message {
            FromCoordinator::BeatAck(number) => {
                if let Some(sent_at) = self.lease.acknowledged(number) {
                    self.round_trip = sent_at.elapsed();
                    self.gauges.beat_returned(self.round_trip);
                    self.permit.prolong(self.lease.lapses_at());
                }
            }
            FromCoordinator::Welcome(Welcome { session, config: _ }) => {
                self.crew.take_place(&session.application_name());
                self.open_work(session);
            }
            FromCoordinator::Arm { countdown } => {
                let starts_at = Instant::now() + countdown.saturating_sub(self.round_trip / 2);
                self.starts_at = Some(starts_at);
                self.has_started = true;
                self.crew.start_at(starts_at);
            }
            FromCoordinator::EndBackends { slot, below } => self.fence(slot, below),
            FromCoordinator::Drain => {
                self.farewell = Farewell::Run;
                self.may_end = true;
                self.crew.drain();
            }
            FromCoordinator::Cancel { reason } => {
                debug!("queries in flight are cancelled: {reason}");
                self.may_end = true;
                self.crew.cancel();
            }
            FromCoordinator::Bye { reason } => {
                let had_place = matches!(self.work, Work::Open { .. });
                return Some(Ended::Bye { reason, had_place });
            }
            FromCoordinator::StandBy(_) | FromCoordinator::Reject { .. } => {
                debug!("a second answer to Hello is ignored");
            }
        }
        None
    }

    /// Opens the Work stream of the slot that was given; once a session.
    fn open_work(&mut self, session: SessionId) {
        match std::mem::replace(&mut self.work, Work::Opening) {
            Work::Waiting(cargo) => {
                info!("joined run {} as {}", session.run, session.slot);
                let grant = Grant { slot: session.slot, epoch: session.epoch };
                let stream = WorkStream::open(self.client.clone(), session, *cargo);
                self.work = Work::Open { stream, grant };
            }
            open => {
                debug!("a second Welcome is ignored");
                self.work = open;
            }
        }
    }

    /// Ends what a lost session left in the database; the answer goes to the coordinator.
    fn fence(&mut self, slot: SlotId, below: Epoch) {
        let (run, target, turn) = (self.run.clone(), self.crew.target(), Arc::clone(&self.fence_turn));
        self.fences.spawn(async move {
            // One after the other: the workers have taken most of the connections that the server allows.
            let _turn = turn.lock().await;
            let ending = async {
                let target = target.ok_or("no database")?;
                end_backends(&target.settings, &target.setup, &run, slot, below).await
            };
            let outcome = timeout(limits::END_BACKENDS_TIMEOUT, ending).await;
            let outcome = outcome.unwrap_or_else(|_| {
                Err(format!("older backends did not end within {:?}", limits::END_BACKENDS_TIMEOUT))
            });
            if let Err(problem) = &outcome {
                warn!("cannot end older backends of {slot}: {problem}");
            }
            BackendsEnded { slot, outcome }
        });
    }

    /// Asked to stop: the queries in flight end, every result is delivered, then Leave.
    fn begin_to_leave(&mut self) {
        info!("asked to stop: queries in flight may end, for at most {:?}", limits::DRAIN_TIMEOUT);
        self.farewell = Farewell::Agent { deadline: Instant::now() + limits::DRAIN_TIMEOUT };
        self.may_end = true;
        self.crew.drain();
        if !self.has_started {
            // Connecting may take long, and nothing is run yet.
            self.crew.cancel();
        }
    }

    /// Report or Leave, once all workers are done and all results are acknowledged. True when that ends the session.
    async fn say_last_word(&mut self) -> Result<bool, SessionError> {
        let Some(reports) = self.crew.reports() else { return Ok(false) };
        let has_nothing = matches!(self.work, Work::Waiting(_));
        match self.farewell {
            Farewell::Run if self.is_delivered => {
                self.finish_reporter().await;
                self.control.send(FromAgent::Report(reports))?;
                self.farewell = Farewell::Said;
                Ok(false)
            }
            Farewell::Agent { .. } if self.is_delivered || has_nothing => {
                self.leave(true).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Says Leave and waits until the coordinator has closed a stream: closed from here first, that would be the loss, and nobody
    /// would learn the reason.
    async fn leave(&mut self, drained: bool) -> Result<(), SessionError> {
        self.farewell = Farewell::Said;
        self.finish_reporter().await;
        self.crew.cancel();
        self.control.send(FromAgent::Leave { reason: "asked to stop".to_owned(), drained })?;
        let closed = async { while self.control.receive().await.is_ok() {} };
        // Who does not answer is left without a word.
        let _ = timeout(limits::FAREWELL_TIMEOUT, closed).await;
        Ok(())
    }

    /// The last word on how this agent fared comes before its last word.
    async fn finish_reporter(&mut self) {
        if let Some(reporter) = self.reporter.take() {
            reporter.finish().await;
        }
    }

    /// Ends everything that this session started. Returns the results that nobody acknowledged, and the session if it held a slot and
    /// nothing of it runs any more.
    async fn stop(mut self) -> (Vec<Kept>, Option<SessionId>) {
        self.fences.shutdown().await;
        self.crew.cancel();
        match self.work {
            Work::Open { stream, grant } => {
                let (outbox, has_stopped) = tokio::join!(stream.stop(), self.crew.stop());
                let session = SessionId { run: self.run, slot: grant.slot, epoch: grant.epoch };
                let kept = outbox.map(|outbox| outbox.into_kept(grant)).unwrap_or_default();
                (kept, has_stopped.then_some(session))
            }
            Work::Waiting(cargo) => {
                self.crew.stop().await;
                (cargo.outbox.into_inherited(), None)
            }
            Work::Opening => (Vec::new(), None),
        }
    }
}

impl Work {
    /// Pending for ever while there is no stream.
    async fn delivered(&mut self) -> Result<(), SessionError> {
        match self {
            Self::Open { stream, .. } => stream.next().await,
            Self::Waiting(_) | Self::Opening => std::future::pending().await,
        }
    }
}

/// What an earlier session of the same run left.
fn inherited(kept: &mut Option<KeptResults>, run: &RunId) -> Vec<Kept> {
    match kept.take() {
        Some(kept) if kept.run == *run => kept.results,
        Some(kept) => {
            warn!("{} results of run {} are dropped: this is run {run}", kept.count(), kept.run);
            Vec::new()
        }
        None => Vec::new(),
    }
}

impl KeptResults {
    pub(crate) fn count(&self) -> usize {
        self.results.iter().map(|kept| kept.measurements.len()).sum()
    }
}
