//! Connections of the simulated network, as both sides want them. They can be cut, and what passes through them is noted.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::future::{BoxFuture, FutureExt};
use muster_agent::surroundings::{ByteStream, Connect};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};
use turmoil::net::{TcpListener, TcpStream};

use super::frames::Frames;
use super::tape::Tape;

pub(super) const COORDINATOR: &str = "coordinator";
pub(super) const PORT: u16 = 50_051;

/// An agent's name in the network.
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
    heard: Frames,
    said: Frames,
}

/// What cuts the connections that are open.
#[derive(Default)]
pub(super) struct Shears(Mutex<Vec<(String, CancellationToken)>>);

impl Shears {
    fn guard(&self, end: &str) -> CancellationToken {
        let token = CancellationToken::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((end.to_owned(), token.clone()));
        token
    }

    /// Cuts all connections at this end, so far.
    pub(super) fn cut(&self, end: &str) {
        let mut guarded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guarded.extract_if(.., |(of, _)| of == end).for_each(|(_, token)| token.cancel());
    }
}

/// The end of an agent.
pub(super) fn end_at_agent(agent: usize) -> String {
    agent_name(agent)
}

/// The other end of an agent's connections.
pub(super) fn end_at_coordinator(agent: usize) -> String {
    format!("{COORDINATOR}<{}", agent_name(agent))
}

/// How an agent dials.
pub(super) fn connect(agent: usize, shears: Arc<Shears>, tape: Arc<Tape>) -> Connect {
    Arc::new(move |_| {
        let (shears, tape) = (Arc::clone(&shears), Arc::clone(&tape));
        Box::pin(async move {
            let stream = TcpStream::connect((COORDINATOR, PORT)).await?;
            let (heard, said) = (Frames::of_server(), Frames::of_client());
            let wire = Wire::new(stream, end_at_agent(agent), (heard, said), &shears, tape);
            Ok(Box::new(wire) as Box<dyn ByteStream>)
        })
    })
}

/// What the coordinator accepts.
pub(super) fn incoming(
    listener: TcpListener,
    shears: Arc<Shears>,
    tape: Arc<Tape>,
) -> impl Stream<Item = io::Result<Wire>> {
    futures_util::stream::unfold((listener, shears, tape), async |(listener, shears, tape)| {
        let accepted = listener.accept().await.map(|(stream, peer)| {
            let peer = turmoil::reverse_lookup(peer.ip()).unwrap_or_default();
            let (heard, said) = (Frames::of_client(), Frames::of_server());
            Wire::new(stream, format!("{COORDINATOR}<{peer}"), (heard, said), &shears, Arc::clone(&tape))
        });
        Some((accepted, (listener, shears, tape)))
    })
}

impl Wire {
    fn new(
        stream: TcpStream,
        end: String,
        (heard, said): (Frames, Frames),
        shears: &Shears,
        tape: Arc<Tape>,
    ) -> Self {
        let is_cut = shears.guard(&end);
        let cut = is_cut.clone().cancelled_owned().boxed();
        Self { stream, end, is_cut, cut, tape, heard, said }
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
        let Self { end, tape, heard, .. } = &mut *self;
        heard.take(&buf.filled()[before..], |data| tape.note(end, "hears", data));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        let Self { end, tape, said, .. } = &mut *self;
        said.take(&bytes[..written], |data| tape.note(end, "says", data));
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
