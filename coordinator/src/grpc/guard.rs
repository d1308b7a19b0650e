//! Rejects every request that does not carry the secret of the join string, if the coordinator has one, before any service method is
//! called. The secret has 256 random bits, so failed attempts are not counted: the correct secret is always accepted, even if other clients
//! at the same address have sent wrong ones.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use muster_core::limits;
use muster_net::join_string::Secret;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing::{debug, error, warn};

use super::admission::ConnectionInfo;
use crate::clock;
use crate::identity::Identity;

#[derive(Clone)]
pub(super) struct Guard {
    /// `None` where no secret is required: without encryption and with client certificates.
    identity: Option<Arc<Identity>>,
    refusals: Arc<Mutex<RefusalLog>>,
}

impl Guard {
    pub(super) fn new(identity: Option<Arc<Identity>>) -> Self {
        Self { identity, refusals: Arc::default() }
    }

    fn check(&self, identity: &Identity, request: &Request<()>) -> Result<(), Status> {
        let connection: Option<&ConnectionInfo> = request.extensions().get();
        if connection.is_some_and(ConnectionInfo::is_in_process) {
            return Ok(());
        }
        let expected = identity.secret().map_err(|problem| {
            error!("no agent can join: {problem}");
            Status::unavailable("the coordinator cannot read its identity")
        })?;
        let (what, message) = match presented_secret(request) {
            Some(secret) if secret == expected => return Ok(()),
            Some(_) => (
                "with a wrong join string",
                "the join string is no longer valid or belongs to another coordinator: `coordinator token` prints the current one",
            ),
            None => (
                "without a join string",
                "this coordinator requires a join string: pass the output of `coordinator token` with --join",
            ),
        };
        if let Some(peer) = connection.and_then(|connection| connection.peer).map(|peer| peer.ip()) {
            self.log(peer, what);
        }
        Err(Status::unauthenticated(message))
    }

    fn log(&self, peer: IpAddr, what: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.is_due(peer, clock::now()) {
            warn!("{peer} tried to join {what} and was refused");
        } else {
            debug!("{peer} tried to join {what}");
        }
    }
}

fn presented_secret(request: &Request<()>) -> Option<Secret> {
    let bearer = request.metadata().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?;
    Secret::parse(bearer).ok()
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(identity) = &self.identity {
            self.check(identity, &request)?;
        }
        Ok(request)
    }
}

/// The time at which a refusal was last logged, by machine.
#[derive(Debug, Default)]
struct RefusalLog(HashMap<IpAddr, Instant>);

impl RefusalLog {
    fn is_due(&mut self, peer: IpAddr, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < limits::REFUSAL_LOGGED_EVERY;
        let machine = machine(peer);
        if self.0.get(&machine).is_some_and(is_recent) {
            return false;
        }
        if self.0.len() >= limits::REFUSED_MACHINES_MAX {
            self.0.retain(|_, at| is_recent(at));
        }
        // An attacker may have many addresses, and the log must not grow with each of them.
        if self.0.len() >= limits::REFUSED_MACHINES_MAX {
            return false;
        }
        self.0.insert(machine, now);
        true
    }
}

/// The address that stands for a machine: an IPv4 address or an IPv6 /64 network, because one machine may have 2^64 IPv6 addresses.
fn machine(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn refusals_are_logged_at_intervals_for_each_machine() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        assert!(log.is_due(ip("10.0.0.1"), start));
        assert!(!log.is_due(ip("10.0.0.1"), start));
        assert!(!log.is_due(ip("::ffff:10.0.0.1"), start), "the same machine");
        assert!(log.is_due(ip("10.0.0.2"), start));
        assert!(log.is_due(ip("2001:db8::1"), start));
        assert!(!log.is_due(ip("2001:db8::ffff:1:2"), start), "an IPv6 /64 network is one machine");
        assert!(log.is_due(ip("2001:db8:0:1::1"), start));
        assert!(log.is_due(ip("10.0.0.1"), start + limits::REFUSAL_LOGGED_EVERY));
    }

    #[test]
    fn memory_and_log_are_bounded() {
        let (mut log, now) = (RefusalLog::default(), Instant::now());
        let machines = u32::try_from(limits::REFUSED_MACHINES_MAX).unwrap();
        let logged =
            (0..10 * machines).filter(|address| log.is_due(IpAddr::from(address.to_be_bytes()), now));
        assert_eq!(logged.count(), limits::REFUSED_MACHINES_MAX);
        assert_eq!(log.0.len(), limits::REFUSED_MACHINES_MAX);
        assert!(log.is_due(ip("10.0.0.1"), now + limits::REFUSAL_LOGGED_EVERY));
    }
}
