//! The plan of a run: everything that is decided before the first agent joins.

use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::SessionId;
use muster_core::passes::Passes;
use muster_core::session_token::{GrantedSession, SessionKey};
use muster_core::slots::Grant;
use muster_proto::control::{RunConfig, WITHHELD};
use secrecy::{ExposeSecret, SecretString};

use super::live::Live;
use super::metrics::Metrics;
use super::scope::{Retried, Scope};
use super::subject::Subject;
use crate::spec::RunSpec;
use crate::workload::Workload;

pub(crate) struct RunPlan {
    pub(crate) spec: RunSpec,
    pub(crate) key: SessionKey,
    pub(crate) workload: Arc<Workload>,
    /// How often and against which databases each record is run.
    pub(crate) passes: Passes,
    pub(crate) join_timeout: Duration,
    /// Whether the latencies include rows that may have run before.
    pub(crate) retried: Retried,
    /// The connection string for agents that were started without one. An agent that may not receive it gets [`WITHHELD`] instead.
    pub(crate) database_url: Option<SecretString>,
    /// The second database, against which every row is run as well.
    pub(crate) versus_url: Option<SecretString>,
    /// The number of slowest rows that are explained after the run.
    pub(crate) explain_slowest: u16,
    /// Publishes the status and progress of the run.
    pub(crate) metrics: Metrics,
    /// Collects what the page of `--web` shows.
    pub(crate) live: Live,
}

/// The databases whose connection strings the coordinator has for agents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handover {
    database: bool,
    versus: bool,
}

impl Handover {
    /// Returns true if an agent receives any of them. `has_database` states whether the agent was started with its own database.
    pub(crate) fn includes(self, has_database: bool) -> bool {
        self.versus || (self.database && !has_database)
    }
}

impl RunPlan {
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { spec: &self.spec, hosts: self.workload.hosts() }
    }

    /// The rows of the run and the times that are kept of them.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            passes: self.passes,
            retried: self.retried,
            has_due_times: self.spec.session.load.has_due_times(),
            slowest: self.explain_slowest,
            has_metrics: self.metrics.are_enabled(),
        }
    }

    /// The session of a grant, with its token.
    pub(crate) fn session(&self, grant: Grant) -> GrantedSession {
        self.key.grant(SessionId { run: self.spec.run_id.clone(), slot: grant.slot, epoch: grant.epoch })
    }

    /// Returns true for a session of this run with a valid token.
    pub(crate) fn has_granted(&self, session: &GrantedSession) -> bool {
        session.id.run == self.spec.run_id && self.key.has_issued(session)
    }

    pub(crate) fn handover(&self) -> Handover {
        Handover { database: self.database_url.is_some(), versus: self.versus_url.is_some() }
    }

    /// The configuration for an agent. The connection string is a secret: only agents without their own receive it, and only over TLS or if
    /// they are processes of this user.
    pub(crate) fn config_for(&self, has_database: bool, is_private: bool) -> RunConfig {
        // An agent that does not receive the connection string still learns that there is one.
        let for_agent = |url: &SecretString| match is_private {
            true => url.expose_secret().to_owned(),
            false => WITHHELD.to_owned(),
        };
        RunConfig {
            session: self.spec.session.clone(),
            versus_url: self.versus_url.as_ref().map(for_agent),
            database_url: self.database_url.as_ref().filter(|_| !has_database).map(for_agent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_handed_what_it_does_not_have() {
        let check = |database, versus, has_database, expected| {
            assert_eq!(Handover { database, versus }.includes(has_database), expected);
        };
        check(false, false, false, false);
        check(true, false, false, true);
        check(true, false, true, false);
        // Agents name one database of their own, so the second always comes from the coordinator.
        check(false, true, true, true);
    }
}
