//! One run, from waiting for agents to the result. [`run`] tells the order; each step has a file of its own.

mod conductor;
mod evidence;
mod health;
mod host_samples;
mod keeper;
mod latencies;
mod link;
mod metrics;
mod notes;
mod own_health;
mod plan;
mod record;
mod replay;
mod roster;
mod rows;
mod seen_answers;
mod server_side;
mod servers;
mod slowest;
mod statements;
mod summary;
mod tally;
mod times;
mod utilization;
mod verdict;
mod versus;

use std::convert::Infallible;
use std::sync::Arc;

use muster_agent::blocking::blocking;
use muster_common::limits;
use muster_common::result::RunResult;
use tokio_util::sync::CancellationToken;

pub(crate) use conductor::RunError;
use conductor::{Conclusion, Conductor, Door};
pub(crate) use host_samples::HostSamples;
pub(crate) use keeper::Batch;
use keeper::Books;
pub(crate) use link::{Admission, Desk, Joining, Line, Loss, MemberId, Refusal, Share, WorkPorts};
pub(crate) use metrics::Metrics;
pub(crate) use plan::{Handover, OnAgentLoss, Retried, RunPlan};
pub(crate) use record::begins_books;
pub(crate) use replay::{Replayed, replay};
pub(crate) use rows::Taken;
pub(crate) use statements::{Statement, Statements};
use summary::Counted;
pub(crate) use summary::{Stated, Subject, summarize};
pub(crate) use tally::Scope;

use crate::clock;
use crate::grpc::{Incoming, Listener, Server};
use crate::journal::Writer;
use crate::progress::ProgressDisplay;
use crate::workload::Workload;

/// What a run left: its result, and its journal, which is to be synced and dropped once the reports are kept.
pub(crate) struct Outcome {
    pub(crate) result: RunResult,
    pub(crate) journal: Option<Writer>,
}

/// Serves one run on a bound port: gathers the agents, runs the rows, says goodbye, sums up.
///
/// `taken_up` has what an earlier coordinator of this run wrote down. `interrupt` ends the run early with a partial result.
pub(crate) async fn run<I: Incoming>(
    plan: Arc<RunPlan>,
    listener: Listener<I>,
    display: &ProgressDisplay,
    journal: Option<Writer>,
    taken_up: Option<Replayed>,
    interrupt: CancellationToken,
) -> Result<Outcome, RunError> {
    let door = Door { address: listener.address(), options: listener.options(), problem: listener.problem() };
    let (desk, calls) = Desk::open();
    let server = Server::start(listener, desk.clone(), plan.handover());
    let conductor = Conductor::new(Arc::clone(&plan), door, calls, display, interrupt);
    let concluded = tokio::select! {
        concluded = conductor.conduct(journal, taken_up) => concluded,
        never = watch_workload(&plan.workload, &desk) => match never {},
    };
    drop(desk);
    plan.metrics.stand_at_the_end();
    server.stop().await;
    let Conclusion { record, assignment, keeper, rows } = concluded?;
    let Books { tally, journal, .. } = keeper.close().await;
    let counted = Counted { quarantined: rows.quarantined(), ledger: rows.close(), tally };
    let result = summary::summarize(&plan.subject(), record, &assignment, counted);
    Ok(Outcome { result, journal })
}

/// Reports when the workload's file no longer has the bytes that were read at first. Repeats the report until the run ends.
async fn watch_workload(workload: &Arc<Workload>, desk: &Desk) -> Infallible {
    let mut verified = workload.written_when_opened();
    loop {
        tokio::time::sleep(limits::WORKLOAD_CHECK_EVERY).await;
        let written = clock::blocking(|| workload.written());
        if written == verified {
            continue;
        }
        let reading = blocking("workload", {
            let workload = Arc::clone(workload);
            move || workload.verify()
        });
        match reading.await {
            Ok(Ok(())) => verified = written,
            Ok(Err(problem)) => desk.unreadable(problem).await,
            Err(broken) => tracing::error!("the workload could not be checked again: {broken}"),
        }
    }
}
