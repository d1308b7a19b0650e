//! The health of the coordinator's own process while rows run: the CPU use of the process and the machine, as agents report theirs, and the
//! scheduling delay of its event loop, measured by a task that is due at known times.

use std::sync::PoisonError;

use muster_core::health::{HealthSample, HealthTotals};
use muster_core::limits;
use muster_process::health::{Delays, Watch};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::health::ProcessTotals;

/// The running measurement task. It is aborted when this value is dropped.
pub(crate) struct OwnHealth {
    samples: mpsc::Receiver<HealthSample>,
    totals: ProcessTotals,
    finish: CancellationToken,
    task: JoinHandle<()>,
}

impl OwnHealth {
    /// Starts the measurement.
    pub(crate) fn start() -> Self {
        // The controller receives the samples ten times a second.
        let (sender, samples) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let finish = CancellationToken::new();
        let task = tokio::spawn(watch(sender, finish.clone()));
        Self { samples, totals: ProcessTotals::default(), finish, task }
    }

    /// Adds the samples received so far. Returns the totals if it is time to write them to the journal. Never waits.
    pub(crate) fn add_samples(&mut self) -> Option<HealthTotals> {
        let mut due = None;
        while let Ok(sample) = self.samples.try_recv() {
            due = self.totals.add(&sample).or(due);
        }
        due
    }

    /// Ends the measurement and returns the totals.
    pub(crate) async fn finish(mut self) -> HealthTotals {
        self.finish.cancel();
        while let Some(sample) = self.samples.recv().await {
            self.totals.add(&sample);
        }
        std::mem::take(&mut self.totals).into_totals()
    }
}

impl Drop for OwnHealth {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(samples: mpsc::Sender<HealthSample>, finish: CancellationToken) {
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
        // Checks the clock and not the timer, which may not have fired yet, so that a delay that lasts until the end is counted.
        if now >= due {
            let delay_ns = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
            delays.lock().unwrap_or_else(PoisonError::into_inner).record(delay_ns);
            // Missed probes are skipped, as in the agents' probe.
            let next = due + limits::LOOP_PROBE_EVERY;
            due = if now < next { next } else { now + limits::LOOP_PROBE_EVERY };
        }
        if is_over || Instant::now() >= second_ends {
            second_ends = Instant::now() + limits::HEALTH_EVERY;
            // The queue is full only when the controller is blocked, which the probe measures as delay.
            let _ = samples.try_send(watch.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blocked_event_loop_is_measured_as_delay() {
        let own = OwnHealth::start();
        tokio::time::sleep(limits::LOOP_PROBE_EVERY * 3).await;
        // The test's event loop has one thread, which this call blocks.
        std::thread::sleep(limits::LOOP_PROBE_EVERY * 10);
        let totals = own.finish().await;
        assert!(totals.late.max_ns() >= 9 * 20_000_000, "{totals:?}");
        assert!(totals.time_ns >= 13 * 20_000_000 && totals.cpu.is_some(), "{totals:?}");
    }
}
