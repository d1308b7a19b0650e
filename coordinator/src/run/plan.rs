//! What a run is: everything that is decided before the first agent joins.

use std::sync::Arc;
use std::time::Duration;

use muster_common::ids::{RunId, SessionId};
use muster_common::load::Load;
use muster_common::passes::Passes;
use muster_common::placement::Method;
use muster_common::result;
use muster_common::session_token::{GrantedSession, SessionKey};
use muster_common::slots::Grant;
use muster_proto::control::{KEPT_BACK, RunConfig};
use secrecy::{ExposeSecret, SecretString};

use super::metrics::Metrics;
use super::statements::{Statement, Statements};
use super::summary::{Stated, Subject};
use super::tally::Scope;
use crate::threshold::Threshold;
use crate::workload::Workload;

pub(crate) struct RunPlan {
    pub(crate) id: RunId,
    pub(crate) key: SessionKey,
    /// 1 to [`muster_common::limits::AGENTS_MAX`].
    pub(crate) agents: u16,
    /// As typed when the run began.
    pub(crate) file: String,
    pub(crate) workload: Arc<Workload>,
    pub(crate) placement: Method,
    pub(crate) statements: Statements,
    pub(crate) load: Load,
    /// How often each record is run.
    pub(crate) passes: Passes,
    pub(crate) timezone: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) join_timeout: Duration,
    pub(crate) on_agent_loss: OnAgentLoss,
    /// A lost agent's slot waits this long for a replacement.
    pub(crate) slot_grace: Duration,
    /// What rows that may have run before mean for the latencies.
    pub(crate) retried: Retried,
    /// For agents that have no database of their own; [`KEPT_BACK`] where it cannot be handed over.
    pub(crate) database_url: Option<SecretString>,
    /// A second database, against which every row is run as well.
    pub(crate) versus_url: Option<SecretString>,
    /// The agents are started by this process; nobody else needs to.
    pub(crate) has_local_agents: bool,
    /// Where the embedded server's programs came from.
    pub(crate) embedded: Option<String>,
    /// The command line, without secrets.
    pub(crate) command: String,
    /// What the run must reach.
    pub(crate) thresholds: Vec<Threshold>,
    /// So many of the slowest rows are explained after the run.
    pub(crate) explain_slowest: u16,
    /// Where it is told how far the run is.
    pub(crate) metrics: Metrics,
}

/// What happens when nobody took a lost agent's slot within the grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnAgentLoss {
    /// That slot's hosts, and they alone, are placed anew over the agents that are left.
    Reassign,
    /// The run ends with a partial report.
    Fail,
    /// The run goes on without them and waits, for ever.
    Wait,
}

/// Whether the service times of rows that may have run before are among the latencies: their second run may have met a warm cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retried {
    LeftOut,
    Included,
}

/// Which databases the coordinator has for agents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handover {
    database: bool,
    versus: bool,
}

impl Handover {
    /// Whether an agent with or without a database of its own is handed any.
    pub(crate) fn includes(self, has_database: bool) -> bool {
        self.versus || (self.database && !has_database)
    }
}

impl RunPlan {
    pub(crate) fn subject(&self) -> Subject<'_> {
        let workload = &self.workload;
        Subject {
            run_id: self.id.to_string(),
            workload: result::Workload {
                file: self.file.clone(),
                sha256: workload.sha256().to_owned(),
                rows: workload.rows().into(),
                hosts: workload.hosts().len() as u64,
                skipped: workload.skipped(),
            },
            hosts: workload.hosts(),
            placement: self.placement,
            statements: self.statements.iter().map(Stated::of).collect(),
            load: &self.load,
            embedded: self.embedded.clone(),
            command: self.command.clone(),
            thresholds: &self.thresholds,
        }
    }

    /// Which times are kept.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            passes: self.passes,
            retried: self.retried,
            has_due_times: self.load.has_due_times(),
            slowest: self.explain_slowest,
            is_watched: self.metrics.are_on(),
        }
    }

    /// The session of a grant, with its token.
    pub(crate) fn session(&self, grant: Grant) -> GrantedSession {
        self.key.grant(SessionId { run: self.id.clone(), slot: grant.slot, epoch: grant.epoch })
    }

    /// True for a session of this run whose token is right.
    pub(crate) fn has_granted(&self, session: &GrantedSession) -> bool {
        session.id.run == self.id && self.key.has_issued(session)
    }

    pub(crate) fn handover(&self) -> Handover {
        Handover { database: self.database_url.is_some(), versus: self.versus_url.is_some() }
    }

    /// The configuration for an agent. The database is a secret: only agents without one receive it, in TLS or as processes of this user.
    pub(crate) fn config_for(&self, has_database: bool, is_private: bool) -> RunConfig {
        // An agent that receives no database learns that there is one.
        let for_agent = |url: &SecretString| match is_private {
            true => url.expose_secret().to_owned(),
            false => KEPT_BACK.to_owned(),
        };
        RunConfig {
            statements: self.statements.iter().map(Statement::for_agents).collect(),
            protocol: self.load.protocol,
            plan_cache_mode: self.load.plan_cache_mode,
            results: self.load.results,
            think_time: self.load.think_time,
            versus_url: self.versus_url.as_ref().map(for_agent),
            timezone: self.timezone.clone(),
            timeout: self.timeout,
            database_url: self.database_url.as_ref().filter(|_| !has_database).map(for_agent),
        }
    }
}
