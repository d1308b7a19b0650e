//! The channel from a session to the thread of one worker: it carries the phase, batches of rows and the cancellation. The thread waits
//! here between two rows. A query in flight is interrupted elsewhere (`common/postgres/src/in_flight.rs`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use muster_core::limits;
use muster_proto::work::Assign;

use crate::phase::Phase;
use crate::waiter::{Waiter, Waker};

/// The worker's half.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
    /// The number of changes that the worker has read.
    seen: u32,
}

/// The session's half.
pub(crate) struct WorkerHandle(Arc<Shared>);

/// The half of the Work stream. When it is dropped, no more rows come.
pub(crate) struct RowSender(Arc<Shared>);

/// The coordinator sent more rows than the credit allows.
#[derive(Debug)]
pub(crate) struct Full;

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Batch(Assign),
    /// The phase has changed, or the worker is cancelled.
    Change,
    /// The deadline has passed.
    Due,
    /// No more rows come.
    Closed,
}

struct Shared {
    state: Mutex<State>,
    /// Counts phase changes and cancellations. Read before each row, without the lock.
    changes: AtomicU32,
    is_cancelled: AtomicBool,
    waker: OnceLock<Waker>,
}

struct State {
    phase: Phase,
    batches: VecDeque<Assign>,
    has_sender: bool,
    has_worker: bool,
}

pub(crate) fn inbox() -> (WorkerHandle, RowSender, Inbox) {
    let state =
        State { phase: Phase::Preparing, batches: VecDeque::new(), has_sender: true, has_worker: true };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changes: AtomicU32::new(0),
        is_cancelled: AtomicBool::new(false),
        waker: OnceLock::new(),
    });
    (WorkerHandle(Arc::clone(&shared)), RowSender(Arc::clone(&shared)), Inbox { shared, seen: 0 })
}

impl WorkerHandle {
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.replace_phase(|_| Some(phase));
    }

    /// Sets the phase that `next` returns for the current one. `None` leaves it unchanged.
    pub(crate) fn replace_phase(&self, next: impl FnOnce(&Phase) -> Option<Phase>) {
        let mut state = self.0.lock();
        if let Some(phase) = next(&state.phase) {
            state.phase = phase;
            self.0.changes.fetch_add(1, Ordering::Relaxed);
            drop(state);
            self.0.wake();
        }
    }

    /// After this, no further row begins.
    pub(crate) fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
        self.0.changes.fetch_add(1, Ordering::Release);
        // With the lock taken once, a worker that is attaching its waker either reads the change or is woken.
        drop(self.0.lock());
        self.0.wake();
    }
}

impl RowSender {
    /// Queues a batch. It is dropped if the worker has ended.
    pub(crate) fn send(&self, batch: Assign) -> Result<(), Full> {
        let mut state = self.0.lock();
        // Credit limits the number of rows, and a batch has at least one row.
        if state.batches.len() >= limits::CREDIT_ROWS_MAX as usize {
            return Err(Full);
        }
        if state.has_worker {
            state.batches.push_back(batch);
            drop(state);
            self.0.wake();
        }
        Ok(())
    }
}

/// A worker ends with its session.
impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Drop for RowSender {
    fn drop(&mut self) {
        self.0.lock().has_sender = false;
        self.0.wake();
    }
}

impl Inbox {
    /// Must be called first, by the worker's thread.
    pub(crate) fn attach(&self, waker: Waker) {
        let _state = self.shared.lock();
        // An inbox has one worker, so this is called once.
        let _ = self.shared.waker.set(waker);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.shared.is_cancelled.load(Ordering::Relaxed)
    }

    /// Returns true if the phase has changed, or the worker was cancelled, since the last call of [`phase`](Self::phase).
    pub(crate) fn has_changed(&self) -> bool {
        self.shared.changes.load(Ordering::Acquire) != self.seen
    }

    pub(crate) fn phase(&mut self) -> Phase {
        let state = self.shared.lock();
        self.seen = self.shared.changes.load(Ordering::Acquire);
        state.phase.clone()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.lock().phase == Phase::Draining
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shared.lock().batches.is_empty()
    }

    /// Waits for a change, at most until `due`.
    pub(crate) fn wait_until(&self, due: Option<Instant>, waiter: &mut impl Waiter) -> Received {
        loop {
            if self.has_changed() {
                return Received::Change;
            }
            if due.is_some_and(|due| waiter.now() >= due) {
                return Received::Due;
            }
            waiter.wait(due);
        }
    }

    /// Waits for a batch or a change, at most until `due`.
    pub(crate) fn receive(&mut self, due: Option<Instant>, waiter: &mut impl Waiter) -> Received {
        loop {
            if self.has_changed() {
                return Received::Change;
            }
            if due.is_some_and(|due| waiter.now() >= due) {
                return Received::Due;
            }
            let mut state = self.shared.lock();
            if let Some(batch) = state.batches.pop_front() {
                return Received::Batch(batch);
            }
            if !state.has_sender {
                return Received::Closed;
            }
            drop(state);
            waiter.wait(due);
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.has_worker = false;
        state.batches.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::waiter::ThreadWaiter;

    const LONG: Duration = Duration::from_secs(3_600);

    fn batch(round: u32) -> Assign {
        Assign { round, worker: 0, rows: Vec::new(), parameters: Default::default() }
    }

    #[test]
    fn batches_are_received_in_order_before_the_queue_is_closed() {
        let (_handle, sender, mut inbox) = inbox();
        let mut waiter = ThreadWaiter::new();
        inbox.attach(waiter.waker());
        let other = thread::spawn(move || {
            for round in 0..3 {
                thread::sleep(Duration::from_millis(5));
                sender.send(batch(round)).unwrap();
            }
        });
        for round in 0..3 {
            assert_eq!(inbox.receive(None, &mut waiter), Received::Batch(batch(round)));
        }
        assert_eq!(inbox.receive(None, &mut waiter), Received::Closed);
        other.join().unwrap();
    }

    #[test]
    fn a_change_ends_every_wait_until_the_phase_is_read() {
        let (handle, _sender, mut inbox) = inbox();
        let mut waiter = ThreadWaiter::new();
        inbox.attach(waiter.waker());
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            handle.set_phase(Phase::Draining);
            handle
        });
        let far = Instant::now() + LONG;
        assert_eq!(inbox.wait_until(Some(far), &mut waiter), Received::Change);
        assert_eq!(inbox.receive(Some(far), &mut waiter), Received::Change);
        assert_eq!(inbox.phase(), Phase::Draining);
        let handle = other.join().unwrap();
        assert_eq!(inbox.receive(Some(Instant::now()), &mut waiter), Received::Due);
        handle.cancel();
        assert_eq!(inbox.wait_until(Some(far), &mut waiter), Received::Change);
        assert!(inbox.is_cancelled());
    }

    #[test]
    fn the_queue_is_bounded_by_the_largest_credit() {
        let (_handle, sender, inbox) = inbox();
        for _ in 0..limits::CREDIT_ROWS_MAX {
            sender.send(batch(0)).unwrap();
        }
        assert!(sender.send(batch(0)).is_err());
        drop(inbox);
        assert!(sender.send(batch(0)).is_ok(), "the worker has ended");
    }
}
