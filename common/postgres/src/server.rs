//! Reads a server's version, TimescaleDB version and the settings that affect timings, for the report. Requires PostgreSQL 13 or later, and
//! changes nothing on the server.

use std::collections::BTreeMap;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::failure::with_causes;

/// Settings that affect timings. One that a server version does not have is omitted.
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
    /// The output of `SHOW server_version`: `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// The numeric version: `150018`.
    pub version_num: u32,
    /// The version of the extension in this database. `None` if it is not installed.
    pub timescaledb: Option<String>,
    /// True if the session's role is a superuser.
    pub is_superuser: bool,
    /// The settings with their units, as in the output of `SHOW`: `128MB`.
    pub settings: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("read the server's version and settings: {0}")]
    Query(String),
    #[error("the server returned no valid '{0}'; PostgreSQL 13 or later is required")]
    Missing(&'static str),
}

/// Takes one round trip in the simple protocol, which leaves no prepared statement behind and works through poolers.
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

/// Uses `current_setting` instead of the column `setting`, which is a number in the setting's base unit, such as 8 kB pages.
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
