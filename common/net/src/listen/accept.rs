//! Accepts connections. Limits the number of open connections and the number of new ones per second, and pauses with a warning when the
//! system cannot accept more.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use muster_core::limits;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::bounded::{Bounded, ConnectionLimits, Peer};

const SECOND: Duration = Duration::from_secs(1);

/// Limits on connections that are not admitted yet.
#[derive(Debug, Clone, Copy)]
pub struct AcceptLimits {
    /// The number of open connections. Admitted ones do not count. One more connection closes the oldest one, so a client that holds
    /// connections open does not keep other clients out.
    pub connections: usize,
    /// The number of connections accepted per second. Admitted ones do not count. Further connections wait in the kernel's queue.
    pub accepts_per_second: usize,
    /// The time after which a connection is closed.
    pub timeout: Duration,
    /// The number of bytes that are read from a connection.
    pub bytes: u64,
    /// The number of bytes by which the remaining budget grows every second, up to `bytes`.
    pub bytes_per_second: u64,
}

pub type Accepted = Bounded<TcpStream>;

/// The reason why the last connection was not accepted. Empty again as soon as one is accepted.
#[derive(Debug, Clone, Default)]
pub struct AcceptProblem(Arc<Mutex<Option<String>>>);

impl AcceptProblem {
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Returns the incoming connections. The stream does not end and contains no errors.
pub fn accept(
    listener: TcpListener,
    accept_limits: AcceptLimits,
    problem: AcceptProblem,
) -> impl Stream<Item = Accepted> {
    let permits = Arc::new(Semaphore::new(accept_limits.connections));
    let unadmitted = VecDeque::new();
    let acceptor = Acceptor { listener, accept_limits, permits, unadmitted, problem, logged_at: None };
    unfold(acceptor, |mut acceptor| async { Some((acceptor.next().await?, acceptor)) })
}

struct Acceptor {
    listener: TcpListener,
    accept_limits: AcceptLimits,
    permits: Arc<Semaphore>,
    /// Connections that are not admitted and are open or were accepted in the last second, the oldest first.
    unadmitted: VecDeque<(Instant, ConnectionLimits)>,
    problem: AcceptProblem,
    logged_at: Option<Instant>,
}

impl Acceptor {
    /// Never returns `None`, because the semaphore is not closed.
    async fn next(&mut self) -> Option<Accepted> {
        let (stream, peer) = self.accept().await;
        self.wait_for_rate().await;
        let permit = self.acquire_permit().await?;
        // Responses are small, and Nagle's algorithm would delay them.
        let _ = stream.set_nodelay(true);
        let AcceptLimits { timeout, bytes, bytes_per_second, .. } = self.accept_limits;
        let limits = ConnectionLimits::until_admission(timeout, bytes, bytes_per_second, permit);
        self.unadmitted.push_back((Instant::now(), limits.clone()));
        let local = stream.local_addr().ok();
        Some(Bounded::new(stream, Peer { address: Some(peer), local, limits }))
    }

    /// Waits until another connection may be accepted in this second.
    async fn wait_for_rate(&mut self) {
        loop {
            let since = Instant::now().checked_sub(SECOND);
            let is_recent = |at: Instant| since.is_none_or(|since| at > since);
            let is_counted = |at: Instant, connection: &ConnectionLimits| {
                !connection.is_admitted() && (is_recent(at) || connection.holds_permit())
            };
            self.unadmitted.retain(|(at, connection)| is_counted(*at, connection));
            let recent = self.unadmitted.iter().rev().take_while(|(at, _)| is_recent(*at)).count();
            if recent < self.accept_limits.accepts_per_second {
                return;
            }
            sleep(limits::ACCEPT_PAUSE).await;
        }
    }

    /// Waits for a permit. Closes the oldest connections until one is available.
    async fn acquire_permit(&mut self) -> Option<OwnedSemaphorePermit> {
        let mut open = self.unadmitted.iter().filter(|(_, connection)| connection.holds_permit());
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return Some(permit);
            }
            if let Some((_, oldest)) = open.next() {
                oldest.close();
            }
            let permit = Arc::clone(&self.permits).acquire_owned();
            // The timeout is longer than closing a connection takes.
            if let Ok(permit) = timeout(limits::ACCEPT_PAUSE, permit).await {
                return permit.ok();
            }
        }
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.problem.set(None);
                    return accepted;
                }
                // The error concerns this connection only, so the next one is accepted without a pause.
                Err(error) if is_connection_error(&error) => {
                    debug!("a connection was closed before it was accepted: {error}")
                }
                Err(error) => {
                    self.report(&error);
                    sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn report(&mut self, error: &io::Error) {
        let problem = format!("cannot accept a connection: {error}{}", hint(error));
        let now = Instant::now();
        let is_due = |at: Instant| now >= at + limits::ACCEPT_PROBLEM_LOGGED_EVERY;
        if self.logged_at.is_none_or(is_due) {
            self.logged_at = Some(now);
            warn!("{problem}");
        }
        self.problem.set(Some(problem));
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn hint(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; raise the limit of open files (`ulimit -n`)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;

    use futures_util::StreamExt;
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    const LIMITS: AcceptLimits = AcceptLimits {
        connections: 4,
        accepts_per_second: 6,
        timeout: Duration::from_secs(300),
        bytes: 1 << 10,
        bytes_per_second: 0,
    };
    const WITHIN: Duration = Duration::from_secs(60);

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_closes_the_oldest_one_that_is_not_admitted() {
        let (listener, address) = listening().await;
        let mut accepted = pin!(accept(listener, LIMITS, AcceptProblem::default()));
        let mut open = Vec::new();
        for _ in 0..LIMITS.connections {
            let client = TcpStream::connect(address).await.unwrap();
            open.push((client, accepted.next().await.unwrap()));
        }
        let (_client, mut admitted) = open.remove(0);
        admitted.limits().admit();
        let _replacement = (TcpStream::connect(address).await.unwrap(), accepted.next().await.unwrap());
        let (_client, mut oldest) = open.remove(0);
        let _one_more = TcpStream::connect(address).await.unwrap();
        // The server reads an error and drops the connection.
        let closed = async {
            let error = oldest.read_u8().await.unwrap_err();
            drop(oldest);
            error
        };
        let (next, error) = timeout(WITHIN, async { tokio::join!(accepted.next(), closed) }).await.unwrap();
        assert!(next.is_some());
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        for connection in open.iter_mut().map(|(_, connection)| connection).chain([&mut admitted]) {
            assert!(timeout(Duration::from_millis(50), connection.read_u8()).await.is_err(), "it was closed");
        }
    }

    #[tokio::test]
    async fn short_connections_are_accepted_at_a_limited_rate() {
        let (listener, address) = listening().await;
        let mut accepted = pin!(accept(listener, LIMITS, AcceptProblem::default()));
        let began = Instant::now();
        for _ in 0..=LIMITS.accepts_per_second {
            drop(TcpStream::connect(address).await.unwrap());
            drop(accepted.next().await.unwrap());
        }
        assert!(began.elapsed() >= SECOND, "{:?}", began.elapsed());
    }
}
