//! A connection that may stay for a while and send a few bytes until it is admitted. What a stranger may cost is bounded here, below TLS and
//! HTTP/2, whatever frames it sends.

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

/// How long a connection may stay and how much it may send: everything where nothing else was said. Shared by the connection and by those
/// who decide on it.
#[derive(Debug, Clone, Default)]
pub struct Stay(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// When it has to be closed; `None` where it may stay.
    until: Option<Instant>,
    /// `None` without a limit.
    budget: Option<Budget>,
    /// `None` when it was admitted or has ended.
    place: Option<OwnedSemaphorePermit>,
    /// Of the task that serves the connection.
    waiting: Option<Waker>,
}

#[derive(Debug)]
struct Budget {
    bytes: u64,
    per_second: u64,
    filled_at: Instant,
    most: u64,
}

impl Stay {
    pub(super) fn until(
        patience: Duration,
        bytes: u64,
        bytes_per_second: u64,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let now = Instant::now();
        let budget = Budget { bytes, per_second: bytes_per_second, filled_at: now, most: bytes };
        let (until, budget, place) = (Some(now + patience), Some(budget), Some(place));
        Self(Arc::new(Mutex::new(State { until, budget, place, waiting: None })))
    }

    /// It may stay and send as much as it likes, and takes no place of others.
    pub fn admit(&self) {
        let waiting = std::mem::take(&mut *self.state()).waiting;
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Its time is over.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.until = Some(Instant::now());
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// What it was admitted for is over: it is closed after this time.
    pub fn end_within(&self, patience: Duration) {
        self.state().until = Some(Instant::now() + patience);
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.state().until.is_none()
    }

    /// Whether it takes a place of others.
    pub(super) fn has_place(&self) -> bool {
        self.state().place.is_some()
    }

    fn deadline(&self) -> Option<Instant> {
        self.state().until
    }

    /// The task is woken when the terms change.
    fn deadline_for(&self, cx: &Context<'_>) -> Option<Instant> {
        let mut state = self.state();
        state.until.inspect(|_| state.waiting = Some(cx.waker().clone()))
    }

    /// Bytes that may be read now, `usize::MAX` without a limit; or when there will be some, if ever.
    fn may_read(&self) -> Result<usize, Option<Instant>> {
        let mut state = self.state();
        let Some(budget) = &mut state.budget else { return Ok(usize::MAX) };
        let bytes = budget.fill(Instant::now());
        if bytes > 0 {
            return Ok(bytes);
        }
        Err(budget.more_at())
    }

    fn has_read(&self, bytes: usize) {
        if let Some(budget) = &mut self.state().budget {
            budget.bytes = budget.bytes.saturating_sub(bytes as u64);
        }
    }

    /// Plain values are replaced whole under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    fn fill(&mut self, now: Instant) -> usize {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs();
        if seconds > 0 {
            self.bytes = (self.bytes + self.per_second.saturating_mul(seconds)).min(self.most);
            self.filled_at += Duration::from_secs(seconds);
        }
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    fn more_at(&self) -> Option<Instant> {
        (self.per_second > 0).then(|| self.filled_at + Duration::from_secs(1))
    }
}

/// What a server knows of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: Option<SocketAddr>,
    /// This end of it.
    pub local: Option<SocketAddr>,
    pub stay: Stay,
}

/// A connection that breaks when its stay is over. Reading and writing look at that: a peer that reads no answers is not read from either.
#[derive(Debug)]
pub struct Bounded<C> {
    stream: C,
    peer: Peer,
    timer: Pin<Box<Sleep>>,
    /// When a reader that has no bytes left gets more.
    more_at: Option<Instant>,
}

impl<C> Bounded<C> {
    pub fn new(stream: C, peer: Peer) -> Self {
        let timer = Box::pin(sleep_until(peer.stay.deadline().unwrap_or_else(Instant::now)));
        Self { stream, peer, timer, more_at: None }
    }

    pub fn stay(&self) -> &Stay {
        &self.peer.stay
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.address
    }

    /// An error once its stay is over; else the task is woken when it will be, or when there are more bytes to read.
    fn stays(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(until) = self.peer.stay.deadline_for(cx) else { return Ok(()) };
        let wake_at = self.more_at.map_or(until, |at| at.min(until));
        if self.timer.deadline() != wake_at {
            self.timer.as_mut().reset(wake_at);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        if Instant::now() < until {
            self.more_at = None;
            cx.waker().wake_by_ref();
            return Ok(());
        }
        debug!("the connection of {:?} is closed: its time is over", self.peer.address);
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl<C> Drop for Bounded<C> {
    /// Others may know its stay for longer.
    fn drop(&mut self) {
        self.peer.stay.state().place = None;
    }
}

impl<C> Connected for Bounded<C> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// What is read at a time of a connection that is not admitted.
const BLOCK: usize = 2 << 10;

impl<C: AsyncRead + Unpin> AsyncRead for Bounded<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.more_at = self.peer.stay.may_read().err().flatten();
        self.stays(cx)?;
        // Only now, because the connection may be admitted until its waker is known.
        let bytes = match self.peer.stay.may_read() {
            Ok(usize::MAX) => return Pin::new(&mut self.stream).poll_read(cx, buffer),
            Ok(bytes) => bytes.min(BLOCK).min(buffer.remaining()),
            Err(_) => return Poll::Pending,
        };
        let mut block = [0; BLOCK];
        let mut part = ReadBuf::new(&mut block[..bytes]);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut part)?;
        if read.is_ready() {
            self.peer.stay.has_read(part.filled().len());
            buffer.put_slice(part.filled());
        }
        read.map(Ok)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Bounded<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stays(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stays(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stays(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stays(cx)?;
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

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn connection(bytes: u64, per_second: u64) -> (Bounded<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(16);
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let stay = Stay::until(PATIENCE, bytes, per_second, place);
        (Bounded::new(near, Peer { address: None, local: None, stay }), far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_nothing_is_disconnected_in_time() {
        let (mut connection, _far) = connection(100, 0).await;
        let began = Instant::now();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, PATIENCE.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_talks_without_being_admitted_is_disconnected_in_time() {
        let (mut connection, mut far) = connection(100, 0).await;
        let talk = async {
            while far.write_u8(1).await.is_ok() {
                sleep(Duration::from_secs(1)).await
            }
        };
        let listen = async {
            let mut count = 0;
            while connection.read_u8().await.is_ok() {
                count += 1;
            }
            count
        };
        let count = tokio::select! { count = listen => count, () = talk => unreachable!("the connection stays open") };
        assert!((9..=10).contains(&count), "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_no_answers_is_disconnected_in_time() {
        let (mut connection, _far) = connection(100, 0).await;
        let error = connection.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_admitted_peer_may_stay_silent_until_what_it_was_admitted_for_is_over() {
        let (mut connection, _far) = connection(100, 0).await;
        connection.stay().admit();
        assert!(timeout(10 * PATIENCE, connection.read_u8()).await.is_err(), "its connection was ended");
        connection.stay().end_within(PATIENCE);
        assert!(timeout(2 * PATIENCE, connection.read_u8()).await.unwrap().is_err());
    }

    /// Reads until nothing comes for a second.
    async fn read_all(connection: &mut Bounded<DuplexStream>) -> usize {
        let mut block = [0; 1_000];
        let mut count = 0;
        while let Ok(Ok(read)) = timeout(Duration::from_millis(900), connection.read(&mut block)).await {
            count += read;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_than_is_allowed_until_the_peer_is_admitted() {
        let (mut connection, mut far) = connection(100, 0).await;
        let sending = tokio::spawn(async move { far.write_all(&[1; 500]).await.map(|()| far) });
        assert_eq!(read_all(&mut connection).await, 100);
        let stay = connection.stay().clone();
        let admission = async {
            sleep(Duration::from_secs(1)).await;
            stay.admit();
        };
        let mut block = [0; 400];
        let (read, ()) = tokio::join!(connection.read_exact(&mut block), admission);
        read.unwrap();
        sending.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_added_every_second() {
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
