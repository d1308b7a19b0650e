//! Reads `pg_stat_database` for the database that the workers use. Any role may read it.

use muster_core::server_side::DatabaseCounters;
use tokio_postgres::Client;

use super::rows::{QueryError, rows};

/// `server` includes the server's start time, because a server may lose its counters at a restart.
const SQL: &str = "\
SELECT extract(epoch FROM pg_postmaster_start_time()) || '/' || datid AS server,
       current_setting('track_io_timing') AS times_reads,
       xact_commit, xact_rollback, blks_hit, blks_read, tup_returned, tup_fetched, temp_bytes, deadlocks, blk_read_time,
       coalesce(stats_reset::text, '') AS reset
FROM pg_catalog.pg_stat_database WHERE datname = current_database()";

pub(super) struct Counters {
    pub(super) server: String,
    pub(super) counters: DatabaseCounters,
    pub(super) times_reads: bool,
}

pub(super) async fn of_database(client: &Client) -> Result<Counters, QueryError> {
    let found = rows(client, SQL).await?;
    let row = found.first().ok_or_else(|| QueryError {
        sqlstate: String::new(),
        message: "pg_stat_database does not show the database".to_owned(),
        detail: None,
        hint: None,
    })?;
    Ok(Counters {
        server: row.text("server").unwrap_or_default().to_owned(),
        counters: DatabaseCounters {
            commits: row.count("xact_commit"),
            rollbacks: row.count("xact_rollback"),
            blocks_hit: row.count("blks_hit"),
            blocks_read: row.count("blks_read"),
            rows_returned: row.count("tup_returned"),
            rows_fetched: row.count("tup_fetched"),
            temp_bytes: row.count("temp_bytes"),
            deadlocks: row.count("deadlocks"),
            read_ns: row.nanoseconds("blk_read_time"),
            reset: row.text("reset").unwrap_or_default().to_owned(),
        },
        times_reads: row.is_on("times_reads"),
    })
}
