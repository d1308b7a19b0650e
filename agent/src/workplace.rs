//! Where workers run and what they ask: threads and PostgreSQL, or in a test something simulated. Everything that a session, its crew
//! and its workers know of either is in these traits.

use std::time::Duration;

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::measurement::QueryError;
use muster_common::server_side::{ExplainedPlan, Sight};
use muster_proto::control::{Explain, PrepareFailed, RunConfig};

use crate::config::AgentConfig;
pub use crate::postgres::{Executed, Prepared, Reconnect};
pub use crate::route::Route;
pub use crate::waiter::{ThreadWaiter, Waiter, Waker};
pub use crate::worker::Worker;

/// Takes in the workers of one session after the other.
pub trait Workplace: Send + Sync {
    /// Starts the workers, which begin to connect at once; each says on its own channels what becomes of it. `route`: how `run` came.
    ///
    /// # Errors
    /// When they cannot be started; they are dropped then.
    fn start(
        &self,
        workers: Vec<Worker>,
        config: &AgentConfig,
        run: &RunConfig,
        route: &Route,
        application_name: String,
    ) -> Result<Box<dyn Shift>, CannotStart>;

    /// Whether this process's own health says how the queries fared: it says nothing of a simulation.
    fn is_real(&self) -> bool {
        true
    }
}

/// Why no worker of a session began.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// There is no database that they could use: another run may bring one.
    #[error("{}", .0.message)]
    Unprepared(PrepareFailed),
    /// This process has reached a limit of its machine, and will in each run.
    #[error(
        "cannot start a worker thread: {0}; fewer --workers need less; the limit is that of processes (`ulimit -u`, pids.max) or memory"
    )]
    Thread(std::io::Error),
}

impl From<PrepareFailed> for CannotStart {
    fn from(failed: PrepareFailed) -> Self {
        Self::Unprepared(failed)
    }
}

const NO_SERVER: &str = "there is no server to be looked at";

/// The workers of one session at work.
pub trait Shift: Send + Sync {
    /// Ends this run's backends of `slot` with an epoch below, on a connection of its own, and waits until none is left. The caller
    /// bounds the time. Returns how many were ended, or why it is not known that none is left.
    fn end_backends(
        &self,
        run: &RunId,
        slot: SlotId,
        below: Epoch,
    ) -> BoxFuture<'static, Result<u32, String>>;

    /// What the server of the first database has counted so far, seen on a connection of its own. `is_last`: the workers have ended. The
    /// caller bounds the time. Returns why nothing was seen where there is no such server.
    fn look(&self, run: &RunId, is_last: bool) -> BoxFuture<'static, Result<Sight, String>> {
        let _ = (run, is_last);
        Box::pin(std::future::ready(Err(NO_SERVER.to_owned())))
    }

    /// The plan of one more execution of a row, on that connection. The caller bounds the time. Returns why there is none.
    fn explain(&self, run: &RunId, asked: Explain) -> BoxFuture<'static, Result<ExplainedPlan, String>> {
        let _ = (run, asked);
        Box::pin(std::future::ready(Err(NO_SERVER.to_owned())))
    }

    /// Waits for the workers, which were told to end and do so within the grace of a cancel. False when one did not.
    fn stop(self: Box<Self>) -> BoxFuture<'static, bool>;
}

/// One worker's connection to a database, with its statements. Used by the worker's thread alone, which it may block.
pub trait Execute {
    /// Values per row of a statement; `None` when there is no such statement.
    fn parameters(&self, statement: u16) -> Option<usize>;

    /// How long the worker's connection has been broken. `None` when it is not known to be broken.
    fn disconnected(&self) -> Option<Duration> {
        None
    }

    /// The session's name in the database, now and after a reconnect: an agent that stood by has taken a slot.
    ///
    /// # Errors
    /// When the connection does not take the name.
    fn rename(&mut self, application_name: &str) -> Result<(), QueryError>;

    /// Opens a connection that has ended again, which may take long. Called before each row. `None` when the session ends.
    fn connect(&mut self) -> Option<()> {
        Some(())
    }

    /// Runs one row. An SQL error, a timeout and a lost connection are outcomes, too; only the end of the session gives none.
    fn execute(&mut self, row: RowId, statement: u16, values: &[Option<&str>]) -> Option<Executed>;

    /// Called after the last row: leaves nothing behind where others use the same session.
    fn close(&mut self) {}
}
