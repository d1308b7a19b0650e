//! One run, from waiting for agents to the result. [`run`] tells the order; each step has a file of its own.

mod conductor;
mod events;
mod keeper;
mod link;
mod plan;
mod roster;
mod rows;
mod summary;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;

use muster_common::result::RunResult;
use tokio_util::sync::CancellationToken;

use conductor::Conductor;
pub(crate) use conductor::RunError;
pub(crate) use keeper::Batch;
pub(crate) use link::{Admission, Desk, Joining, Line, Loss, MemberId, Refusal, Share, WorkPorts};
pub(crate) use plan::{OnAgentLoss, Retried, RunPlan, Statement};
pub(crate) use rows::NotGiven;

use crate::grpc::{Listener, Server};
use crate::progress::ProgressDisplay;

/// Serves one run on a bound port: gathers the agents, runs the rows, says goodbye, sums up.
///
/// `interrupt` ends it early with a partial result.
pub(crate) async fn run(
    plan: Arc<RunPlan>,
    listener: Listener,
    display: &ProgressDisplay,
    interrupt: CancellationToken,
) -> Result<RunResult, RunError> {
    let address: SocketAddr = listener.address();
    let (desk, calls) = Desk::open();
    let server = Server::start(listener, desk);
    let conductor = Conductor::new(Arc::clone(&plan), address, calls, display, interrupt);
    let concluded = conductor.conduct().await;
    server.stop().await;
    let conclusion = concluded?;
    let books = conclusion.keeper.close().await;
    let quarantined = conclusion.rows.quarantined();
    let (ledger, dropped) = conclusion.rows.close();
    Ok(summary::summarize(&plan, conclusion.record, ledger, dropped, quarantined, books))
}
