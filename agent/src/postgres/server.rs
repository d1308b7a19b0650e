//! What a server says about itself, for the report: version, TimescaleDB, the settings that change timings.
//! PostgreSQL 13 and later. It reads and changes nothing.

use std::collections::BTreeMap;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::failure::with_causes;

/// Settings that change timings. One that a version does not know is left out.
pub const SETTINGS: [&str; 10] = [
    "effective_cache_size",
    "fsync",
    "jit",
    "max_connections",
    "max_parallel_workers_per_gather",
    "plan_cache_mode",
    "random_page_cost",
    "shared_buffers",
    "synchronous_commit",
    "work_mem",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// As `SHOW server_version` has it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// `150018`.
    pub version_num: u32,
    /// The version of the extension in this database; `None` where it is absent.
    pub timescaledb: Option<String>,
    /// Of the session's role.
    pub is_superuser: bool,
    /// With their units, as `SHOW` has them: `128MB`.
    pub settings: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("ask the server for its version and settings: {0}")]
    Query(String),
    #[error("the server's answer has no usable '{0}'; is it PostgreSQL 13 or later?")]
    Missing(&'static str),
}

/// One round trip, in the simple protocol: no statement stays behind on the connection, and poolers carry it.
pub async fn describe_server(client: &Client) -> Result<ServerFacts, ServerError> {
    let messages =
        client.simple_query(&statement()).await.map_err(|error| ServerError::Query(with_causes(&error)))?;
    let mut values: BTreeMap<String, String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
            _ => None,
        })
        .collect();
    let mut take = |name: &'static str| values.remove(name).ok_or(ServerError::Missing(name));
    let server_version = take("server_version")?;
    let version_num = take("server_version_num")?;
    let version_num = version_num.parse().map_err(|_| ServerError::Missing("server_version_num"))?;
    let is_superuser = values.remove("is_superuser").as_deref() == Some("on");
    let timescaledb = values.remove("extension timescaledb");
    Ok(ServerFacts { server_version, version_num, timescaledb, is_superuser, settings: values })
}

/// `current_setting` rather than the column `setting`, which is a bare number of 8 kB pages and the like.
fn statement() -> String {
    let names: Vec<_> = SETTINGS.iter().map(|name| format!("'{name}'")).collect();
    format!(
        "SELECT name, current_setting(name) FROM pg_catalog.pg_settings \
         WHERE name IN ('server_version', 'server_version_num', {}) \
         UNION ALL SELECT 'is_superuser', current_setting('is_superuser') \
         UNION ALL SELECT 'extension timescaledb', extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'",
        names.join(", ")
    )
}
