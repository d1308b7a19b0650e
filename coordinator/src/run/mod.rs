//! One run, from waiting for agents to the result. [`run`] shows the order of the steps; each step has its own file.

mod controller;
mod evidence;
mod health;
mod host_samples;
mod keeper;
mod latencies;
mod link;
mod live;
mod membership;
mod metrics;
mod notes;
mod own_health;
mod plan;
mod record;
mod replay;
mod results;
mod round;
mod rows;
mod scope;
mod seen_answers;
mod series;
mod server_side;
mod server_stats;
mod servers;
mod slowest;
mod subject;
mod summary;
mod tally;
mod times;
mod utilization;
mod verdict;
mod versus;

use std::convert::Infallible;
use std::sync::Arc;

use muster_core::limits;
use muster_process::blocking::blocking;
use muster_report::result::RunResult;
use tokio_util::sync::CancellationToken;

pub(crate) use controller::RunError;
use controller::{Conclusion, ListenAddress, RunController};
pub(crate) use host_samples::HostSamples;
use keeper::Aggregates;
pub(crate) use keeper::Batch;
pub(crate) use link::{Admission, ControlSender, ControllerHandle, Joining, Share, WorkPorts};
pub(crate) use live::{Live, SoFar};
pub(crate) use membership::{Loss, MemberId, Refusal};
pub(crate) use metrics::Metrics;
pub(crate) use plan::{Handover, RunPlan};
pub(crate) use record::resets_aggregates;
pub(crate) use replay::{Replayed, replay};
pub(crate) use rows::SettledResults;
pub(crate) use scope::{Retried, Scope};
pub(crate) use subject::Subject;
use summary::Counted;
pub(crate) use summary::summarize;

use crate::clock;
use crate::grpc::{Incoming, Listener, Server};
use crate::journal::Writer;
use crate::progress::ProgressDisplay;
use crate::workload::Workload;

/// The outcome of a run: its result and its journal, which the caller syncs and drops after it has saved the reports.
pub(crate) struct Outcome {
    pub(crate) result: RunResult,
    pub(crate) journal: Option<Writer>,
}

/// Serves one run on a bound port: waits for the agents, runs the rows, dismisses the agents, and computes the result.
///
/// `resumed` is the state that an earlier coordinator of this run has written to the journal. `interrupt` ends the run early with a partial
/// result.
pub(crate) async fn run<I: Incoming>(
    plan: Arc<RunPlan>,
    listener: Listener<I>,
    display: &ProgressDisplay,
    journal: Option<Writer>,
    resumed: Option<Replayed>,
    interrupt: CancellationToken,
) -> Result<Outcome, RunError> {
    let listen_address = ListenAddress {
        address: listener.address().filter(|_| plan.spec.local.is_none()),
        options: listener.options(),
        problem: listener.problem(),
    };
    let (controller, calls) = ControllerHandle::open();
    let server = Server::start(listener, controller.clone(), plan.handover());
    let run_controller = RunController::new(Arc::clone(&plan), listen_address, calls, display, interrupt);
    let concluded = tokio::select! {
        concluded = run_controller.run(journal, resumed) => concluded,
        never = watch_workload(&plan.workload, &controller) => match never {},
    };
    drop(controller);
    plan.metrics.set_over();
    server.stop().await;
    let Conclusion { record, assignment, keeper, rows } = concluded?;
    let Aggregates { tally, journal, .. } = keeper.close().await;
    let counted = Counted { quarantined: rows.quarantined(), ledger: rows.close(), tally };
    let result = summary::summarize(&plan.subject(), record, &assignment, counted);
    Ok(Outcome { result, journal })
}

/// Notifies the controller when the workload file no longer contains the bytes that were read at first. Runs until the run ends.
async fn watch_workload(workload: &Arc<Workload>, controller: &ControllerHandle) -> Infallible {
    let mut verified = workload.opened_file_stamp();
    loop {
        tokio::time::sleep(limits::WORKLOAD_CHECK_EVERY).await;
        let stamp = clock::blocking(|| workload.file_stamp());
        if stamp == verified {
            continue;
        }
        let reading = blocking("workload", {
            let workload = Arc::clone(workload);
            move || workload.verify()
        });
        match reading.await {
            Ok(Ok(())) => verified = stamp,
            Ok(Err(problem)) => controller.unreadable(problem).await,
            Err(broken) => tracing::error!("cannot check the workload file for changes: {broken}"),
        }
    }
}
