//! What preparing a session finds: the database, or why it cannot be used.

use std::collections::BTreeMap;

use crate::sample::SqlState;
use crate::server_identity::ServerIdentity;

/// What the connections of a session reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Database {
    pub server_version: String,
    pub timescaledb: Option<String>,
    pub settings: BTreeMap<String, String>,
    /// The servers of the workers' connections, without duplicates.
    pub identities: Vec<ServerIdentity>,
}

/// Why an agent cannot run this run's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareFailed {
    pub kind: PrepareFailure,
    pub message: String,
    pub sqlstate: Option<SqlState>,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Position in `sql` in characters, from 1.
    pub position: Option<u32>,
    pub sql: String,
}

/// What was not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareFailure {
    /// The server rejected the statement.
    Statement,
    /// No usable connection to the database.
    Database,
    /// The agent has reached a limit of its machine.
    Agent,
}
