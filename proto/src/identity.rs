//! The servers of an agent's connections, and reconnects to them.

use muster_core::server_identity::{Reconnects, Role, ServerIdentity};

use crate::v1;
use crate::wire::{self, WireError, narrow};

// -- from the wire -----------------------------------------------------------------------------------------------------

impl From<v1::ServerIdentity> for ServerIdentity {
    fn from(wire: v1::ServerIdentity) -> Self {
        let known = |text: &str| Some(wire::line(text)).filter(|text| !text.is_empty());
        Self {
            address: wire::line(&wire.address),
            system_identifier: known(&wire.system_identifier),
            started_at: known(&wire.started_at),
            role: wire.is_standby.map(|is_standby| if is_standby { Role::Standby } else { Role::Primary }),
            server_version: wire::line(&wire.server_version),
            database: wire::line(&wire.database),
            timescaledb: known(&wire.timescaledb),
        }
    }
}

impl TryFrom<v1::Reconnected> for Reconnects {
    type Error = WireError;

    fn try_from(wire: v1::Reconnected) -> Result<Self, WireError> {
        let server = wire.server.ok_or(WireError::Missing { field: "reconnected.server" })?;
        Ok(Self {
            target: narrow("reconnected.target", wire.target)?,
            server: server.into(),
            count: wire.connections,
            outage_max_ns: wire.outage_max_ns,
        })
    }
}

// -- to the wire -------------------------------------------------------------------------------------------------------

impl From<ServerIdentity> for v1::ServerIdentity {
    fn from(identity: ServerIdentity) -> Self {
        Self {
            address: identity.address,
            database: identity.database,
            system_identifier: identity.system_identifier.unwrap_or_default(),
            started_at: identity.started_at.unwrap_or_default(),
            is_standby: identity.role.map(|role| role == Role::Standby),
            server_version: identity.server_version,
            timescaledb: identity.timescaledb.unwrap_or_default(),
        }
    }
}

/// The caller sets the round.
impl From<Reconnects> for v1::Reconnected {
    fn from(Reconnects { target, server, count, outage_max_ns }: Reconnects) -> Self {
        Self {
            target: target.into(),
            server: Some(server.into()),
            connections: count,
            outage_max_ns,
            round: 0,
        }
    }
}
