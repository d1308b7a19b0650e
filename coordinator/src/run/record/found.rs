//! What prepared agents found in their databases.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_core::protocol::UsedFormat;
use muster_core::server_identity::ServerIdentity;
use muster_proto::control::Ready;
use serde::{Deserialize, Serialize};

/// What a prepared agent found in its database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// One entry per worker.
    pub(crate) connect_ns: Vec<u64>,
    pub(crate) prepare_ns: Vec<u64>,
    pub(crate) server_version: String,
    pub(crate) timescaledb: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
    /// The servers that the workers' connections reached.
    #[serde(default)]
    pub(crate) identities: Vec<ServerIdentity>,
    /// The SQL text as sent to the server.
    pub(crate) sql: String,
    pub(crate) bucket_function: Option<String>,
    /// The second database of a run that compares two.
    #[serde(default)]
    pub(crate) versus: Option<FoundDatabase>,
    /// The format of the results of each statement.
    #[serde(default)]
    pub(crate) results: Vec<UsedFormat>,
    /// A connection pooler is between this agent and one of its databases.
    #[serde(default)]
    pub(crate) is_pooled: bool,
}

/// What an agent found in the second database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FoundDatabase {
    pub(crate) server_version: String,
    pub(crate) timescaledb: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) identities: Vec<ServerIdentity>,
}

impl From<&Ready> for Found {
    fn from(ready: &Ready) -> Self {
        let nanoseconds = |times: &[Duration]| {
            times.iter().map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect()
        };
        Self {
            connect_ns: nanoseconds(&ready.connect),
            prepare_ns: nanoseconds(&ready.prepare),
            server_version: ready.database.server_version.clone(),
            timescaledb: ready.database.timescaledb.clone(),
            settings: ready.database.settings.clone(),
            identities: ready.database.identities.clone(),
            sql: ready.sql.clone(),
            bucket_function: ready.bucket_function.clone(),
            versus: ready.versus.clone().map(|database| FoundDatabase {
                server_version: database.server_version,
                timescaledb: database.timescaledb,
                settings: database.settings,
                identities: database.identities,
            }),
            results: ready.results.clone(),
            is_pooled: ready.is_pooled,
        }
    }
}

impl Found {
    /// True if the agent uses the null database, which has no version.
    pub(crate) fn is_no_database(&self) -> bool {
        self.server_version.is_empty()
    }
}
