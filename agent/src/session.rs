//! One session: from Hello to Bye. This file drives the Control stream and the lease; rows and results have a task of their own.
//! Nothing here waits for a full channel: a control queue that is full means a dead peer, and ends the session.

mod ended;
mod farewell;
mod fences;
mod looks;

use std::sync::Arc;
use std::time::Instant;

use muster_common::ids::RunId;
use muster_common::lease::Lease;
use muster_common::limits;
use muster_common::outbox::Outbox;
use muster_common::remote_clock::RemoteClock;
use muster_common::session_token::GrantedSession;
use muster_proto::control::{FromAgent, FromCoordinator, StandBy, Welcome};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::clock;
use crate::config::AgentConfig;
use crate::crew::{Crew, CrewEvent};
use crate::dial::{Client, dial};
use crate::health::{Gauges, Reporter};
use crate::join::{Control, Joined, join};
use crate::permit::Permit;
use crate::results::{Cargo, Watchers, WorkStream};
use crate::route::Route;
use crate::surroundings::Surroundings;
use crate::worker::Round;
pub(crate) use ended::{Ended, KeptResults, Past, SessionError};
use farewell::{Farewell, Left};
use fences::Fences;
use looks::Looks;

/// Joins and serves one run. Sends the results in `kept` that belong to this run, leaves unacknowledged ones there, and adds to `past`.
pub(crate) async fn serve(
    config: &AgentConfig,
    surroundings: &Surroundings,
    kept: &mut Option<KeptResults>,
    past: &mut Past,
    shutdown: &CancellationToken,
) -> Result<Ended, SessionError> {
    let (mut client, route) = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        client = dial(&config.coordinators, &config.security, &surroundings.network) => client?,
    };
    let hello_sent = clock::now();
    let (control, joined) = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(Ended::Shutdown),
        joined = join(&mut client, config, past, kept.as_ref()) => joined?,
    };
    let presence = surroundings.metrics.join();
    let lease = Lease::new(hello_sent);
    let reached = (client, route.get());
    let mut session = Session::start(config, surroundings, reached, control, joined, lease, kept);
    let ended = session.drive(shutdown).await;
    match &ended {
        Ok(_) => drop(presence),
        Err(_) => presence.lose(),
    }
    let run = session.run.clone();
    past.got_ready |= session.got_ready;
    let limit = session.crew.limit().map(str::to_owned);
    let Left { results, sessions, ended: stopped, ran } = session.stop().await;
    past.ended = stopped.or(past.ended.take());
    past.ran = ran.or(past.ran.take());
    if !results.is_empty() {
        *kept = Some(KeptResults { run, results, sessions, since: clock::now() });
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
    /// The coordinator's.
    remote_clock: RemoteClock,
    /// When the next beat is to go.
    beats_at: Instant,
    crew: Crew,
    gauges: Arc<Gauges>,
    /// While queries run.
    reporter: Option<Reporter>,
    is_watched: bool,
    work: Work,
    /// Earlier sessions of this run whose results this one sends.
    former: Vec<GrantedSession>,
    fences: Fences,
    looks: Looks,
    /// When the countdown of Arm ends; `None` once it has, and where nobody watches.
    starts_at: Option<Instant>,
    /// The last round that was armed.
    round: Option<Round>,
    got_ready: bool,
    has_started: bool,
    has_told_start: bool,
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
        session: GrantedSession,
    },
    /// Only for the moment between the two.
    Opening,
}

impl Session {
    fn start(
        config: &AgentConfig,
        surroundings: &Surroundings,
        (client, route): (Client, Route),
        control: Control,
        joined: Joined,
        lease: Lease,
        kept: &mut Option<KeptResults>,
    ) -> Self {
        let Surroundings { workplace, metrics, .. } = surroundings;
        let permit = Arc::new(Permit::until(lease.lapses_at()));
        let (run, run_config, name) = match &joined {
            Joined::Placed(Welcome { session, config }) => {
                (session.id.run.clone(), config, session.id.application_name())
            }
            Joined::StandingBy(StandBy { run, config }) => {
                info!("standing by in run {run}: every slot is taken");
                (run.clone(), config, format!("muster:{run}:standby"))
            }
        };
        let gauges = Arc::new(Gauges::new(config.workers));
        let (crew, queues, told) =
            Crew::open(&**workplace, config, run_config, &route, name, &permit, &gauges);
        let (inherited, former) = KeptResults::inherited(kept, &run);
        let outbox = Outbox::new(config.workers, inherited);
        let watchers = Watchers { gauges: Arc::clone(&gauges), metrics: metrics.clone() };
        let cargo = Cargo { queues, told, outbox, watchers };
        let mut session = Self {
            client,
            control,
            run,
            lease,
            permit,
            remote_clock: RemoteClock::default(),
            beats_at: clock::now(),
            crew,
            work: Work::Waiting(Box::new(cargo)),
            former,
            gauges,
            reporter: None,
            is_watched: workplace.is_real(),
            fences: Fences::default(),
            looks: Looks::default(),
            starts_at: None,
            round: None,
            got_ready: false,
            has_started: false,
            has_told_start: false,
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
                    self.finish_reporter().await;
                    let line = self.control.sideline();
                    let tell = move |interval| line(FromAgent::Health(interval));
                    self.reporter = Some(Reporter::start(Arc::clone(&self.gauges), tell));
                }
                () = sleep_until(self.beats_at.into()) => {
                    let now = clock::now();
                    let period = if self.has_started { limits::BEAT_EVERY } else { limits::BEAT_EVERY_AT_FIRST };
                    self.beats_at = now + period;
                    let number = self.lease.beat(now);
                    self.control.send(FromAgent::Beat(number))?;
                    self.tell_start()?;
                    self.report_reconnects()?;
                }
                message = self.control.receive() => {
                    if let Some(ended) = self.obey(message?) {
                        return Ok(ended);
                    }
                }
                event = self.crew.next() => match event.ok_or(SessionError::WorkerLost)? {
                    CrewEvent::Ready(ready) => {
                        self.got_ready = true;
                        self.control.send(FromAgent::Ready(*ready))?;
                    }
                    CrewEvent::PrepareFailed(failed) => {
                        self.may_end = true;
                        self.control.send(FromAgent::PrepareFailed(failed))?;
                    }
                    CrewEvent::Done if self.may_end => {}
                    // A worker ends when its permit lapses. After a freeze that may be before the timer above has noticed.
                    CrewEvent::Done if self.lease.has_lapsed(clock::now()) => return Err(SessionError::Lapsed),
                    CrewEvent::Done => return Err(SessionError::WorkerLost),
                },
                delivered = self.work.delivered() => {
                    delivered?;
                    self.is_delivered = true;
                }
                answer = self.fences.next() => self.control.send(FromAgent::BackendsEnded(answer?))?,
                answer = self.looks.next() => self.control.send(answer?)?,
            }
            if self.say_last_word().await? {
                return Ok(Ended::Shutdown);
            }
        }
    }

    /// Does what the coordinator says; `Some` when that is to end.
    fn obey(&mut self, message: FromCoordinator) -> Option<Ended> {
        match message {
            FromCoordinator::BeatAck { number, time } => {
                if let Some(sent_at) = self.lease.acknowledged(number) {
                    let received = clock::now();
                    self.remote_clock.read(sent_at, received, time);
                    self.gauges.beat_returned(received.saturating_duration_since(sent_at));
                    self.permit.prolong(self.lease.lapses_at());
                }
            }
            FromCoordinator::Welcome(Welcome { session, config: _ }) => {
                self.crew.take_place(&session.id.application_name());
                self.open_work(session);
            }
            FromCoordinator::Arm(arm) => {
                let received = clock::now();
                let latest = received + arm.countdown;
                let starts_at =
                    self.remote_clock.here(arm.starts_at).map_or(latest, |at| at.clamp(received, latest));
                self.starts_at = self.is_watched.then_some(starts_at);
                self.beats_at = after_the_start(self.beats_at, received, starts_at);
                (self.has_started, self.has_told_start) = (true, false);
                self.gauges.forget_begin();
                // Of a later round nothing is forgotten: the last one's reporter still tells it.
                if self.reporter.is_none() {
                    self.gauges.forget();
                }
                let round = Round::new(&arm, starts_at);
                self.round = Some(round);
                self.crew.start(round);
            }
            FromCoordinator::EndBackends { slot, below } => {
                self.fences.end_backends(&self.crew, &self.run, slot, below);
            }
            FromCoordinator::Look(look) => self.looks.look(&self.crew, &self.run, look),
            FromCoordinator::Explain(explain) => self.looks.explain(&self.crew, &self.run, explain),
            FromCoordinator::Drain => {
                self.farewell = Farewell::Run;
                self.drain();
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

    /// Says when the first worker began, once a round.
    fn tell_start(&mut self) -> Result<(), SessionError> {
        match self.gauges.first_begin().filter(|_| !self.has_told_start) {
            Some(at) => {
                self.has_told_start = true;
                self.control.send(FromAgent::Started { at: self.remote_clock.there(at) })
            }
            None => Ok(()),
        }
    }

    /// Called with each heartbeat, and before Report or Leave. Workers that reconnect together cause one message for each server.
    fn report_reconnects(&mut self) -> Result<(), SessionError> {
        for (round, of_round) in self.crew.take_reconnects() {
            for reconnects in of_round {
                self.control.send(FromAgent::Reconnected(round, reconnects))?;
            }
        }
        Ok(())
    }

    /// Opens the Work stream of the slot that was given; once a session.
    fn open_work(&mut self, session: GrantedSession) {
        match std::mem::replace(&mut self.work, Work::Opening) {
            Work::Waiting(cargo) => {
                info!("joined run {} as {}", session.id.run, session.id.slot);
                let stream = WorkStream::open(self.client.clone(), session.clone(), *cargo);
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
    /// Pending for ever while there is no stream.
    async fn delivered(&mut self) -> Result<(), SessionError> {
        match self {
            Self::Open { stream, .. } => stream.next().await,
            Self::Waiting(_) | Self::Opening => std::future::pending().await,
        }
    }
}

/// When a beat goes that was to go at `beats_at`, of an agent that was told to start: later, but well within the lease, and not at the
/// same moment as that of every other.
fn after_the_start(mut beats_at: Instant, told_at: Instant, starts_at: Instant) -> Instant {
    let calm_until = (starts_at + limits::CALM_AFTER_START).min(told_at + limits::BEAT_EVERY);
    while beats_at < calm_until {
        beats_at += limits::BEAT_EVERY_AT_FIRST;
    }
    beats_at
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_beat_goes_while_all_start_and_those_of_many_agents_stay_apart() {
        let told_at = Instant::now();
        let starts_at = told_at + limits::ARM_COUNTDOWN;
        let mut moments: Vec<Instant> = (0..limits::BEAT_EVERY_AT_FIRST.as_millis())
            .map(|millis| after_the_start(told_at + Duration::from_millis(millis as u64), told_at, starts_at))
            .collect();
        assert!(moments.iter().all(|at| *at >= starts_at + limits::CALM_AFTER_START));
        assert!(moments.iter().all(|at| *at <= told_at + 2 * limits::BEAT_EVERY_AT_FIRST));
        let agents = moments.len();
        moments.sort_unstable();
        moments.dedup();
        assert_eq!(moments.len(), agents);
    }

    #[test]
    fn a_beat_is_not_put_off_for_longer_than_a_lease_allows() {
        let told_at = Instant::now();
        let late = told_at + limits::BEAT_EVERY;
        assert_eq!(after_the_start(late, told_at, told_at), late, "it is later anyway");
        let put_off = after_the_start(told_at, told_at, told_at + Duration::from_secs(3_600));
        // The one before it went a second ago at the most.
        assert!(put_off + limits::BEAT_EVERY < told_at + limits::LEASE, "{:?}", put_off - told_at);
    }
}
