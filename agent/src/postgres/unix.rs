//! A unix socket that waits for answers alone. Its room for more grows whenever the peer reads, and who waits for that as well, as
//! tokio's own sockets do, is woken twice a query: when the server takes it, and when it answers (docs/PERFORMANCE.md).

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

pub(super) struct UnixSocket {
    readable: AsyncFd<UnixStream>,
    /// While a write has to wait for room.
    writable: Option<AsyncFd<OwnedFd>>,
}

impl UnixSocket {
    /// # Errors
    /// The kernel's.
    pub(super) async fn connect(path: &Path) -> io::Result<Self> {
        let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
        Ok(Self { readable: registered(stream, Interest::READABLE)?, writable: None })
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writable = match &mut self.writable {
            Some(writable) => writable,
            none => {
                let stream = self.readable.get_ref().as_fd().try_clone_to_owned()?;
                none.insert(registered(stream, Interest::WRITABLE)?)
            }
        };
        // Before the next attempt: what comes behind it is noticed.
        ready!(writable.poll_write_ready(context))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe to call; a type that owns its descriptor upholds what that asks for"
)]
fn registered<T: AsRawFd>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(descriptor, interest)
}

impl AsyncRead for UnixSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.readable.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let size = room.len();
            match ready.try_io(|stream| stream.get_ref().read(room)) {
                Ok(Ok(count)) => {
                    // There is no more, and no need to ask for it.
                    if (1..size).contains(&count) {
                        ready.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                // It was not ready after all.
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for UnixSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.readable.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_room(context))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => {
                    self.writable = None;
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.readable.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    async fn connected(directory: &Path) -> (UnixSocket, tokio::net::UnixStream) {
        let path = directory.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (socket, accepted) = tokio::join!(UnixSocket::connect(&path), listener.accept());
        (socket.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_come_in_order_however_they_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let (mut socket, mut peer) = connected(directory.path()).await;
        let sent: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
        let mut received = vec![0; sent.len()];
        let read = async {
            let mut filled = 0;
            for part in (1..10_000).cycle() {
                let end = sent.len().min(filled + part);
                let count = socket.read(&mut received[filled..end]).await.unwrap();
                filled += count;
                if filled == sent.len() {
                    return;
                }
            }
        };
        let write = async { peer.write_all(&sent).await.unwrap() };
        timeout(SOON, async { tokio::join!(read, write) }).await.unwrap();
        assert!(sent == received);
        drop(peer);
        assert_eq!(timeout(SOON, socket.read(&mut received)).await.unwrap().unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn a_write_waits_for_room_and_only_as_long_as_it_has_to() {
        let directory = tempfile::tempdir().unwrap();
        let (mut socket, mut peer) = connected(directory.path()).await;
        let sent = vec![7; 8 << 20];
        let write = async {
            let write = socket.write_all(&sent);
            tokio::pin!(write);
            assert!(timeout(Duration::from_millis(20), &mut write).await.is_err(), "nobody reads");
            write.await.unwrap();
        };
        let read = async {
            tokio::time::sleep(Duration::from_millis(40)).await;
            let mut received = vec![0; sent.len()];
            peer.read_exact(&mut received).await.unwrap();
            assert!(sent == received);
        };
        timeout(SOON, async { tokio::join!(write, read) }).await.unwrap();
        assert!(socket.writable.is_none());
        drop(peer);
        assert!(socket.write_all(&sent).await.is_err(), "nobody is there");
    }

    /// Counted by how often the thread slept.
    #[test]
    fn nobody_is_woken_because_the_peer_reads() {
        let directory = tempfile::tempdir().unwrap();
        let sleeps = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&sleeps);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let runtime = builder.enable_io().on_thread_park(count).build().unwrap();
        runtime.block_on(async {
            let (mut socket, peer) = connected(directory.path()).await;
            let mut peer = peer.into_std().unwrap();
            peer.set_nonblocking(false).unwrap();
            let server = std::thread::spawn(move || {
                let mut bytes = [0; 3];
                peer.read_exact(&mut bytes).unwrap();
                // Long enough for the other side to be woken, if it is.
                std::thread::sleep(Duration::from_millis(50));
                peer.write_all(b"answer").unwrap();
            });
            let before = sleeps.load(Ordering::Relaxed);
            socket.write_all(b"ask").await.unwrap();
            socket.read_exact(&mut [0; 6]).await.unwrap();
            assert_eq!(sleeps.load(Ordering::Relaxed) - before, 1);
            server.join().unwrap();
        });
    }
}
