//! The end of a run: agents finish their queries in flight, report and disconnect.

use std::time::{Duration, Instant};

use muster_core::limits;
use muster_proto::control::FromCoordinator;
use muster_report::result::Ending;

use super::event_loop::{EventLoop, Woken};
use crate::clock;

/// Waits until every live agent has sent its final report. Queries in flight may finish for a while; then they are cancelled.
pub(super) async fn drain(events: &mut EventLoop<'_>, ending: Ending) {
    events.sessions().drain();
    let patience = match ending {
        Ending::Completed => limits::SHUTDOWN_TIMEOUT,
        // Nothing is acknowledged, so no agent will report.
        Ending::CannotWrite | Ending::Unfinished => limits::RETRY_MAX,
        Ending::Interrupted | Ending::AgentsLost | Ending::WorkloadUnreadable => limits::DRAIN_TIMEOUT,
    };
    if have_reported(events, patience).await || ending == Ending::CannotWrite {
        return;
    }
    let sessions = events.sessions();
    sessions.log().report(format!("queries in flight are cancelled after {patience:?}"));
    sessions.send_to_all(&FromCoordinator::Cancel { reason: "the run has ended".to_owned() });
    if !have_reported(events, limits::CANCEL_GRACE + limits::SHUTDOWN_TIMEOUT).await {
        events.sessions().log().report("not every agent sent its report");
    }
}

async fn have_reported(events: &mut EventLoop<'_>, patience: Duration) -> bool {
    let until: Instant = clock::now() + patience;
    while events.sessions().members().live().any(|(member, _)| !member.has_reported) {
        if events.step_to_end(until).await == Woken::Due {
            return false;
        }
        events.sessions().publish_status();
    }
    true
}

/// Sends Bye to all agents and waits until they have disconnected.
pub(super) async fn dismiss(events: &mut EventLoop<'_>, reason: &str) {
    events.sessions().dismiss(reason);
    let until = clock::now() + limits::SHUTDOWN_TIMEOUT;
    while !events.sessions().members().is_empty() && events.step_to_end(until).await != Woken::Due {}
    events.sessions().end_all();
}

pub(super) fn bye_reason(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "every row was run",
        Ending::Interrupted => "the run was interrupted",
        Ending::AgentsLost => "agents were lost",
        Ending::WorkloadUnreadable => "the workload cannot be read completely",
        Ending::CannotWrite | Ending::Unfinished => "the coordinator cannot write its journal",
    }
}
