//! The task that sends health samples of this agent to the coordinator: one per second from the start of the queries, and one at the end.

use std::sync::Arc;

use muster_core::health::HealthSample;
use muster_core::limits;
use muster_process::health::{Delays, Watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::gauges::Gauges;
use super::probe;

/// Handle of the task, which ends when the handle is dropped.
pub(crate) struct Reporter {
    finish: CancellationToken,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Starts the task. Called when the queries begin.
    pub(crate) fn start(gauges: Arc<Gauges>, send: impl Fn(HealthSample) + Send + 'static) -> Self {
        let finish = CancellationToken::new();
        // Not in the task: a thread inherits the priority of the thread that starts it, and the worker threads are started by this one.
        let delays = probe::subscribe();
        let task = tokio::spawn(report(gauges, delays, send, finish.clone()));
        Self { finish, task }
    }

    /// Sends the last sample, and returns when it has been passed to `send`.
    pub(crate) async fn finish(mut self) {
        self.finish.cancel();
        // The task does not panic. If it did, the results of the agent would still be complete.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn report(gauges: Arc<Gauges>, delays: Delays, send: impl Fn(HealthSample), finish: CancellationToken) {
    let mut watch = Watch::start(delays);
    let mut seconds = interval_at(Instant::now() + limits::HEALTH_EVERY, limits::HEALTH_EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            () = finish.cancelled() => is_over = true,
            _ = seconds.tick() => {}
        }
        let mut sample = watch.take();
        gauges.fill(&mut sample);
        send(sample);
    }
}
