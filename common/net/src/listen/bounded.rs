//! A connection with limits on its duration and on the bytes read from it, which apply until it is admitted. They bound what an
//! unauthenticated peer can cost, below TLS and HTTP/2, so they hold for any frames that it sends.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::transport::server::Connected;
use tracing::debug;

/// The limits of one connection: its deadline and the bytes that it may send. By default there are none. Shared by the connection and by
/// the code that admits or closes it.
#[derive(Debug, Clone, Default)]
pub struct ConnectionLimits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The time at which the connection is closed. `None` without a limit.
    until: Option<Instant>,
    /// `None` without a limit.
    budget: Option<Budget>,
    /// The permit that the connection holds. `None` when it was admitted or has ended.
    permit: Option<OwnedSemaphorePermit>,
    /// The waker of the task that serves the connection.
    waiting: Option<Waker>,
}

#[derive(Debug)]
struct Budget {
    bytes: u64,
    per_second: u64,
    refilled_at: Instant,
    capacity: u64,
}

impl ConnectionLimits {
    pub(super) fn until_admission(
        timeout: Duration,
        bytes: u64,
        bytes_per_second: u64,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let now = Instant::now();
        let budget = Budget { bytes, per_second: bytes_per_second, refilled_at: now, capacity: bytes };
        let (until, budget, permit) = (Some(now + timeout), Some(budget), Some(permit));
        Self(Arc::new(Mutex::new(State { until, budget, permit, waiting: None })))
    }

    /// Removes the limits and releases the permit.
    pub fn admit(&self) {
        let waiting = std::mem::take(&mut *self.state()).waiting;
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Closes the connection now.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.until = Some(Instant::now());
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Closes the connection after `delay`. To be called when the admitted session has ended.
    pub fn close_after(&self, delay: Duration) {
        self.state().until = Some(Instant::now() + delay);
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.state().until.is_none()
    }

    /// Returns true if the connection holds a permit.
    pub(super) fn holds_permit(&self) -> bool {
        self.state().permit.is_some()
    }

    fn deadline(&self) -> Option<Instant> {
        self.state().until
    }

    /// Returns the deadline, and wakes the task of `cx` when the limits change.
    fn deadline_for(&self, cx: &Context<'_>) -> Option<Instant> {
        let mut state = self.state();
        state.until.inspect(|_| state.waiting = Some(cx.waker().clone()))
    }

    /// Returns the number of bytes that may be read now, `usize::MAX` without a limit. The error is the time at which more may be read, if
    /// any.
    fn readable_bytes(&self) -> Result<usize, Option<Instant>> {
        let mut state = self.state();
        let Some(budget) = &mut state.budget else { return Ok(usize::MAX) };
        let bytes = budget.refill(Instant::now());
        if bytes > 0 {
            return Ok(bytes);
        }
        Err(budget.refill_at())
    }

    fn record_read(&self, bytes: usize) {
        if let Some(budget) = &mut self.state().budget {
            budget.bytes = budget.bytes.saturating_sub(bytes as u64);
        }
    }

    /// Ignores poisoning: the values are replaced as a whole under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    /// Adds the bytes of the seconds that have passed. Returns the number of bytes that may be read.
    fn refill(&mut self, now: Instant) -> usize {
        let seconds = now.saturating_duration_since(self.refilled_at).as_secs();
        if seconds > 0 {
            self.bytes = (self.bytes + self.per_second.saturating_mul(seconds)).min(self.capacity);
            self.refilled_at += Duration::from_secs(seconds);
        }
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    fn refill_at(&self) -> Option<Instant> {
        (self.per_second > 0).then(|| self.refilled_at + Duration::from_secs(1))
    }
}

/// The peer of a connection, as the server sees it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: Option<SocketAddr>,
    /// The address of this end of the connection.
    pub local: Option<SocketAddr>,
    pub limits: ConnectionLimits,
}

/// A connection that fails at its deadline. Reads and writes both check it, because a peer that does not read responses must not be served
/// for longer either.
#[derive(Debug)]
pub struct Bounded<C> {
    stream: C,
    peer: Peer,
    timer: Pin<Box<Sleep>>,
    /// The time at which a reader without a budget gets more bytes.
    refill_at: Option<Instant>,
}

impl<C> Bounded<C> {
    pub fn new(stream: C, peer: Peer) -> Self {
        let timer = Box::pin(sleep_until(peer.limits.deadline().unwrap_or_else(Instant::now)));
        Self { stream, peer, timer, refill_at: None }
    }

    pub fn limits(&self) -> &ConnectionLimits {
        &self.peer.limits
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.address
    }

    /// Returns an error after the deadline. Otherwise wakes the task at the deadline, or when more bytes may be read.
    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(until) = self.peer.limits.deadline_for(cx) else { return Ok(()) };
        let wake_at = self.refill_at.map_or(until, |at| at.min(until));
        if self.timer.deadline() != wake_at {
            self.timer.as_mut().reset(wake_at);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if Instant::now() < until {
            self.refill_at = None;
            cx.waker().wake_by_ref();
            return Ok(());
        }
        debug!("connection of {:?} closed: it reached its deadline", self.peer.address);
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl<C> Drop for Bounded<C> {
    /// Releases the permit here, because the limits may be shared with code that lives longer.
    fn drop(&mut self) {
        self.peer.limits.state().permit = None;
    }
}

impl<C> Connected for Bounded<C> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// The number of bytes that one read takes from a connection that is not admitted.
const BLOCK: usize = 2 << 10;

impl<C: AsyncRead + Unpin> AsyncRead for Bounded<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.refill_at = self.peer.limits.readable_bytes().err().flatten();
        self.check_deadline(cx)?;
        // Checked again after the waker is registered, because the connection may have been admitted before that.
        let bytes = match self.peer.limits.readable_bytes() {
            Ok(usize::MAX) => return Pin::new(&mut self.stream).poll_read(cx, buffer),
            Ok(bytes) => bytes.min(BLOCK).min(buffer.remaining()),
            Err(_) => return Poll::Pending,
        };
        let mut block = [0; BLOCK];
        let mut part = ReadBuf::new(&mut block[..bytes]);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut part)?;
        if read.is_ready() {
            self.peer.limits.record_read(part.filled().len());
            buffer.put_slice(part.filled());
        }
        read.map(Ok)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Bounded<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_deadline(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_deadline(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_deadline(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_deadline(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio::time::{sleep, timeout};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    async fn connection(bytes: u64, per_second: u64) -> (Bounded<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(16);
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let limits = ConnectionLimits::until_admission(TIMEOUT, bytes, per_second, permit);
        (Bounded::new(near, Peer { address: None, local: None, limits }), far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_nothing_is_disconnected_after_the_timeout() {
        let (mut connection, _far) = connection(100, 0).await;
        let began = Instant::now();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, TIMEOUT.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_without_being_admitted_is_disconnected_after_the_timeout() {
        let (mut connection, mut far) = connection(100, 0).await;
        let send = async {
            while far.write_u8(1).await.is_ok() {
                sleep(Duration::from_secs(1)).await
            }
        };
        let receive = async {
            let mut count = 0;
            while connection.read_u8().await.is_ok() {
                count += 1;
            }
            count
        };
        let count = tokio::select! { count = receive => count, () = send => unreachable!("the connection stays open") };
        assert!((9..=10).contains(&count), "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_disconnected_after_the_timeout() {
        let (mut connection, _far) = connection(100, 0).await;
        let error = connection.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_admitted_peer_may_stay_silent_until_its_session_ends() {
        let (mut connection, _far) = connection(100, 0).await;
        connection.limits().admit();
        assert!(timeout(10 * TIMEOUT, connection.read_u8()).await.is_err(), "the connection was closed");
        connection.limits().close_after(TIMEOUT);
        assert!(timeout(2 * TIMEOUT, connection.read_u8()).await.unwrap().is_err());
    }

    /// Reads until nothing arrives for almost a second.
    async fn read_all(connection: &mut Bounded<DuplexStream>) -> usize {
        let mut block = [0; 1_000];
        let mut count = 0;
        while let Ok(Ok(read)) = timeout(Duration::from_millis(900), connection.read(&mut block)).await {
            count += read;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_limited_until_the_peer_is_admitted() {
        let (mut connection, mut far) = connection(100, 0).await;
        let sending = tokio::spawn(async move { far.write_all(&[1; 500]).await.map(|()| far) });
        assert_eq!(read_all(&mut connection).await, 100);
        let limits = connection.limits().clone();
        let admission = async {
            sleep(Duration::from_secs(1)).await;
            limits.admit();
        };
        let mut block = [0; 400];
        let (read, ()) = tokio::join!(connection.read_exact(&mut block), admission);
        read.unwrap();
        sending.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_byte_budget_is_refilled_every_second() {
        let (mut connection, mut far) = connection(100, 10).await;
        let sending = tokio::spawn(async move { far.write_all(&[1; 500]).await });
        let began = Instant::now();
        let mut block = [0; 130];
        connection.read_exact(&mut block).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
        drop(connection);
        assert!(sending.await.unwrap().is_err());
    }
}
