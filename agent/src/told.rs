//! What workers tell of their rows, on its way to the coordinator. Whoever sends it on is not woken for every row, which would take a
//! processor from the queries and be seen in their times: it looks now and then, and is woken when it must not wait.
//!
//! A mutex and not a channel: it is held for some nanoseconds, and nobody waits inside it. There is no bound of its own, because
//! whoever may run rows is granted no more of them until results are acknowledged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_common::limits;
use muster_common::measurement::Measurement;
use tokio::sync::Notify;

/// What a worker tells of its rows, in the order in which it comes to them.
#[derive(Debug)]
pub(crate) enum Told {
    Measured(Measurement),
    /// So many rows came too late in their round, and were not run.
    LeftOut(u64),
    /// The time of this round is over, and it has told all that it measured.
    RoundOver(u32),
}

/// One worker's end.
#[derive(Debug)]
pub(crate) struct Teller {
    worker: u16,
    shared: Arc<Shared>,
}

/// The other end, of all workers of a session.
#[derive(Debug)]
pub(crate) struct Listener(Arc<Shared>);

/// Nobody hears any more: the session is over.
#[derive(Debug)]
pub(crate) struct Gone;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    due: Notify,
}

#[derive(Debug)]
struct State {
    told: Vec<(u16, Told)>,
    /// By worker.
    lanes: Vec<Lane>,
    /// Somebody was woken for what there is.
    is_due: bool,
    tellers: u16,
    is_heard: bool,
}

#[derive(Debug, Clone)]
struct Lane {
    /// Measurements of this worker in `told`.
    held: u64,
    /// With so many, all that is told has to go.
    enough: u64,
}

/// The ends of so many workers, and the other one.
pub(crate) fn told(workers: u16) -> (Vec<Teller>, Listener) {
    let state = State {
        told: Vec::new(),
        lanes: vec![Lane { held: 0, enough: 1 }; workers.into()],
        is_due: false,
        tellers: workers,
        is_heard: true,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), due: Notify::new() });
    let tellers = (0..workers).map(|worker| Teller { worker, shared: Arc::clone(&shared) });
    (tellers.collect(), Listener(shared))
}

impl Teller {
    pub(crate) fn tell(&self, told: Told) -> Result<(), Gone> {
        let mut state = self.shared.lock();
        if !state.is_heard {
            return Err(Gone);
        }
        let is_due = match &told {
            Told::Measured(_) => {
                let is_full = state.told.len() + 1 >= limits::BATCH_ROWS_MAX;
                let lane = &mut state.lanes[usize::from(self.worker)];
                lane.held += 1;
                is_full || lane.held >= lane.enough
            }
            Told::LeftOut(_) | Told::RoundOver(_) => true,
        };
        state.told.push((self.worker, told));
        self.wake(state, is_due);
        Ok(())
    }

    /// The worker has nothing to run: what it measured has no reason to wait.
    pub(crate) fn is_idle(&self) {
        let state = self.shared.lock();
        let is_due = !state.told.is_empty();
        self.wake(state, is_due);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>, is_due: bool) {
        if is_due && !std::mem::replace(&mut state.is_due, true) {
            drop(state);
            self.shared.due.notify_one();
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.shared.lock().tellers -= 1;
        self.shared.due.notify_one();
    }
}

impl Listener {
    /// Returns when something must not wait, or a worker has ended. May be dropped at any time.
    pub(crate) async fn due(&self) {
        self.0.due.notified().await;
    }

    /// All there is, into `told`, which is empty; in the order in which each worker told it. False when all workers have ended and
    /// nothing more will come.
    pub(crate) fn take(&self, told: &mut Vec<(u16, Told)>) -> bool {
        let mut state = self.0.lock();
        std::mem::swap(&mut state.told, told);
        state.lanes.iter_mut().for_each(|lane| lane.held = 0);
        state.is_due = false;
        state.tellers > 0
    }

    /// With so many measurements of one worker, in the order of the workers, all that is told has to go.
    pub(crate) fn expect(&self, enough: impl Iterator<Item = u64>) {
        let mut state = self.0.lock();
        state.lanes.iter_mut().zip(enough).for_each(|(lane, enough)| lane.enough = enough);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.lock().is_heard = false;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use muster_common::ids::RowId;
    use muster_common::measurement::{Answer, Execution, Lag, Outcome};

    use super::*;

    fn measured(row: u32) -> Told {
        let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
        let row = RowId::new(row);
        Told::Measured(Measurement {
            row,
            start_ns: 0,
            lag: Lag::default(),
            service_time_ns: 1,
            execution,
            outcome,
        })
    }

    async fn is_due(listener: &Listener) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, listener.due()).await.is_ok()
    }

    #[tokio::test]
    async fn who_listens_is_woken_once_and_only_when_a_worker_might_run_dry() {
        let (tellers, listener) = told(2);
        listener.expect([3, 3].into_iter());
        for row in 0..2 {
            tellers[0].tell(measured(row)).unwrap();
            tellers[1].tell(measured(row)).unwrap();
        }
        assert!(!is_due(&listener).await, "two of three");
        tellers[0].tell(measured(2)).unwrap();
        tellers[0].tell(measured(3)).unwrap();
        assert!(is_due(&listener).await);
        assert!(!is_due(&listener).await, "once for both");
        let mut heard = Vec::new();
        assert!(listener.take(&mut heard));
        assert_eq!(heard.len(), 6);
        tellers[0].tell(measured(4)).unwrap();
        assert!(!is_due(&listener).await, "what is taken counts no more");
    }

    #[tokio::test]
    async fn an_idle_worker_what_is_not_measured_and_a_full_batch_do_not_wait() {
        let (tellers, listener) = told(1);
        listener.expect(std::iter::once(u64::MAX));
        let mut heard = Vec::new();
        tellers[0].is_idle();
        assert!(!is_due(&listener).await, "there is nothing");
        tellers[0].tell(measured(0)).unwrap();
        assert!(!is_due(&listener).await);
        tellers[0].is_idle();
        assert!(is_due(&listener).await);
        listener.take(&mut heard);
        for told in [Told::LeftOut(1), Told::RoundOver(1)] {
            tellers[0].tell(told).unwrap();
            assert!(is_due(&listener).await);
            listener.take(&mut Vec::new());
        }
        for row in 0..limits::BATCH_ROWS_MAX {
            assert!(!is_due(&listener).await, "{row}");
            tellers[0].tell(measured(0)).unwrap();
        }
        assert!(is_due(&listener).await);
    }

    #[tokio::test]
    async fn the_end_of_either_side_is_noticed_by_the_other() {
        let (tellers, listener) = told(1);
        tellers[0].tell(measured(7)).unwrap();
        drop(tellers);
        assert!(is_due(&listener).await);
        let mut heard = Vec::new();
        assert!(!listener.take(&mut heard), "nothing more will come");
        assert_eq!(heard.len(), 1, "what was told before is there");

        let (tellers, listener) = told(1);
        drop(listener);
        assert!(tellers[0].tell(measured(7)).is_err());
    }
}
