//! One session: from Hello to Bye. This file drives the Control stream and the lease; rows and results have tasks of their own.
//! Nothing here waits for a full channel: a control queue that is full means a dead peer, and ends the session.

use std::time::{Duration, Instant};

use muster_common::ids::SessionId;
use muster_common::lease::Lease;
use muster_common::limits;
use muster_proto::WireError;
use muster_proto::control::{FromAgent, FromCoordinator, Hello, Welcome};
use muster_proto::v1;
use muster_proto::v1::muster_client::MusterClient;
use muster_proto::work;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::{debug, info};

use crate::config::AgentConfig;
use crate::crew::{Crew, CrewEvent};
use crate::dial::dial;
use crate::results;

/// How a session ended well.
#[derive(Debug)]
pub(crate) enum Ended {
    Bye { reason: String },
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

type Work = (mpsc::Sender<v1::AgentWork>, Streaming<v1::CoordinatorWork>);

/// Joins and serves one run.
pub(crate) async fn serve(config: &AgentConfig, shutdown: &CancellationToken) -> Result<Ended, SessionError> {
    let mut client = tokio::select! {
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        client = dial(&config.coordinator) => client.map_err(SessionError::Unreachable)?,
    };
    let hello_sent = Instant::now();
    let (control, welcome) = tokio::select! {
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        joined = join(&mut client, config) => joined?,
    };
    info!("joined run {} as {}", welcome.session.run, welcome.session.slot);
    let work = tokio::select! {
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        opened = open_work(&mut client, welcome.session.clone()) => opened?,
    };
    let mut session = Session::start(config, welcome, control, Lease::new(hello_sent), work);
    let ended = session.drive(shutdown).await;
    session.stop().await;
    ended
}

/// Hello out, Welcome back.
async fn join(
    client: &mut MusterClient<Channel>,
    config: &AgentConfig,
) -> Result<(Control, Welcome), SessionError> {
    let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
    let mut control = Control { sender, inbound: None };
    control.send(FromAgent::Hello(hello(config)))?;
    let answer = async {
        let mut inbound = client.control(ReceiverStream::new(receiver)).await?.into_inner();
        let first = inbound.message().await?.ok_or(SessionError::Closed("control"))?;
        Ok::<_, SessionError>((inbound, FromCoordinator::try_from(first)?))
    };
    let (inbound, first) = timeout(limits::HELLO_TIMEOUT, answer)
        .await
        .map_err(|_| SessionError::Silent(limits::HELLO_TIMEOUT))??;
    control.inbound = Some(inbound);
    match first {
        FromCoordinator::Welcome(welcome) => Ok((control, welcome)),
        FromCoordinator::Reject { reason, retry: true } => Err(SessionError::Full { reason }),
        FromCoordinator::Reject { reason, retry: false } => Err(SessionError::Refused { reason }),
        _ => Err(SessionError::Protocol("the answer to Hello was neither Welcome nor Reject")),
    }
}

fn hello(config: &AgentConfig) -> Hello {
    Hello {
        protocol_version: limits::PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: machine_name(),
        process_id: std::process::id(),
        workers: config.workers,
        slot: config.slot,
        has_database: config.database.is_some(),
    }
}

fn machine_name() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

async fn open_work(client: &mut MusterClient<Channel>, session: SessionId) -> Result<Work, SessionError> {
    let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
    let open = work::FromAgent::Open(session).into();
    sender.try_send(open).expect("a new channel has room");
    let opening = client.work(ReceiverStream::new(receiver));
    let response = timeout(limits::HELLO_TIMEOUT, opening)
        .await
        .map_err(|_| SessionError::Silent(limits::HELLO_TIMEOUT))?;
    Ok((sender, response?.into_inner()))
}

/// The Control stream of this session, both directions.
struct Control {
    sender: mpsc::Sender<v1::AgentControl>,
    /// Absent until the coordinator answered Hello.
    inbound: Option<Streaming<v1::CoordinatorControl>>,
}

impl Control {
    fn send(&self, message: FromAgent) -> Result<(), SessionError> {
        self.sender.try_send(message.into()).map_err(|_| SessionError::Closed("control"))
    }

    async fn receive(&mut self) -> Result<FromCoordinator, SessionError> {
        let inbound = self.inbound.as_mut().ok_or(SessionError::Closed("control"))?;
        let message = inbound.message().await?.ok_or(SessionError::Closed("control"))?;
        Ok(message.try_into()?)
    }
}

struct Session {
    control: Control,
    lease: Lease,
    /// From the latest acknowledged beat.
    round_trip: Duration,
    crew: Crew,
    /// The two tasks of the Work stream; each ends with `Ok` only when its part is done.
    tasks: JoinSet<Result<WorkTask, SessionError>>,
    /// When the countdown of Arm ends; taken once Started is sent.
    starts_at: Option<Instant>,
    /// The sending half of the Work stream once every result is acknowledged: it stays open until the session ends.
    acknowledged: Option<mpsc::Sender<v1::AgentWork>>,
    is_reported: bool,
    /// Workers end when they are told to; before, it is a fault.
    may_end: bool,
}

/// Which of the two tasks ended.
enum WorkTask {
    /// The coordinator closed its half.
    Rows,
    /// Every result is acknowledged.
    Results(mpsc::Sender<v1::AgentWork>),
}

impl Session {
    fn start(config: &AgentConfig, welcome: Welcome, control: Control, lease: Lease, work: Work) -> Self {
        let (work_sender, work_inbound) = work;
        let (acked_sender, acked) = watch::channel(0);
        let (crew, queues, measurements) = Crew::start(config, &welcome);
        let workers = config.workers;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            results::receive_rows(work_inbound, queues, acked_sender).await.map(|()| WorkTask::Rows)
        });
        tasks.spawn(async move {
            let sender = results::send_results(workers, measurements, acked, work_sender).await?;
            Ok(WorkTask::Results(sender))
        });
        Self {
            control,
            lease,
            round_trip: Duration::ZERO,
            crew,
            tasks,
            starts_at: None,
            acknowledged: None,
            is_reported: false,
            may_end: false,
        }
    }

    async fn drive(&mut self, shutdown: &CancellationToken) -> Result<Ended, SessionError> {
        let mut beats = tokio::time::interval(limits::BEAT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let lapses_at = self.lease.lapses_at();
            let starts_at = self.starts_at.unwrap_or(lapses_at);
            tokio::select! {
                // In this order: after a freeze the lapse comes before anything that waited meanwhile.
                biased;
                () = sleep_until(lapses_at.into()) => return Err(SessionError::Lapsed),
                () = shutdown.cancelled() => {
                    self.leave().await?;
                    return Ok(Ended::Shutdown);
                }
                () = sleep_until(starts_at.into()), if self.starts_at.is_some() => {
                    self.starts_at = None;
                    self.control.send(FromAgent::Started { round_trip: self.round_trip })?;
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
                    CrewEvent::Done => return Err(SessionError::WorkerLost),
                },
                Some(task) = self.tasks.join_next() => {
                    match task.map_err(|_| SessionError::WorkerLost)?? {
                        WorkTask::Rows => return Err(SessionError::Closed("work")),
                        WorkTask::Results(sender) => self.acknowledged = Some(sender),
                    }
                }
            }
            self.report_when_drained()?;
        }
    }

    /// Does what the coordinator says; `Some` when that is to end.
    fn obey(&mut self, message: FromCoordinator) -> Option<Ended> {
        match message {
            FromCoordinator::BeatAck(number) => {
                if let Some(sent_at) = self.lease.acknowledged(number) {
                    self.round_trip = sent_at.elapsed();
                }
            }
            FromCoordinator::Arm { countdown } => {
                let starts_at = Instant::now() + countdown.saturating_sub(self.round_trip / 2);
                self.starts_at = Some(starts_at);
                self.crew.start_at(starts_at);
            }
            FromCoordinator::Drain => {
                self.may_end = true;
                self.crew.drain();
            }
            FromCoordinator::Cancel { reason } => {
                debug!("queries in flight are cancelled: {reason}");
                self.may_end = true;
                self.crew.cancel();
            }
            FromCoordinator::Bye { reason } => return Some(Ended::Bye { reason }),
            FromCoordinator::Welcome(_) | FromCoordinator::Reject { .. } => {
                debug!("a second answer to Hello is ignored");
            }
        }
        None
    }

    /// Says Leave and waits until the coordinator has closed the work stream: closed from here first, that would be the loss, and
    /// nobody would learn the reason.
    async fn leave(&mut self) -> Result<(), SessionError> {
        self.control.send(FromAgent::Leave { reason: "asked to stop".to_owned() })?;
        self.crew.cancel();
        let closed = async {
            while let Some(Ok(Ok(WorkTask::Results(sender)))) = self.tasks.join_next().await {
                self.acknowledged = Some(sender);
            }
        };
        // Who does not answer is left without a word.
        let _ = timeout(limits::FAREWELL_TIMEOUT, closed).await;
        Ok(())
    }

    /// The last word of a drained agent: all workers done, all results acknowledged.
    fn report_when_drained(&mut self) -> Result<(), SessionError> {
        let is_due = self.acknowledged.is_some() && !self.is_reported;
        if is_due && let Some(reports) = self.crew.reports() {
            self.control.send(FromAgent::Report(reports))?;
            self.is_reported = true;
        }
        Ok(())
    }

    /// Ends everything that this session started.
    async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.crew.stop().await;
    }
}
