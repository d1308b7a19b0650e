//! Nobody gets past here without the secret of the join string, where the coordinator has one: no method of no service is called.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use muster_common::attempts::Attempts;
use muster_common::join_string::Secret;
use muster_common::limits;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing::{debug, error, warn};

use super::visitor::Visit;
use crate::clock;
use crate::identity::Identity;

#[derive(Clone)]
pub(super) struct Guard {
    /// `None` where there is no secret to show: in clear, or where a certificate is what counts.
    identity: Option<Arc<Identity>>,
    attempts: Arc<Mutex<Attempts>>,
}

impl Guard {
    pub(super) fn new(identity: Option<Arc<Identity>>) -> Self {
        Self { identity, attempts: Arc::default() }
    }

    fn check(&self, identity: &Identity, request: &Request<()>) -> Result<(), Status> {
        let visit: Option<&Visit> = request.extensions().get();
        let Some(peer) = visit.and_then(|visit| visit.peer).map(|peer| peer.ip()) else {
            return Err(Status::internal("a connection from nowhere"));
        };
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if !attempts.may_try(peer, clock::now()) {
            return Err(Status::resource_exhausted(format!(
                "this machine showed a wrong join string {} times; it may try again after {:?}",
                limits::JOIN_ATTEMPTS_MAX,
                limits::JOIN_ATTEMPTS_PER
            )));
        }
        let expected = identity.secret().map_err(|problem| {
            error!("nobody can join: {problem}");
            Status::unavailable("the coordinator cannot read its identity")
        })?;
        match shown(request) {
            Some(secret) if secret == expected => Ok(()),
            shown => {
                let times = attempts.failed(peer, clock::now());
                tell(peer, times, shown.is_some());
                Err(Status::unauthenticated(match shown {
                    Some(_) => {
                        "the join string is not valid any more, or not this coordinator's: `coordinator token` prints the one that is"
                    }
                    None => {
                        "this coordinator wants a join string: --join with what `coordinator token` prints"
                    }
                }))
            }
        }
    }
}

fn shown(request: &Request<()>) -> Option<Secret> {
    let bearer = request.metadata().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?;
    Secret::parse(bearer).ok()
}

/// Once, and once more when it is too often.
fn tell(peer: IpAddr, times: u32, has_shown: bool) {
    let what = if has_shown { "with a wrong join string" } else { "without a join string" };
    if times == limits::JOIN_ATTEMPTS_MAX {
        warn!(
            "{peer} tried to join {what} for the {times}th time, and is not heard for {:?}",
            limits::JOIN_ATTEMPTS_PER
        );
    } else if times == 1 {
        warn!("{peer} tried to join {what} and was refused");
    } else {
        debug!("{peer} tried to join {what}");
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(identity) = &self.identity {
            self.check(identity, &request)?;
        }
        Ok(request)
    }
}
