//! A connection's socket, which reads the clock: right before the first bytes of a query go out, and right after the last bytes of its
//! answer came in. A clock around the query's future would count how long tasks take to be run as well, which after some milliseconds
//! of idleness, with cold caches, is more than a short query takes (docs/FIDELITY.md).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::address::{Address, Host};
use super::unix::UnixSocket;
use crate::surroundings::ByteStream;

pub struct Socket {
    stream: Box<dyn ByteStream>,
    stopwatch: Arc<Stopwatch>,
}

/// When a query went out and its answer came in. A socket's and a worker's, which run on one thread.
#[derive(Debug)]
pub struct Stopwatch {
    /// Nanoseconds are counted from here.
    zero: Instant,
    began_ns: AtomicU64,
    ended_ns: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// # Errors
/// The kernel's, or the resolver's for an address that is a name.
pub async fn dial(address: &Address) -> io::Result<Socket> {
    let stream: Box<dyn ByteStream> = match (&address.host, address.socket()) {
        (Host::Tcp { name, ip }, _) => Box::new(dial_tcp(name, *ip, address.port).await?),
        (Host::Unix(_), path) => Box::new(UnixSocket::connect(&path.unwrap_or_default()).await?),
    };
    Ok(Socket { stream, stopwatch: Arc::default() })
}

async fn dial_tcp(name: &str, ip: Option<std::net::IpAddr>, port: u16) -> io::Result<TcpStream> {
    let address = match ip {
        Some(ip) => (ip, port).into(),
        None => lookup_host((name, port)).await?.next().ok_or(io::ErrorKind::NotFound)?,
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    // As libpq does: a server that is gone without a word is noticed at last.
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

impl Socket {
    pub fn stopwatch(&self) -> Arc<Stopwatch> {
        Arc::clone(&self.stopwatch)
    }
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self { zero: Instant::now(), began_ns: AtomicU64::new(NEVER), ended_ns: AtomicU64::new(NEVER) }
    }
}

impl Stopwatch {
    /// What goes out next begins a query.
    pub(super) fn reset(&self) {
        self.ended_ns.store(NEVER, Ordering::Relaxed);
        self.began_ns.store(NEVER, Ordering::Relaxed);
    }

    /// From the first bytes that went out since the reset to the last ones that came in; `None` when none went out or none came.
    pub(super) fn lap(&self) -> Option<(Instant, Duration)> {
        let (began, ended) = (self.began_ns.load(Ordering::Relaxed), self.ended_ns.load(Ordering::Relaxed));
        let is_whole = began != NEVER && ended != NEVER;
        is_whole.then(|| {
            (self.zero + Duration::from_nanos(began), Duration::from_nanos(ended.saturating_sub(began)))
        })
    }

    fn goes_out(&self) {
        if self.began_ns.load(Ordering::Relaxed) == NEVER {
            self.began_ns.store(self.now(), Ordering::Relaxed);
        }
    }

    fn came_in(&self) {
        if self.began_ns.load(Ordering::Relaxed) != NEVER {
            self.ended_ns.store(self.now(), Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(NEVER - 1)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.stopwatch.came_in();
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stopwatch.goes_out();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_lap_is_from_the_first_bytes_out_to_the_last_bytes_in() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let host = Host::Tcp { name: "localhost".to_owned(), ip: Some(server.ip()) };
        let address = Address { host, port: server.port(), password: None };
        let (dialled, accepted) = tokio::join!(dial(&address), listener.accept());
        let (mut socket, (mut peer, _)) = (dialled.unwrap(), accepted.unwrap());
        let stopwatch = socket.stopwatch();
        assert_eq!(stopwatch.lap(), None);

        stopwatch.reset();
        sleep(PAUSE).await;
        let before = Instant::now();
        socket.write_all(b"one").await.unwrap();
        assert_eq!(stopwatch.lap(), None, "no answer yet");
        socket.write_all(b"two").await.unwrap();
        let mut bytes = [0; 6];
        peer.read_exact(&mut bytes).await.unwrap();
        for part in [b"x", b"y"] {
            sleep(PAUSE).await;
            peer.write_all(part).await.unwrap();
            socket.read_exact(&mut bytes[..1]).await.unwrap();
        }
        let after = before.elapsed();
        sleep(PAUSE).await;
        let (start, time) = stopwatch.lap().unwrap();
        assert!(start >= before, "the pause before the query does not count");
        assert!(time >= 2 * PAUSE && time <= after, "{time:?} of {after:?}");

        stopwatch.reset();
        peer.write_all(b"z").await.unwrap();
        socket.read_exact(&mut bytes[..1]).await.unwrap();
        assert_eq!(stopwatch.lap(), None, "what comes unasked is no answer");
    }
}
