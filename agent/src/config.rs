//! The validated configuration of an agent.

use std::fmt;

use muster_core::ids::SlotId;
use muster_net::address::Coordinators;
use muster_net::security::Security;
use muster_postgres::{RoleRule, Settings};

use crate::route::Route;

/// The configuration of one agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub coordinators: Coordinators,
    pub security: Security,
    /// 1 to [`muster_core::limits::WORKERS_PER_AGENT_MAX`].
    pub workers: u16,
    /// The slot to request. `None` requests any free slot.
    pub slot: Option<SlotId>,
    /// Exit after one run instead of waiting for the next.
    pub once: bool,
    /// The agent's own database. `None` uses the coordinator's.
    pub database: Option<Settings>,
    /// The agent's own second database, for a run that compares two. `None` uses the coordinator's.
    pub versus: Option<Settings>,
    pub accept_database_url: AcceptDatabaseUrl,
    /// Allow statements to write. Otherwise sessions are read-only.
    pub allow_writes: bool,
    /// The rule for the role of the database sessions.
    pub role: RoleRule,
}

impl AgentConfig {
    /// Returns an agent with the defaults of the command line: one worker and no database settings.
    pub fn joining(coordinators: Coordinators) -> Self {
        Self {
            coordinators,
            security: Security::None,
            workers: 1,
            slot: None,
            once: false,
            database: None,
            versus: None,
            accept_database_url: AcceptDatabaseUrl::default(),
            allow_writes: false,
            role: RoleRule::default(),
        }
    }
}

/// The coordinators from which a database URL is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptDatabaseUrl {
    Never,
    /// From a coordinator on this machine.
    Loopback,
    /// From a coordinator on this machine, or over TLS.
    #[default]
    Tls,
}

impl AcceptDatabaseUrl {
    pub(crate) fn allows(self, route: &Route) -> bool {
        match self {
            Self::Never => false,
            Self::Loopback => route.is_loopback(),
            Self::Tls => route.is_loopback() || route.is_encrypted,
        }
    }
}

/// The value on the command line.
impl fmt::Display for AcceptDatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Loopback => "loopback",
            Self::Tls => "tls",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Ends;

    #[test]
    fn a_database_url_is_accepted_from_this_machine_and_over_tls_by_default() {
        let ends =
            |peer: &str| Some(Ends { local: "127.0.0.1:1".parse().unwrap(), peer: peer.parse().unwrap() });
        let local = Route { ends: ends("127.0.0.1:50051"), is_encrypted: false };
        let local_ipv6 = Route { ends: ends("[::1]:50051"), is_encrypted: false };
        let remote = Route { ends: ends("192.0.2.1:50051"), is_encrypted: false };
        let encrypted = Route { is_encrypted: true, ..remote };
        let allowed = |accept: AcceptDatabaseUrl| {
            [local, local_ipv6, encrypted, remote, Route::default()].map(|route| accept.allows(&route))
        };
        assert_eq!(allowed(AcceptDatabaseUrl::Never), [false; 5]);
        assert_eq!(allowed(AcceptDatabaseUrl::Loopback), [true, true, false, false, false]);
        assert_eq!(allowed(AcceptDatabaseUrl::Tls), [true, true, true, false, false]);
        assert_eq!(AcceptDatabaseUrl::default(), AcceptDatabaseUrl::Tls);
    }
}
