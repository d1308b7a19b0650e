//! The server's own account of a run: what it had counted before and after, and what lies in between. Pure: an agent looks.

mod window;

use serde::{Deserialize, Serialize};

pub use crate::result::{Hypertable, PlanKind};
use crate::server_identity::ServerIdentity;
pub use window::Window;

/// The plan of one execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedPlan {
    pub lines: Vec<String>,
    /// `None` without a prepared statement, and where the server does not report it.
    pub kind: Option<PlanKind>,
}

/// What a server had counted at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Which server process and which database: two sights of different ones have nothing in common.
    pub server: String,
    /// `None` from an agent that does not report it.
    #[serde(default)]
    pub identity: Option<ServerIdentity>,
    pub database: DatabaseCounters,
    /// The server measures the time that it waits for blocks (`track_io_timing`).
    pub times_reads: bool,
    /// Or why the server does not tell of statements.
    pub statements: Result<Statements, String>,
    /// Or why nothing is known of them. Empty where TimescaleDB is absent.
    pub hypertables: Result<Vec<Hypertable>, String>,
}

/// `pg_stat_database`, of the database that the workers use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatabaseCounters {
    pub commits: u64,
    pub rollbacks: u64,
    pub blocks_hit: u64,
    pub blocks_read: u64,
    pub rows_returned: u64,
    pub rows_fetched: u64,
    pub temp_bytes: u64,
    pub deadlocks: u64,
    pub read_ns: u64,
    /// When these were set to zero, as the server writes it; empty for never.
    pub reset: String,
}

/// `pg_stat_statements`, of the run's own statements.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statements {
    /// By position; or why the server's entry of one is not known.
    pub counters: Vec<Result<StatementCounters, String>>,
    /// Planning is counted, too (`pg_stat_statements.track_planning`).
    pub times_planning: bool,
    /// When all of them were set to zero; empty where the server does not tell.
    pub reset: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatementCounters {
    pub calls: u64,
    pub exec_ns: u64,
    pub plans: u64,
    pub plan_ns: u64,
    pub rows: u64,
    pub blocks_hit: u64,
    pub blocks_read: u64,
    pub temp_read: u64,
    pub temp_written: u64,
    pub read_ns: u64,
}
