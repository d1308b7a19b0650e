//! Where workers run and what they ask: threads and PostgreSQL, or in a test something simulated. Everything that a session, its crew
//! and its workers know of either is in these traits.

use futures_util::future::BoxFuture;
use muster_common::ids::{Epoch, RowId, RunId, SlotId};
use muster_common::measurement::QueryError;
use muster_common::server_side::Sight;
use muster_proto::control::{Explain, PrepareFailed, RunConfig};

use crate::config::AgentConfig;
pub use crate::postgres::{Executed, Prepared};
pub use crate::worker::Worker;

/// Takes in the workers of one session after the other.
pub trait Workplace: Send + Sync {
    /// Starts the workers, which begin to connect at once; each says on its own channels what becomes of it.
    ///
    /// # Errors
    /// When they cannot be started; they are dropped then.
    fn start(
        &self,
        workers: Vec<Worker>,
        config: &AgentConfig,
        run: &RunConfig,
        application_name: String,
    ) -> Result<Box<dyn Shift>, PrepareFailed>;

    /// Whether this process's own health says how the queries fared: it says nothing of a simulation.
    fn is_real(&self) -> bool {
        true
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
    fn explain(&self, run: &RunId, asked: Explain) -> BoxFuture<'static, Result<Vec<String>, String>> {
        let _ = (run, asked);
        Box::pin(std::future::ready(Err(NO_SERVER.to_owned())))
    }

    /// Waits for the workers, which were told to end and do so within the grace of a cancel. False when one did not.
    fn stop(self: Box<Self>) -> BoxFuture<'static, bool>;
}

/// One worker's connection to a database, with its statements.
pub trait Execute: Send {
    /// Its moments are those of the machine's clock, and may be waited for by looking at it.
    const IS_REAL_TIME: bool;

    /// Values per row of a statement; `None` when there is no such statement.
    fn parameters(&self, statement: u16) -> Option<usize>;

    /// How often it connected again.
    fn reconnects(&self) -> u64;

    /// The session's name in the database, now and after a reconnect: an agent that stood by has taken a slot.
    fn rename(&mut self, application_name: &str) -> impl Future<Output = Result<(), QueryError>> + Send;

    /// Runs one row. An SQL error, a timeout and a lost connection are outcomes, too; only the end of the session gives none.
    fn execute(
        &mut self,
        row: RowId,
        statement: u16,
        values: &[Option<&str>],
    ) -> impl Future<Output = Option<Executed>> + Send;
}
