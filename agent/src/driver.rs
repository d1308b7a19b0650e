//! The interface between a session and what executes its rows: threads and PostgreSQL, or a simulation in tests. A session, its worker
//! set and its workers use both through these traits only.

use futures_util::future::BoxFuture;
use muster_core::ids::{Epoch, RunId, SlotId};
use muster_core::prepare::PrepareFailed;
use muster_core::server_side::Explain;
use muster_core::server_side::{ExplainedPlan, StatsSnapshot};
use muster_proto::control::RunConfig;

pub use muster_postgres::{Execute, Executed, Prepared, Reconnect};

use crate::config::AgentConfig;
pub use crate::route::Route;
pub use crate::waiter::{ThreadWaiter, Waiter, Waker};
pub use crate::worker::Worker;

/// Starts the workers of a session. One driver serves one session after another.
pub trait Driver: Send + Sync {
    /// Starts the workers, which begin to connect at once. Each reports its progress on its own channels. `route` is the connection on
    /// which `run` was received.
    ///
    /// # Errors
    /// When the workers cannot be started. They are dropped then.
    fn start(
        &self,
        workers: Vec<Worker>,
        config: &AgentConfig,
        run: &RunConfig,
        route: &Route,
        application_name: String,
    ) -> Result<Box<dyn WorkerPool>, CannotStart>;

    /// Returns true if this process's health can affect the measurements. It does not in a simulation.
    fn is_real(&self) -> bool {
        true
    }
}

/// Why the workers of a session could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// There is no usable database. Another run may provide one.
    #[error("{}", .0.message)]
    Unprepared(PrepareFailed),
    /// This process has reached a limit of its machine, as it would in every run.
    #[error(
        "cannot start a worker thread: {0}; use fewer --workers, or raise the limit of processes (`ulimit -u`, pids.max) or memory"
    )]
    Thread(std::io::Error),
}

impl From<PrepareFailed> for CannotStart {
    fn from(failed: PrepareFailed) -> Self {
        Self::Unprepared(failed)
    }
}

const NO_SERVER: &str = "there is no server to read statistics from";

/// The running workers of one session.
pub trait WorkerPool: Send + Sync {
    /// Terminates this run's backends of `slot` whose epoch is lower than `below`, over a separate connection, and waits until none is
    /// left. The caller limits the time. Returns the number of terminated backends, or why some may be left.
    fn end_backends(
        &self,
        run: &RunId,
        slot: SlotId,
        below: Epoch,
    ) -> BoxFuture<'static, Result<u32, String>>;

    /// Reads the statistics of the first database's server over a separate connection. `is_last` is true when the workers have ended. The
    /// caller limits the time. The error explains why there are no statistics.
    fn read_stats(&self, run: &RunId, is_last: bool) -> BoxFuture<'static, Result<StatsSnapshot, String>> {
        let _ = (run, is_last);
        Box::pin(std::future::ready(Err(NO_SERVER.to_owned())))
    }

    /// Executes a row once more, over the same separate connection, and returns its plan. The caller limits the time. The error explains
    /// why there is no plan.
    fn explain(&self, run: &RunId, request: Explain) -> BoxFuture<'static, Result<ExplainedPlan, String>> {
        let _ = (run, request);
        Box::pin(std::future::ready(Err(NO_SERVER.to_owned())))
    }

    /// Waits for the workers, which were stopped before and end within the grace period of a cancel. Returns false if one did not end.
    fn stop(self: Box<Self>) -> BoxFuture<'static, bool>;
}
