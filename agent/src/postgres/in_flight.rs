//! Interrupts the query that a worker's thread waits for: at the end of `--timeout` and at the end of the session. A task beside the gRPC
//! streams asks the server to cancel the query and, after a grace period, ends the connection, for a server that does not answer must not
//! hold the thread. The connection is of no use afterwards: a cancel may come late and meet the next query.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use muster_common::limits;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout_at};
use tokio_postgres::CancelToken;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::connect;
use super::settings::Settings;
use super::stream::Cutter;

/// The worker's side, of one connection.
pub(super) struct InFlight {
    shared: Arc<Shared>,
    number: u64,
    task: JoinHandle<()>,
}

/// What is needed to interrupt a query from outside.
pub(super) struct Interrupter {
    pub(super) settings: Arc<Settings>,
    pub(super) address: Address,
    pub(super) is_encrypted: bool,
    pub(super) token: CancelToken,
    pub(super) cutter: Cutter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    Timeout,
    SessionEnded,
}

struct Shared {
    origin: Instant,
    /// A number for each query, and in the lowest bits what has become of it: `IDLE`, `RUNNING`, or why it was interrupted. The worker sets
    /// the first two, the task only turns `RUNNING` of one number into an interruption, so that it never interrupts another query.
    state: AtomicU64,
    /// Of the query that runs, in nanoseconds after `origin`.
    began_ns: AtomicU64,
    is_over: AtomicBool,
    is_cut: AtomicBool,
}

const IDLE: u64 = 0;
const RUNNING: u64 = 1;
const TIMEOUT: u64 = 2;
const SESSION_ENDED: u64 = 3;
const STATE_BITS: u32 = 2;
const STATE: u64 = (1 << STATE_BITS) - 1;
/// Has no limit.
const NEVER: u64 = u64::MAX;
/// How long after a cancel another one is sent.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

impl InFlight {
    /// Starts the task. `limit` is how long a query may take.
    pub(super) fn watch(
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
            is_cut: AtomicBool::new(false),
        });
        let task = runtime.spawn(watch(Arc::clone(&shared), limit, cancel, interrupter));
        Self { shared, number: 0, task }
    }

    /// A query begins. False when none may begin, because the session has ended.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        self.start(self.shared.since_origin(now))
    }

    /// Messages that are bounded in another way are exchanged: only the end of the session interrupts them.
    pub(super) fn begin_without_limit(&mut self) -> bool {
        self.start(NEVER)
    }

    fn start(&mut self, began_ns: u64) -> bool {
        self.number += 1;
        self.shared.began_ns.store(began_ns, Ordering::Relaxed);
        self.shared.state.store(self.number << STATE_BITS | RUNNING, Ordering::SeqCst);
        // Either this sees that it is over, or the task sees the query.
        let may_run = !self.shared.is_over.load(Ordering::SeqCst);
        if !may_run {
            self.shared.state.store(IDLE, Ordering::Relaxed);
        }
        may_run
    }

    /// The query has ended, or its connection has. Returns whether it was interrupted.
    pub(super) fn end(&mut self) -> Option<Interruption> {
        match self.shared.state.swap(IDLE, Ordering::AcqRel) & STATE {
            TIMEOUT => Some(Interruption::Timeout),
            SESSION_ENDED => Some(Interruption::SessionEnded),
            _ => None,
        }
    }

    /// Whether the connection was ended because the server did not end the query.
    pub(super) fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::Acquire)
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

    /// The state of the query that runs, and when it began.
    fn running(&self) -> Option<(u64, u64)> {
        let state = self.state.load(Ordering::SeqCst);
        let began_ns = self.began_ns.load(Ordering::Relaxed);
        // A query that began meanwhile has another number.
        let is_same = self.state.load(Ordering::SeqCst) == state;
        (state & STATE == RUNNING && is_same).then_some((state, began_ns))
    }

    /// Marks the query as interrupted. `None` when it has ended.
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
                // No row is under way, so nothing has to end on the server first.
                return interrupter.cut(&shared);
            }
            interrupted
        }
        interrupted = expired => Some(interrupted),
    };
    if let Some(interrupted) = interrupted {
        interrupter.end(&shared, interrupted).await;
    }
}

/// Returns when a query has taken longer than `limit`, with its state.
async fn expire(shared: &Shared, limit: Option<Duration>) -> u64 {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let now = Instant::now();
        // A query that begins later ends later.
        let mut look_at = now + limit;
        if let Some((state, began_ns)) = shared.running().filter(|(_, began_ns)| *began_ns != NEVER) {
            let expires_at = shared.origin + Duration::from_nanos(began_ns) + limit;
            if now < expires_at {
                look_at = expires_at;
            } else if let Some(interrupted) = shared.interrupt(state, TIMEOUT) {
                return interrupted;
            }
        }
        sleep_until(look_at.into()).await;
    }
}

impl Interrupter {
    /// Ends the query on the server; the worker, which sees the query end, drops the connection and this task with it.
    async fn end(self, shared: &Shared, interrupted: u64) {
        let deadline = Instant::now() + limits::CANCEL_GRACE;
        let is_waiting = || shared.state.load(Ordering::SeqCst) == interrupted;
        let mut has_warned = false;
        while is_waiting() && Instant::now() < deadline {
            let cancelling = connect::cancel(&self.settings, &self.address, self.is_encrypted, &self.token);
            if let Ok(Err(error)) = timeout_at(deadline.into(), cancelling).await
                && !std::mem::replace(&mut has_warned, true)
            {
                tracing::warn!("cannot {error}");
            }
            // A cancel that comes before its query is lost.
            sleep_until(deadline.min(Instant::now() + CANCEL_AGAIN).into()).await;
        }
        if is_waiting() {
            self.cut(shared);
        }
    }

    fn cut(&self, shared: &Shared) {
        shared.is_cut.store(true, Ordering::Release);
        self.cutter.cut();
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
            is_cut: AtomicBool::new(false),
        })
    }

    async fn idle() -> JoinHandle<()> {
        tokio::spawn(std::future::ready(()))
    }

    #[tokio::test]
    async fn only_a_query_that_is_too_long_expires() {
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
        assert_eq!(worker.end(), None, "what has no limit does not expire");
        let began = Instant::now();
        assert!(worker.begin(began));
        let interrupted = expired.await.unwrap();
        assert!(began.elapsed() >= limit);
        assert_eq!(interrupted, worker.number << STATE_BITS | TIMEOUT);
        assert_eq!(worker.end(), Some(Interruption::Timeout));
        assert_eq!(worker.end(), None);
    }

    #[tokio::test]
    async fn a_query_that_has_ended_is_not_interrupted_and_none_begins_after_the_session() {
        let mut worker = InFlight { shared: shared(), number: 0, task: idle().await };
        assert!(worker.begin(Instant::now()));
        let (first, _) = worker.shared.running().unwrap();
        assert_eq!(worker.end(), None);
        assert_eq!(worker.shared.interrupt(first, TIMEOUT), None);
        assert!(worker.begin(Instant::now()));
        assert_eq!(worker.shared.interrupt(first, TIMEOUT), None, "it is another query");
        assert_eq!(worker.end(), None);
        worker.shared.is_over.store(true, Ordering::SeqCst);
        assert!(!worker.begin(Instant::now()));
        assert_eq!(worker.shared.running(), None);
    }
}
