//! The queue of results between the worker threads and the task that sends them to the coordinator. That task is not woken for every row,
//! which would take CPU time from the queries and show in their service times: it polls, and is woken only when a result must not wait.
//!
//! The queue is a vector behind a mutex, which is held for some nanoseconds and never across a wait. It needs no bound, because credit
//! limits how many rows a worker may run before their results are acknowledged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_core::limits;
use muster_core::sample::Sample;
use tokio::sync::Notify;

/// What a worker reports about its rows, in the order in which it processes them.
#[derive(Debug)]
pub(crate) enum WorkerResult {
    Measured(Sample),
    /// This number of rows was not run, because their round was over.
    LeftOut(u64),
    /// The time of this round is over, and all measurements of it were sent before.
    RoundOver(u32),
}

/// The sending half of one worker.
#[derive(Debug)]
pub(crate) struct WorkerResultSender {
    worker: u16,
    shared: Arc<Shared>,
}

/// The receiving half for all workers of a session.
#[derive(Debug)]
pub(crate) struct WorkerResultReceiver(Arc<Shared>);

/// The receiver was dropped, because the session is over.
#[derive(Debug)]
pub(crate) struct SessionGone;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the receiver.
    due: Notify,
}

#[derive(Debug)]
struct State {
    /// Results that were not received yet, each with the index of its worker.
    queue: Vec<(u16, WorkerResult)>,
    /// One entry per worker.
    lanes: Vec<Lane>,
    /// The receiver has been woken for the results in the queue.
    is_due: bool,
    senders: u16,
    has_receiver: bool,
}

#[derive(Debug, Clone)]
struct Lane {
    /// Number of this worker's measurements in the queue.
    queued: u64,
    /// At this number the receiver is woken.
    wake_at: u64,
}

/// Creates the queue, with one sender for each worker.
pub(crate) fn channel(workers: u16) -> (Vec<WorkerResultSender>, WorkerResultReceiver) {
    let state = State {
        queue: Vec::new(),
        lanes: vec![Lane { queued: 0, wake_at: 1 }; workers.into()],
        is_due: false,
        senders: workers,
        has_receiver: true,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), due: Notify::new() });
    let senders = (0..workers).map(|worker| WorkerResultSender { worker, shared: Arc::clone(&shared) });
    (senders.collect(), WorkerResultReceiver(shared))
}

impl WorkerResultSender {
    pub(crate) fn send(&self, result: WorkerResult) -> Result<(), SessionGone> {
        let mut state = self.shared.lock();
        if !state.has_receiver {
            return Err(SessionGone);
        }
        let is_due = match &result {
            WorkerResult::Measured(_) => {
                let is_full = state.queue.len() + 1 >= limits::BATCH_ROWS_MAX;
                let lane = &mut state.lanes[usize::from(self.worker)];
                lane.queued += 1;
                is_full || lane.queued >= lane.wake_at
            }
            WorkerResult::LeftOut(_) | WorkerResult::RoundOver(_) => true,
        };
        state.queue.push((self.worker, result));
        self.wake(state, is_due);
        Ok(())
    }

    /// Called when the worker has nothing to run. Its results then have no reason to wait.
    pub(crate) fn flush_when_idle(&self) {
        let state = self.shared.lock();
        let is_due = !state.queue.is_empty();
        self.wake(state, is_due);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>, is_due: bool) {
        if is_due && !std::mem::replace(&mut state.is_due, true) {
            drop(state);
            self.shared.due.notify_one();
        }
    }
}

impl Drop for WorkerResultSender {
    fn drop(&mut self) {
        self.shared.lock().senders -= 1;
        self.shared.due.notify_one();
    }
}

impl WorkerResultReceiver {
    /// Returns when a result must not wait, or a worker has ended. Cancel safe.
    pub(crate) async fn due(&self) {
        self.0.due.notified().await;
    }

    /// Moves all queued results into `results`, which must be empty. The results of each worker are in the order in which it sent them.
    /// Returns false when all workers have ended and no more results will come.
    pub(crate) fn take(&self, results: &mut Vec<(u16, WorkerResult)>) -> bool {
        let mut state = self.0.lock();
        std::mem::swap(&mut state.queue, results);
        state.lanes.iter_mut().for_each(|lane| lane.queued = 0);
        state.is_due = false;
        state.senders > 0
    }

    /// Sets, for each worker in order, the number of its queued measurements at which the receiver is woken.
    pub(crate) fn set_thresholds(&self, thresholds: impl Iterator<Item = u64>) {
        let mut state = self.0.lock();
        state.lanes.iter_mut().zip(thresholds).for_each(|(lane, threshold)| lane.wake_at = threshold);
    }
}

impl Drop for WorkerResultReceiver {
    fn drop(&mut self) {
        self.0.lock().has_receiver = false;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use muster_core::ids::RowId;
    use muster_core::sample::{Answer, Execution, Outcome};

    use super::*;

    fn measured(row: u32) -> WorkerResult {
        let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
        let row = RowId::new(row);
        WorkerResult::Measured(Sample { service_time_ns: 1, execution, outcome, ..Sample::zero(row) })
    }

    async fn is_due(receiver: &WorkerResultReceiver) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, receiver.due()).await.is_ok()
    }

    #[tokio::test]
    async fn the_receiver_is_woken_once_and_only_when_a_worker_reaches_its_threshold() {
        let (senders, receiver) = channel(2);
        receiver.set_thresholds([3, 3].into_iter());
        for row in 0..2 {
            senders[0].send(measured(row)).unwrap();
            senders[1].send(measured(row)).unwrap();
        }
        assert!(!is_due(&receiver).await, "two of three");
        senders[0].send(measured(2)).unwrap();
        senders[0].send(measured(3)).unwrap();
        assert!(is_due(&receiver).await);
        assert!(!is_due(&receiver).await, "woken only once for both");
        let mut received = Vec::new();
        assert!(receiver.take(&mut received));
        assert_eq!(received.len(), 6);
        senders[0].send(measured(4)).unwrap();
        assert!(!is_due(&receiver).await, "results that were taken no longer count");
    }

    #[tokio::test]
    async fn an_idle_worker_an_unmeasured_row_and_a_full_batch_wake_the_receiver() {
        let (senders, receiver) = channel(1);
        receiver.set_thresholds(std::iter::once(u64::MAX));
        let mut received = Vec::new();
        senders[0].flush_when_idle();
        assert!(!is_due(&receiver).await, "the queue is empty");
        senders[0].send(measured(0)).unwrap();
        assert!(!is_due(&receiver).await);
        senders[0].flush_when_idle();
        assert!(is_due(&receiver).await);
        receiver.take(&mut received);
        for result in [WorkerResult::LeftOut(1), WorkerResult::RoundOver(1)] {
            senders[0].send(result).unwrap();
            assert!(is_due(&receiver).await);
            receiver.take(&mut Vec::new());
        }
        for row in 0..limits::BATCH_ROWS_MAX {
            assert!(!is_due(&receiver).await, "{row}");
            senders[0].send(measured(0)).unwrap();
        }
        assert!(is_due(&receiver).await);
    }

    #[tokio::test]
    async fn each_half_notices_when_the_other_is_dropped() {
        let (senders, receiver) = channel(1);
        senders[0].send(measured(7)).unwrap();
        drop(senders);
        assert!(is_due(&receiver).await);
        let mut received = Vec::new();
        assert!(!receiver.take(&mut received), "no more results will come");
        assert_eq!(received.len(), 1, "results that were sent before are received");

        let (senders, receiver) = channel(1);
        drop(receiver);
        assert!(senders[0].send(measured(7)).is_err());
    }
}
