//! A connection, from when it is there to its end, and whether an agent came in by it. Who does not become one in time has to leave:
//! neither silence nor calls that are refused keep a connection open.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};
use tracing::debug;

/// What each call of a connection knows of it.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) peer: Option<SocketAddr>,
    is_encrypted: bool,
    is_admitted: Arc<AtomicBool>,
}

impl Visit {
    /// An agent is in: the connection stays as long as it likes.
    pub(super) fn admit(&self) {
        self.is_admitted.store(true, Ordering::Relaxed);
    }

    /// Whether nobody reads along. Whoever is in TLS has proved that it may join.
    pub(super) fn is_private(&self) -> bool {
        self.is_encrypted || self.peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
    }
}

/// What a kind of connection tells of its other end.
pub(crate) trait Origin {
    fn peer(&self) -> Option<SocketAddr>;
    fn is_encrypted(&self) -> bool;
}

impl Origin for TcpConnectInfo {
    fn peer(&self) -> Option<SocketAddr> {
        self.remote_addr()
    }

    fn is_encrypted(&self) -> bool {
        false
    }
}

impl Origin for TlsConnectInfo<TcpConnectInfo> {
    fn peer(&self) -> Option<SocketAddr> {
        self.get_ref().remote_addr()
    }

    fn is_encrypted(&self) -> bool {
        true
    }
}

/// A connection that breaks unless its visit is admitted in time. Reading and writing look at that: whoever reads no answers is not
/// read from either.
pub(super) struct Visitor<C> {
    stream: C,
    visit: Visit,
    leaves: Pin<Box<Sleep>>,
}

impl<C: Connected<ConnectInfo: Origin>> Visitor<C> {
    pub(super) fn new(stream: C, patience: Duration) -> Self {
        let info = stream.connect_info();
        let visit =
            Visit { peer: info.peer(), is_encrypted: info.is_encrypted(), is_admitted: Arc::default() };
        Self { stream, visit, leaves: Box::pin(sleep(patience)) }
    }
}

impl<C> Visitor<C> {
    fn stays(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.visit.is_admitted.load(Ordering::Relaxed) || self.leaves.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        debug!("{:?} did not come in, and has to leave", self.visit.peer);
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl<C> Connected for Visitor<C> {
    type ConnectInfo = Visit;

    fn connect_info(&self) -> Visit {
        self.visit.clone()
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Visitor<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stays(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Visitor<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stays(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Line(DuplexStream);

    impl Connected for Line {
        type ConnectInfo = TcpConnectInfo;

        fn connect_info(&self) -> TcpConnectInfo {
            TcpConnectInfo { local_addr: None, remote_addr: None }
        }
    }

    impl AsyncRead for Line {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Line {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn visitor() -> (Visitor<Line>, DuplexStream) {
        let (near, far) = duplex(16);
        (Visitor::new(Line(near), PATIENCE), far)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_leaves_in_time() {
        let (mut visitor, _far) = visitor();
        let began = Instant::now();
        let error = visitor.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, PATIENCE.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_talks_without_coming_in_leaves_too() {
        let (mut visitor, mut far) = visitor();
        let talk = async {
            while far.write_u8(1).await.is_ok() {
                sleep(Duration::from_secs(1)).await
            }
        };
        let listen = async {
            let mut heard = 0;
            while visitor.read_u8().await.is_ok() {
                heard += 1;
            }
            heard
        };
        let heard = tokio::select! { heard = listen => heard, () = talk => unreachable!("nobody closed it") };
        assert!((9..=10).contains(&heard), "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_no_answer_leaves_too() {
        let (mut visitor, _far) = visitor();
        let error = visitor.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_in_may_stay_silent() {
        let (mut visitor, _far) = visitor();
        visitor.connect_info().admit();
        assert!(timeout(10 * PATIENCE, visitor.read_u8()).await.is_err(), "its connection was ended");
    }
}
