//! One session, from Hello to Bye. This file drives the Control stream and the lease. A separate task handles rows and results.
//! Nothing here waits for a full channel: a full control queue means that the peer is dead, and ends the session.

mod messages;
mod requests;
mod shutdown;
mod state;

use std::sync::Arc;

use muster_core::lease::Lease;
use muster_core::limits;
use muster_proto::control::FromAgent;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::AgentConfig;
use crate::dial::dial;
use crate::health::Reporter;
use crate::history::History;
use crate::join::join;
use crate::runtime::Runtime;
use crate::session_end::{Ended, SessionError};
use crate::worker_set::WorkerSetEvent;
use state::{Session, Shutdown, Work};

/// Joins and serves one run. Sends the unacknowledged results of earlier sessions of this run, and updates `history`.
pub(crate) async fn serve(
    config: &AgentConfig,
    runtime: &Runtime,
    history: &mut History,
    shutdown: &CancellationToken,
) -> Result<Ended, SessionError> {
    let dialling = dial(&config.coordinators, &config.security, &runtime.network);
    let Some(dialled) = shutdown.run_until_cancelled(dialling).await else { return Ok(Ended::Shutdown) };
    let (mut client, route) = dialled?;
    let hello_sent = clock::now();
    let joining = shutdown.run_until_cancelled(join(&mut client, config, history));
    let Some(joined) = joining.await else { return Ok(Ended::Shutdown) };
    let joined = joined?;
    let presence = runtime.metrics.join();
    let connection = (client, route.get());
    let mut session = Session::start(config, runtime, connection, joined, Lease::new(hello_sent), history);
    let ended = session.drive(shutdown).await;
    match &ended {
        Ok(_) => drop(presence),
        Err(_) => presence.mark_lost(),
    }
    let limit = session.worker_set.limit().map(str::to_owned);
    session.stop(history).await;
    match limit {
        Some(limit) => Err(SessionError::CannotStart(limit)),
        None => ended,
    }
}

impl Session {
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
                () = shutdown.cancelled(), if self.shutdown == Shutdown::NotYet => self.begin_leave(),
                () = sleep_until(leaves_at.unwrap_or(lapses_at).into()), if leaves_at.is_some() => {
                    self.leave(false).await?;
                    return Ok(Ended::Shutdown);
                }
                () = sleep_until(starts_at.into()), if self.starts_at.is_some() => self.start_reporter().await,
                () = sleep_until(self.next_beat_at.into()) => self.beat()?,
                message = self.control.receive() => {
                    if let Some(ended) = self.handle_message(message?) {
                        return Ok(ended);
                    }
                }
                event = self.worker_set.next() => self.handle_event(event.ok_or(SessionError::WorkerLost)?)?,
                delivered = delivered(&mut self.work) => {
                    delivered?;
                    self.is_delivered = true;
                }
                reply = self.requests.next() => self.control.send(reply?)?,
            }
            if self.finish_if_done().await? {
                return Ok(Ended::Shutdown);
            }
        }
    }

    /// Starts to report health when the countdown of Arm has ended.
    async fn start_reporter(&mut self) {
        self.starts_at = None;
        self.finish_reporter().await;
        let sender = self.control.lossy_sender();
        let send = move |sample| sender(FromAgent::Health(sample));
        self.reporter = Some(Reporter::start(Arc::clone(&self.gauges), send));
    }

    fn beat(&mut self) -> Result<(), SessionError> {
        let now = clock::now();
        self.next_beat_at = now
            + match self.has_started {
                true => limits::HEARTBEAT_EVERY,
                false => limits::HEARTBEAT_EVERY_BEFORE_START,
            };
        let number = self.lease.beat(now);
        self.control.send(FromAgent::Beat(number))?;
        self.report_start()?;
        self.report_reconnects()
    }

    fn handle_event(&mut self, event: WorkerSetEvent) -> Result<(), SessionError> {
        match event {
            WorkerSetEvent::Ready(ready) => {
                self.got_ready = true;
                self.control.send(FromAgent::Ready(*ready))
            }
            WorkerSetEvent::PrepareFailed(failed) => {
                self.may_end = true;
                self.control.send(FromAgent::PrepareFailed(failed))
            }
            WorkerSetEvent::Done if self.may_end => Ok(()),
            // A worker ends when its permit expires. After a freeze, this event may be handled before the timer of the lease.
            WorkerSetEvent::Done if self.lease.has_lapsed(clock::now()) => Err(SessionError::Lapsed),
            WorkerSetEvent::Done => Err(SessionError::WorkerLost),
        }
    }
}

/// Returns when everything is delivered, or with the reason why the stream failed. Never returns while there is no stream.
async fn delivered(work: &mut Option<Work>) -> Result<(), SessionError> {
    match work {
        Some(Work { stream, .. }) => stream.next().await,
        None => std::future::pending().await,
    }
}
