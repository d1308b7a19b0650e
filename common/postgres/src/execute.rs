//! The interface between a worker and its connection to a database. A simulation implements it, too.

use std::time::{Duration, Instant};

use muster_core::ids::RowId;
use muster_core::prepare::Database;
use muster_core::protocol::UsedFormat;
use muster_core::sample::{Outcome, QueryError};
use muster_core::server_identity::ServerIdentity;

/// One worker's connection to a database, with its prepared statements. Only the worker's thread calls it, and calls may block.
pub trait Execute {
    /// Returns the number of values per row of a statement, or `None` if there is no such statement.
    fn parameters(&self, statement: u16) -> Option<usize>;

    /// Returns how long the worker's connection has been broken, or `None` if it is not known to be broken.
    fn disconnected(&self) -> Option<Duration> {
        None
    }

    /// Sets the session's name in the database, now and after each reconnect. Called when an agent on standby is given a slot.
    ///
    /// # Errors
    /// When the name cannot be set on the connection.
    fn rename(&mut self, application_name: &str) -> Result<(), QueryError>;

    /// Reconnects if the connection has ended, which may take long. Called before each row, so that the caller can check afterwards whether
    /// the row may still begin. Returns `None` when the session ends. A failure becomes the outcome of the next row.
    fn connect(&mut self) -> Option<()> {
        Some(())
    }

    /// Runs one row, after [`connect`](Self::connect). SQL errors, timeouts and lost connections are outcomes, too. Returns `None` only when
    /// the session ends.
    ///
    /// # Panics
    /// When the statement or the number of values differs from [`parameters`](Self::parameters).
    fn execute(&mut self, row: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed>;

    /// Called after the last row. Leaves nothing behind on a server session that other clients share.
    fn close(&mut self) {}
}

/// The durations and results of connecting and preparing.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    pub connect: Duration,
    pub prepare: Duration,
    pub database: Database,
    /// The text of the first statement.
    pub sql: String,
    pub bucket_function: Option<String>,
    /// The second database of a run that compares two.
    pub versus: Option<Database>,
    /// The format of each statement's results.
    pub results: Vec<UsedFormat>,
    /// At least one of the databases is behind a connection pooler.
    pub is_pooled: bool,
}

/// One execution of one row. An SQL error, a timeout and a lost connection are outcomes too.
pub struct Executed {
    pub start: Instant,
    pub service_time: Duration,
    /// The number of the execution of this statement on this connection, from 1. 0 if there was no connection.
    pub number: u32,
    pub outcome: Outcome,
    /// The time at which the connection was open again or the attempt was given up. `None` if there was no reconnect. The time until then
    /// is neither lag nor generator delay.
    pub connected_at: Option<Instant>,
    /// The reconnect that preceded this execution.
    pub reconnect: Option<Box<Reconnect>>,
}

/// A connection that was opened again during the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnect {
    /// The time since the connection was found broken. `None` when the worker itself closed the connection after `--timeout`.
    pub outage: Option<Duration>,
    pub server: ServerIdentity,
}

impl Executed {
    /// An execution without a reconnect.
    pub fn new(start: Instant, service_time: Duration, number: u32, outcome: Outcome) -> Self {
        Self { start, service_time, number, outcome, connected_at: None, reconnect: None }
    }

    pub fn end(&self) -> Instant {
        self.start + self.service_time
    }
}
