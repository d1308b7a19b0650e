//! The connections of the simulated network, in the types that the agent and the coordinator need. They can be cut, and all data that
//! passes through them is recorded.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::future::{BoxFuture, FutureExt};
use muster_agent::runtime::{ByteStream, Connect};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};
use turmoil::net::{TcpListener, TcpStream};

use super::frames::Frames;
use super::tape::Tape;

pub(super) const COORDINATOR: &str = "coordinator";
pub(super) const PORT: u16 = 50_051;

/// An agent's host name in the simulated network.
pub(super) fn agent_name(agent: usize) -> String {
    format!("agent-{agent}")
}

/// One end of a connection.
pub(super) struct Wire {
    stream: TcpStream,
    end: String,
    is_cut: CancellationToken,
    cut: BoxFuture<'static, ()>,
    tape: Arc<Tape>,
    received: Frames,
    sent: Frames,
}

/// Cuts open connections.
#[derive(Default)]
pub(super) struct ConnectionCutter(Mutex<Vec<(String, CancellationToken)>>);

impl ConnectionCutter {
    fn register(&self, end: &str) -> CancellationToken {
        let token = CancellationToken::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((end.to_owned(), token.clone()));
        token
    }

    /// Cuts all connections at this end that are open now.
    pub(super) fn cut(&self, end: &str) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.extract_if(.., |(other, _)| other == end).for_each(|(_, token)| token.cancel());
    }
}

/// The name of the agent's end of its connections.
pub(super) fn end_at_agent(agent: usize) -> String {
    agent_name(agent)
}

/// The name of the coordinator's end of an agent's connections.
pub(super) fn end_at_coordinator(agent: usize) -> String {
    format!("{COORDINATOR}<{}", agent_name(agent))
}

/// Returns the function with which an agent connects to the coordinator.
pub(super) fn connect(agent: usize, cutter: Arc<ConnectionCutter>, tape: Arc<Tape>) -> Connect {
    Arc::new(move |_| {
        let (cutter, tape) = (Arc::clone(&cutter), Arc::clone(&tape));
        Box::pin(async move {
            let stream = TcpStream::connect((COORDINATOR, PORT)).await?;
            let (received, sent) = (Frames::of_server(), Frames::of_client());
            let wire = Wire::new(stream, end_at_agent(agent), (received, sent), &cutter, tape);
            Ok(Box::new(wire) as Box<dyn ByteStream>)
        })
    })
}

/// The connections that the coordinator accepts.
pub(super) fn incoming(
    listener: TcpListener,
    cutter: Arc<ConnectionCutter>,
    tape: Arc<Tape>,
) -> impl Stream<Item = io::Result<Wire>> {
    futures_util::stream::unfold((listener, cutter, tape), async |(listener, cutter, tape)| {
        let accepted = listener.accept().await.map(|(stream, peer)| {
            let peer = turmoil::reverse_lookup(peer.ip()).unwrap_or_default();
            let (received, sent) = (Frames::of_client(), Frames::of_server());
            Wire::new(stream, format!("{COORDINATOR}<{peer}"), (received, sent), &cutter, Arc::clone(&tape))
        });
        Some((accepted, (listener, cutter, tape)))
    })
}

impl Wire {
    fn new(
        stream: TcpStream,
        end: String,
        (received, sent): (Frames, Frames),
        cutter: &ConnectionCutter,
        tape: Arc<Tape>,
    ) -> Self {
        let is_cut = cutter.register(&end);
        let cut = is_cut.clone().cancelled_owned().boxed();
        Self { stream, end, is_cut, cut, tape, received, sent }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut.is_cancelled() || self.cut.poll_unpin(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let Self { end, tape, received, .. } = &mut *self;
        received.take(&buf.filled()[before..], |data| tape.record(end, "receives", data));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        let Self { end, tape, sent, .. } = &mut *self;
        sent.take(&bytes[..written], |data| tape.record(end, "sends", data));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Wire {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        let address = |address: io::Result<SocketAddr>| address.ok();
        TcpConnectInfo {
            local_addr: address(self.stream.local_addr()),
            remote_addr: address(self.stream.peer_addr()),
        }
    }
}
