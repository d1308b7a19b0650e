//! Interrupts the query that a worker's thread waits for, after `--timeout` and at the end of the session. A task on the agent's runtime
//! sends a cancel request to the server. If the query does not end within a grace period, the task shuts down the connection, because an
//! unresponsive server must not block the thread. The connection cannot be used afterwards, because a delayed cancel request may reach the
//! next query.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster_core::limits;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout_at};
use tokio_postgres::CancelToken;
use tokio_util::sync::CancellationToken;

use crate::address::Address;
use crate::cancel::cancel;
use crate::settings::Settings;
use crate::stream::ShutdownHandle;

/// The worker's side of one connection.
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    number: u64,
    task: JoinHandle<()>,
}

/// The means to interrupt a query from another thread.
pub(crate) struct Interrupter {
    pub(crate) settings: Arc<Settings>,
    pub(crate) address: Address,
    pub(crate) is_encrypted: bool,
    pub(crate) token: CancelToken,
    pub(crate) shutdown: ShutdownHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interruption {
    Timeout,
    SessionEnded,
}

struct Shared {
    origin: Instant,
    /// The number of the query, with its state in the lowest bits: `IDLE`, `RUNNING` or the reason of its interruption. The worker sets the
    /// first two. The task only changes `RUNNING` of a given number to an interruption, so it never interrupts another query.
    state: AtomicU64,
    /// The start of the running query, in nanoseconds after `origin`.
    began_ns: AtomicU64,
    is_over: AtomicBool,
    is_shut_down: AtomicBool,
}

const IDLE: u64 = 0;
const RUNNING: u64 = 1;
const TIMEOUT: u64 = 2;
const SESSION_ENDED: u64 = 3;
const STATE_BITS: u32 = 2;
const STATE: u64 = (1 << STATE_BITS) - 1;
/// The start of a query without a limit.
const NEVER: u64 = u64::MAX;

impl InFlight {
    /// Starts the task. `limit` is the maximum duration of a query.
    pub(crate) fn watch(
        runtime: &Handle,
        limit: Option<Duration>,
        cancel: CancellationToken,
        interrupter: Interrupter,
    ) -> Self {
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            state: AtomicU64::new(IDLE),
            began_ns: AtomicU64::new(NEVER),
            is_over: AtomicBool::new(false),
            is_shut_down: AtomicBool::new(false),
        });
        let task = runtime.spawn(watch(Arc::clone(&shared), limit, cancel, interrupter));
        Self { shared, number: 0, task }
    }

    /// Marks the start of a query. Returns false if the session has ended, so that no query may begin.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        self.start(self.shared.since_origin(now))
    }

    /// Marks the start of an exchange that has its own time limit. Only the end of the session interrupts it.
    pub(crate) fn begin_without_limit(&mut self) -> bool {
        self.start(NEVER)
    }

    fn start(&mut self, began_ns: u64) -> bool {
        self.number += 1;
        self.shared.began_ns.store(began_ns, Ordering::Relaxed);
        self.shared.state.store(self.number << STATE_BITS | RUNNING, Ordering::SeqCst);
        // Either this thread sees the end of the session, or the task sees the query.
        let may_run = !self.shared.is_over.load(Ordering::SeqCst);
        if !may_run {
            self.shared.state.store(IDLE, Ordering::Relaxed);
        }
        may_run
    }

    /// Marks the end of the query or of its connection. Returns the interruption, if there was one.
    pub(crate) fn end(&mut self) -> Option<Interruption> {
        match self.shared.state.swap(IDLE, Ordering::AcqRel) & STATE {
            TIMEOUT => Some(Interruption::Timeout),
            SESSION_ENDED => Some(Interruption::SessionEnded),
            _ => None,
        }
    }

    /// Returns true if the connection was shut down because the query did not end in time.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shared.is_shut_down.load(Ordering::Acquire)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn since_origin(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        u64::try_from(elapsed.as_nanos()).unwrap_or(NEVER - 1)
    }

    /// Returns the state and the start of the running query.
    fn running(&self) -> Option<(u64, u64)> {
        let state = self.state.load(Ordering::SeqCst);
        let began_ns = self.began_ns.load(Ordering::Relaxed);
        // If another query began between the two reads, the number differs.
        let is_same = self.state.load(Ordering::SeqCst) == state;
        (state & STATE == RUNNING && is_same).then_some((state, began_ns))
    }

    /// Marks the query as interrupted. Returns `None` if it has ended.
    fn interrupt(&self, state: u64, interruption: u64) -> Option<u64> {
        let interrupted = state & !STATE | interruption;
        let exchanged = self.state.compare_exchange(state, interrupted, Ordering::SeqCst, Ordering::Relaxed);
        exchanged.is_ok().then_some(interrupted)
    }
}

async fn watch(
    shared: Arc<Shared>,
    limit: Option<Duration>,
    cancel: CancellationToken,
    interrupter: Interrupter,
) {
    let expired = expire(&shared, limit);
    let interrupted = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            shared.is_over.store(true, Ordering::SeqCst);
            let Some((state, began_ns)) = shared.running() else { return };
            let interrupted = shared.interrupt(state, SESSION_ENDED);
            if interrupted.is_some() && began_ns == NEVER {
                // No row is running, so there is no query to cancel on the server.
                return interrupter.shut_down(&shared);
            }
            interrupted
        }
        interrupted = expired => Some(interrupted),
    };
    if let Some(interrupted) = interrupted {
        interrupter.end(&shared, interrupted).await;
    }
}

/// Waits until a query has taken longer than `limit`, and returns its state.
async fn expire(shared: &Shared, limit: Option<Duration>) -> u64 {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let now = Instant::now();
        // A query that begins after this check expires later than this.
        let mut check_at = now + limit;
        if let Some((state, began_ns)) = shared.running().filter(|(_, began_ns)| *began_ns != NEVER) {
            let expires_at = shared.origin + Duration::from_nanos(began_ns) + limit;
            if now < expires_at {
                check_at = expires_at;
            } else if let Some(interrupted) = shared.interrupt(state, TIMEOUT) {
                return interrupted;
            }
        }
        sleep_until(check_at.into()).await;
    }
}

impl Interrupter {
    /// Cancels the query on the server. When the query has ended, the worker drops the connection and this task with it.
    async fn end(self, shared: &Shared, interrupted: u64) {
        let deadline = Instant::now() + limits::CANCEL_GRACE;
        let is_waiting = || shared.state.load(Ordering::SeqCst) == interrupted;
        let mut has_warned = false;
        while is_waiting() && Instant::now() < deadline {
            let cancelling = cancel(&self.settings, &self.address, self.is_encrypted, &self.token);
            if let Ok(Err(error)) = timeout_at(deadline.into(), cancelling).await
                && !std::mem::replace(&mut has_warned, true)
            {
                tracing::warn!("failed to {error}");
            }
            sleep_until(deadline.min(Instant::now() + limits::CANCEL_EVERY).into()).await;
        }
        if is_waiting() {
            self.shut_down(shared);
        }
    }

    fn shut_down(&self, shared: &Shared) {
        shared.is_shut_down.store(true, Ordering::Release);
        self.shutdown.shut_down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Arc<Shared> {
        Arc::new(Shared {
            origin: Instant::now(),
            state: AtomicU64::new(IDLE),
            began_ns: AtomicU64::new(NEVER),
            is_over: AtomicBool::new(false),
            is_shut_down: AtomicBool::new(false),
        })
    }

    async fn idle() -> JoinHandle<()> {
        tokio::spawn(std::future::ready(()))
    }

    #[tokio::test]
    async fn only_a_query_that_exceeds_the_limit_expires() {
        let limit = Duration::from_millis(40);
        let mut worker = InFlight { shared: shared(), number: 0, task: idle().await };
        let other = Arc::clone(&worker.shared);
        let expired = tokio::spawn(async move { expire(&other, Some(limit)).await });
        for _ in 0..10 {
            assert!(worker.begin(Instant::now()));
            tokio::time::sleep(limit / 8).await;
            assert_eq!(worker.end(), None);
        }
        assert!(worker.begin_without_limit());
        tokio::time::sleep(2 * limit).await;
        assert_eq!(worker.end(), None, "an exchange without a limit does not expire");
        let began = Instant::now();
        assert!(worker.begin(began));
        let interrupted = expired.await.unwrap();
        assert!(began.elapsed() >= limit);
        assert_eq!(interrupted, worker.number << STATE_BITS | TIMEOUT);
        assert_eq!(worker.end(), Some(Interruption::Timeout));
        assert_eq!(worker.end(), None);
    }

    #[tokio::test]
    async fn ended_queries_are_not_interrupted_and_none_begin_after_the_session() {
        let mut worker = InFlight { shared: shared(), number: 0, task: idle().await };
        assert!(worker.begin(Instant::now()));
        let (first, _) = worker.shared.running().unwrap();
        assert_eq!(worker.end(), None);
        assert_eq!(worker.shared.interrupt(first, TIMEOUT), None);
        assert!(worker.begin(Instant::now()));
        assert_eq!(worker.shared.interrupt(first, TIMEOUT), None, "it interrupted the next query");
        assert_eq!(worker.end(), None);
        worker.shared.is_over.store(true, Ordering::SeqCst);
        assert!(!worker.begin(Instant::now()));
        assert_eq!(worker.shared.running(), None);
    }
}
