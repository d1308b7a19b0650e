//! One session, from Hello to Bye. This file drives the Control stream and the lease. A separate task handles rows and results.
//! Nothing here waits for a full channel: a full control queue means that the peer is dead, and ends the session.

mod ended;
mod fences;
mod shutdown;
mod stats_requests;

use std::sync::Arc;
use std::time::Instant;

use muster_common::ids::RunId;
use muster_common::lease::Lease;
use muster_common::limits;
use muster_common::outbox::Outbox;
use muster_common::remote_clock::RemoteClock;
use muster_common::session_token::GrantedSession;
use muster_proto::control::{FromAgent, FromCoordinator, Standby, Welcome};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::clock;
use crate::config::AgentConfig;
use crate::dial::{Client, dial};
use crate::health::{Gauges, Reporter};
use crate::join::{Control, Joined, join};
use crate::permit::Permit;
use crate::results::{Telemetry, WorkContext, WorkStream};
use crate::route::Route;
use crate::runtime::Runtime;
use crate::worker::Round;
use crate::worker_set::{WorkerSet, WorkerSetEvent};
pub(crate) use ended::{Ended, Past, SessionError, UnackedResults};
use fences::Fences;
use shutdown::{Remains, Shutdown};
use stats_requests::StatsRequests;

/// Joins and serves one run. Sends the results in `unacked` that belong to this run, stores there the results that are still
/// unacknowledged at the end, and updates `past`.
pub(crate) async fn serve(
    config: &AgentConfig,
    runtime: &Runtime,
    unacked: &mut Option<UnackedResults>,
    past: &mut Past,
    shutdown: &CancellationToken,
) -> Result<Ended, SessionError> {
    let (mut client, route) = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        client = dial(&config.coordinators, &config.security, &runtime.network) => client?,
    };
    let hello_sent = clock::now();
    let (control, joined) = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        joined = join(&mut client, config, past, unacked.as_ref()) => joined?,
    };
    let presence = runtime.metrics.join();
    let lease = Lease::new(hello_sent);
    let connection = (client, route.get());
    let mut session = Session::start(config, runtime, connection, control, joined, lease, unacked);
    let ended = session.drive(shutdown).await;
    match &ended {
        Ok(_) => drop(presence),
        Err(_) => presence.mark_lost(),
    }
    let run = session.run.clone();
    past.got_ready |= session.got_ready;
    let limit = session.worker_set.limit().map(str::to_owned);
    let Remains { results, sessions, ended: stopped, ran } = session.stop().await;
    past.ended = stopped.or(past.ended.take());
    past.ran = ran.or(past.ran.take());
    if !results.is_empty() {
        *unacked = Some(UnackedResults { run, results, sessions, since: clock::now() });
    }
    match limit {
        Some(limit) => Err(SessionError::CannotStart(limit)),
        None => ended,
    }
}

struct Session {
    client: Client,
    control: Control,
    run: RunId,
    lease: Lease,
    permit: Arc<Permit>,
    /// The coordinator's clock.
    remote_clock: RemoteClock,
    /// When the next heartbeat is sent.
    next_beat_at: Instant,
    worker_set: WorkerSet,
    gauges: Arc<Gauges>,
    /// `Some` while queries run.
    reporter: Option<Reporter>,
    /// False in a simulation.
    reports_health: bool,
    work: Work,
    /// Earlier sessions of this run whose results this one sends.
    former: Vec<GrantedSession>,
    fences: Fences,
    stats_requests: StatsRequests,
    /// When the countdown of Arm ends. `None` once it has ended, and if health is not reported.
    starts_at: Option<Instant>,
    /// The last round that was armed.
    round: Option<Round>,
    got_ready: bool,
    has_started: bool,
    has_reported_start: bool,
    /// All workers have ended and every result is acknowledged.
    is_delivered: bool,
    shutdown: Shutdown,
    /// The workers were asked to end. A worker that ends before that is an error.
    may_end: bool,
}

/// The Work stream.
enum Work {
    /// The agent is on standby and has no slot.
    Waiting(Box<WorkContext>),
    Open {
        stream: WorkStream,
        session: GrantedSession,
    },
    /// A temporary value during the change from `Waiting` to `Open`.
    Opening,
}

impl Session {
    fn start(
        config: &AgentConfig,
        runtime: &Runtime,
        (client, route): (Client, Route),
        control: Control,
        joined: Joined,
        lease: Lease,
        unacked: &mut Option<UnackedResults>,
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
        let (inherited, former) = UnackedResults::inherited(unacked, &run);
        let outbox = Outbox::new(config.workers, inherited);
        let telemetry = Telemetry { gauges: Arc::clone(&gauges), metrics: metrics.clone() };
        let context = WorkContext { queues, worker_results, outbox, telemetry };
        let mut session = Self {
            client,
            control,
            run,
            lease,
            permit,
            remote_clock: RemoteClock::default(),
            next_beat_at: clock::now(),
            worker_set,
            work: Work::Waiting(Box::new(context)),
            former,
            gauges,
            reporter: None,
            reports_health: driver.is_real(),
            fences: Fences::default(),
            stats_requests: StatsRequests::default(),
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

    async fn drive(&mut self, shutdown: &CancellationToken) -> Result<Ended, SessionError> {
        loop {
            let lapses_at = self.lease.lapses_at();
            let starts_at = self.starts_at.unwrap_or(lapses_at);
            let leaves_at = match self.shutdown {
                Shutdown::Agent { deadline } => Some(deadline),
                _ => None,
            };
            tokio::select! {
                // The order matters: after a freeze, the expiry of the lease must be handled before anything that has arrived since.
                biased;
                () = sleep_until(lapses_at.into()) => return Err(SessionError::Lapsed),
                () = shutdown.cancelled(), if self.shutdown == Shutdown::NotYet => {
                    self.begin_leave();
                }
                () = sleep_until(leaves_at.unwrap_or(lapses_at).into()), if leaves_at.is_some() => {
                    self.leave(false).await?;
                    return Ok(Ended::Shutdown);
                }
                () = sleep_until(starts_at.into()), if self.starts_at.is_some() => {
                    self.starts_at = None;
                    self.finish_reporter().await;
                    let sender = self.control.lossy_sender();
                    let send = move |sample| sender(FromAgent::Health(sample));
                    self.reporter = Some(Reporter::start(Arc::clone(&self.gauges), send));
                }
                () = sleep_until(self.next_beat_at.into()) => {
                    let now = clock::now();
                    let period = if self.has_started { limits::HEARTBEAT_EVERY } else { limits::HEARTBEAT_EVERY_BEFORE_START };
                    self.next_beat_at = now + period;
                    let number = self.lease.beat(now);
                    self.control.send(FromAgent::Beat(number))?;
                    self.report_start()?;
                    self.report_reconnects()?;
                }
                message = self.control.receive() => {
                    if let Some(ended) = self.handle_message(message?) {
                        return Ok(ended);
                    }
                }
                event = self.worker_set.next() => match event.ok_or(SessionError::WorkerLost)? {
                    WorkerSetEvent::Ready(ready) => {
                        self.got_ready = true;
                        self.control.send(FromAgent::Ready(*ready))?;
                    }
                    WorkerSetEvent::PrepareFailed(failed) => {
                        self.may_end = true;
                        self.control.send(FromAgent::PrepareFailed(failed))?;
                    }
                    WorkerSetEvent::Done if self.may_end => {}
                    // A worker ends when its permit expires. After a freeze, this event may be handled before the timer above.
                    WorkerSetEvent::Done if self.lease.has_lapsed(clock::now()) => return Err(SessionError::Lapsed),
                    WorkerSetEvent::Done => return Err(SessionError::WorkerLost),
                },
                delivered = self.work.delivered() => {
                    delivered?;
                    self.is_delivered = true;
                }
                reply = self.fences.next() => self.control.send(FromAgent::BackendsEnded(reply?))?,
                reply = self.stats_requests.next() => self.control.send(reply?)?,
            }
            if self.finish_if_done().await? {
                return Ok(Ended::Shutdown);
            }
        }
    }

    /// Handles a message of the coordinator. Returns `Some` if it ends the session.
    fn handle_message(&mut self, message: FromCoordinator) -> Option<Ended> {
        match message {
            FromCoordinator::BeatAck { number, time } => {
                if let Some(sent_at) = self.lease.acknowledged(number) {
                    let received = clock::now();
                    self.remote_clock.read(sent_at, received, time);
                    self.gauges.record_round_trip(received.saturating_duration_since(sent_at));
                    self.permit.prolong(self.lease.lapses_at());
                }
            }
            FromCoordinator::Welcome(Welcome { session, config: _ }) => {
                self.worker_set.take_slot(&session.id.application_name());
                self.open_work(session);
            }
            FromCoordinator::Arm(arm) => {
                let received = clock::now();
                let latest = received + arm.countdown;
                let starts_at =
                    self.remote_clock.here(arm.starts_at).map_or(latest, |at| at.clamp(received, latest));
                self.starts_at = self.reports_health.then_some(starts_at);
                self.next_beat_at = beat_after_start(self.next_beat_at, received, starts_at);
                (self.has_started, self.has_reported_start) = (true, false);
                self.gauges.reset_start();
                // Not before a later round, because the reporter of the previous round still reports these counters.
                if self.reporter.is_none() {
                    self.gauges.reset();
                }
                let round = Round::new(&arm, starts_at);
                self.round = Some(round);
                self.worker_set.start(round);
            }
            FromCoordinator::EndBackends { slot, below } => {
                self.fences.end_backends(&self.worker_set, &self.run, slot, below);
            }
            FromCoordinator::StatsRequest(request) => {
                self.stats_requests.read_stats(&self.worker_set, &self.run, request);
            }
            FromCoordinator::Explain(request) => {
                self.stats_requests.explain(&self.worker_set, &self.run, request);
            }
            FromCoordinator::Drain => {
                self.shutdown = Shutdown::Run;
                self.drain();
            }
            FromCoordinator::Cancel { reason } => {
                debug!("queries in flight are cancelled: {reason}");
                self.may_end = true;
                self.worker_set.cancel();
            }
            FromCoordinator::Bye { reason } => {
                let had_slot = matches!(self.work, Work::Open { .. });
                return Some(Ended::Bye { reason, had_slot });
            }
            FromCoordinator::Standby(_) | FromCoordinator::Reject { .. } => {
                debug!("a second reply to Hello is ignored");
            }
        }
        None
    }

    /// Reports when the first worker began the round, once per round.
    fn report_start(&mut self) -> Result<(), SessionError> {
        match self.gauges.first_start().filter(|_| !self.has_reported_start) {
            Some(at) => {
                self.has_reported_start = true;
                self.control.send(FromAgent::Started { at: self.remote_clock.there(at) })
            }
            None => Ok(()),
        }
    }

    /// Called with each heartbeat, and before Report or Leave. When several workers have reconnected, one message is sent for each server.
    fn report_reconnects(&mut self) -> Result<(), SessionError> {
        for (round, of_round) in self.worker_set.take_reconnects() {
            for reconnects in of_round {
                self.control.send(FromAgent::Reconnected(round, reconnects))?;
            }
        }
        Ok(())
    }

    /// Opens the Work stream of this session's slot. Called once per session.
    fn open_work(&mut self, session: GrantedSession) {
        match std::mem::replace(&mut self.work, Work::Opening) {
            Work::Waiting(context) => {
                info!("joined run {} as {}", session.id.run, session.id.slot);
                let stream = WorkStream::open(self.client.clone(), session.clone(), *context);
                self.work = Work::Open { stream, session };
            }
            open => {
                debug!("a second Welcome is ignored");
                self.work = open;
            }
        }
    }
}

impl Work {
    /// Never returns while there is no stream.
    async fn delivered(&mut self) -> Result<(), SessionError> {
        match self {
            Self::Open { stream, .. } => stream.next().await,
            Self::Waiting(_) | Self::Opening => std::future::pending().await,
        }
    }
}

/// Returns when to send the heartbeat that was due at `beat_at`, after Arm was received at `armed_at`: not during the synchronized start,
/// but well within the lease. Agents whose heartbeats were at different times keep them apart.
fn beat_after_start(mut beat_at: Instant, armed_at: Instant, starts_at: Instant) -> Instant {
    let quiet_until =
        (starts_at + limits::HEARTBEAT_PAUSE_AFTER_START).min(armed_at + limits::HEARTBEAT_EVERY);
    while beat_at < quiet_until {
        beat_at += limits::HEARTBEAT_EVERY_BEFORE_START;
    }
    beat_at
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_heartbeat_is_sent_during_the_start_and_agents_keep_different_times() {
        let armed_at = Instant::now();
        let starts_at = armed_at + limits::ARM_COUNTDOWN;
        let mut times: Vec<Instant> = (0..limits::HEARTBEAT_EVERY_BEFORE_START.as_millis())
            .map(|millis| {
                beat_after_start(armed_at + Duration::from_millis(millis as u64), armed_at, starts_at)
            })
            .collect();
        assert!(times.iter().all(|at| *at >= starts_at + limits::HEARTBEAT_PAUSE_AFTER_START));
        assert!(times.iter().all(|at| *at <= armed_at + 2 * limits::HEARTBEAT_EVERY_BEFORE_START));
        let agents = times.len();
        times.sort_unstable();
        times.dedup();
        assert_eq!(times.len(), agents);
    }

    #[test]
    fn a_heartbeat_is_not_delayed_longer_than_the_lease_allows() {
        let armed_at = Instant::now();
        let later = armed_at + limits::HEARTBEAT_EVERY;
        assert_eq!(beat_after_start(later, armed_at, armed_at), later, "it is due later anyway");
        let delayed = beat_after_start(armed_at, armed_at, armed_at + Duration::from_secs(3_600));
        // The previous heartbeat was sent at most one second ago.
        assert!(delayed + limits::HEARTBEAT_EVERY < armed_at + limits::LEASE, "{:?}", delayed - armed_at);
    }
}
