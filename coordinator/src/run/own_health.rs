//! How the coordinator's own process fares while rows run: its CPU and machine as agents tell them of theirs, and how late its event
//! loop is, measured by a task that wants to run at known moments.

use std::sync::PoisonError;

use muster_agent::health::{Delays, Watch};
use muster_common::health::{Interval, Sum};
use muster_common::limits;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::health::Watched;

/// The running task. Ends with this.
pub(crate) struct OwnHealth {
    intervals: mpsc::Receiver<Interval>,
    watched: Watched,
    finish: CancellationToken,
    task: JoinHandle<()>,
}

impl OwnHealth {
    /// From now on.
    pub(crate) fn start() -> Self {
        // Whoever takes them does so ten times a second.
        let (sender, intervals) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let finish = CancellationToken::new();
        let task = tokio::spawn(watch(sender, finish.clone()));
        Self { intervals, watched: Watched::default(), finish, task }
    }

    /// Adds up what has come; the sum when it is time to write it down. Never waits.
    pub(crate) fn add_up(&mut self) -> Option<Sum> {
        let mut due = None;
        while let Ok(interval) = self.intervals.try_recv() {
            due = self.watched.add(&interval).or(due);
        }
        due
    }

    /// The whole sum.
    pub(crate) async fn finish(mut self) -> Sum {
        self.finish.cancel();
        while let Some(interval) = self.intervals.recv().await {
            self.watched.add(&interval);
        }
        std::mem::take(&mut self.watched).sum()
    }
}

impl Drop for OwnHealth {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(intervals: mpsc::Sender<Interval>, finish: CancellationToken) {
    let delays = Delays::default();
    let mut watch = Watch::start(Delays::clone(&delays));
    let mut due = Instant::now() + limits::LOOP_PROBE_EVERY;
    let mut second_ends = Instant::now() + limits::HEALTH_EVERY;
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            () = sleep_until(due) => {}
            () = finish.cancelled() => is_over = true,
        }
        let now = Instant::now();
        // By the clock and not by the timer, which may not have fired yet: a delay that lasts until the end counts.
        if now >= due {
            let late_ns = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
            delays.lock().unwrap_or_else(PoisonError::into_inner).record(late_ns);
            // What was missed is not made up for, as with the agents' probe.
            let next = due + limits::LOOP_PROBE_EVERY;
            due = if now < next { next } else { now + limits::LOOP_PROBE_EVERY };
        }
        if is_over || Instant::now() >= second_ends {
            second_ends = Instant::now() + limits::HEALTH_EVERY;
            // Full when the conductor stands still, and its own delay is measured then.
            let _ = intervals.try_send(watch.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_is_held_up_is_late() {
        let own = OwnHealth::start();
        tokio::time::sleep(limits::LOOP_PROBE_EVERY * 3).await;
        // This test has one thread, and so has its loop.
        std::thread::sleep(limits::LOOP_PROBE_EVERY * 10);
        let sum = own.finish().await;
        assert!(sum.late.max_ns() >= 9 * 20_000_000, "{sum:?}");
        assert!(sum.time_ns >= 13 * 20_000_000 && sum.cpu.is_some(), "{sum:?}");
    }
}
