//! The task that tells the coordinator how this agent fares, each second from the start of its queries on, and once more at the end.

use std::sync::Arc;

use muster_common::health::Interval;
use muster_common::limits;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{Delays, Gauges, Watch, probe};

/// Ends with this.
pub(crate) struct Reporter {
    finish: CancellationToken,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Now is when queries begin.
    pub(crate) fn start(gauges: Arc<Gauges>, tell: impl Fn(Interval) + Send + 'static) -> Self {
        let finish = CancellationToken::new();
        // Here and not in the task: a thread takes its priority from the one that starts it, and workers' threads are started here.
        let delays = probe::listen();
        let task = tokio::spawn(report(gauges, delays, tell, finish.clone()));
        Self { finish, task }
    }

    /// Tells what is left to tell; returns once that is on its way.
    pub(crate) async fn finish(mut self) {
        self.finish.cancel();
        // It never panics, and if it did the agent's work would be no less done.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn report(gauges: Arc<Gauges>, delays: Delays, tell: impl Fn(Interval), finish: CancellationToken) {
    let mut watch = Watch::start(delays);
    let mut seconds = interval_at(Instant::now() + limits::HEALTH_EVERY, limits::HEALTH_EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            () = finish.cancelled() => is_over = true,
            _ = seconds.tick() => {}
        }
        let mut interval = watch.take();
        gauges.fill(&mut interval);
        tell(interval);
    }
}
