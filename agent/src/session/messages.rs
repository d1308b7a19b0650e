//! The messages of the coordinator on the Control stream.

use std::time::Instant;

use muster_core::limits;
use muster_proto::control::{Arm, FromCoordinator, Welcome};
use tracing::debug;

use super::state::{Session, Shutdown};
use crate::clock;
use crate::phase::Round;
use crate::session_end::Ended;

impl Session {
    /// Handles a message of the coordinator. Returns `Some` if it ends the session.
    pub(super) fn handle_message(&mut self, message: FromCoordinator) -> Option<Ended> {
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
            FromCoordinator::Arm(arm) => self.arm(&arm),
            FromCoordinator::EndBackends { slot, below } => {
                self.requests.end_backends(&self.worker_set, &self.run, slot, below);
            }
            FromCoordinator::StatsRequest(request) => {
                self.requests.read_stats(&self.worker_set, &self.run, request);
            }
            FromCoordinator::Explain(request) => {
                self.requests.explain(&self.worker_set, &self.run, request);
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
                return Some(Ended::Bye { reason, had_slot: self.work.is_some() });
            }
            FromCoordinator::Standby(_) | FromCoordinator::Reject { .. } => {
                debug!("a second reply to Hello is ignored");
            }
        }
        None
    }

    /// Starts a round on all workers at the same moment as on the other agents.
    fn arm(&mut self, arm: &Arm) {
        let received = clock::now();
        let latest = received + arm.countdown;
        let starts_at = self.remote_clock.here(arm.starts_at).map_or(latest, |at| at.clamp(received, latest));
        self.starts_at = self.reports_health.then_some(starts_at);
        self.next_beat_at = beat_after_start(self.next_beat_at, received, starts_at);
        (self.has_started, self.has_reported_start) = (true, false);
        self.gauges.reset_start();
        // Not before a later round, because the reporter of the previous round still reports these counters.
        if self.reporter.is_none() {
            self.gauges.reset();
        }
        let round = Round::new(arm, starts_at);
        self.round = Some(round);
        self.worker_set.start(round);
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
