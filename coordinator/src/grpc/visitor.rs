//! What each call of a connection knows of its other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use muster_agent::blocking::blocking;
use muster_agent::listen::{Peer, Stay};
use muster_agent::peer_user;
use muster_common::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};
use tracing::error;

/// A connection, as the calls that come by it see it.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    trust: Trust,
    stay: Stay,
}

/// Why a connection may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    InProcess,
    Encrypted,
    /// The kernel may know whose it is.
    Unproven,
}

impl Visit {
    pub(super) fn of(origin: &impl Origin) -> Self {
        let trust = if origin.is_encrypted() { Trust::Encrypted } else { Trust::Unproven };
        Self { peer: origin.peer(), local: origin.local(), trust, stay: origin.stay() }
    }

    pub(super) fn in_process() -> Self {
        Self { peer: None, local: None, trust: Trust::InProcess, stay: Stay::default() }
    }

    /// An agent has joined: from now on the connection has no limit of time and bytes.
    pub(super) fn admit(&self) {
        self.stay.admit();
    }

    /// Its session is over. The connection is closed soon: the agent's next session has one of its own.
    pub(super) fn leave(&self) {
        self.stay.end_within(limits::ADMISSION_TIMEOUT);
    }

    /// Whether the agent is in this process, which asks itself for no secret.
    pub(super) fn is_in_process(&self) -> bool {
        self.trust == Trust::InProcess
    }

    /// Whether the agent may be handed the coordinator's database: it is in TLS, and has proved there that it may join, or it is this
    /// user's own. Another user of this machine reaches the same loopback address. To be asked when the agent has sent something.
    pub(super) async fn is_private(&self) -> bool {
        match (self.trust, self.peer, self.local) {
            (Trust::InProcess | Trust::Encrypted, _, _) => true,
            (Trust::Unproven, Some(peer), Some(local)) if peer.ip().to_canonical().is_loopback() => {
                // The kernel's table is long on a busy machine.
                let asked = blocking("peer", move || peer_user::is_same_user(peer, local)).await;
                asked.unwrap_or_else(|broken| {
                    error!("whose process {peer} is could not be found out: {broken}");
                    false
                })
            }
            (Trust::Unproven, _, _) => false,
        }
    }
}

/// What a kind of connection tells of its other end.
pub(crate) trait Origin {
    fn peer(&self) -> Option<SocketAddr>;
    /// This end of it.
    fn local(&self) -> Option<SocketAddr>;
    fn is_encrypted(&self) -> bool;
    fn stay(&self) -> Stay;
}

impl Origin for Peer {
    fn peer(&self) -> Option<SocketAddr> {
        self.address
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    fn is_encrypted(&self) -> bool {
        false
    }

    fn stay(&self) -> Stay {
        self.stay.clone()
    }
}

impl Origin for TlsConnectInfo<Peer> {
    fn peer(&self) -> Option<SocketAddr> {
        self.get_ref().address
    }

    fn local(&self) -> Option<SocketAddr> {
        self.get_ref().local
    }

    fn is_encrypted(&self) -> bool {
        true
    }

    fn stay(&self) -> Stay {
        self.get_ref().stay.clone()
    }
}

/// Connections of a simulated network have no limits.
impl Origin for TcpConnectInfo {
    fn peer(&self) -> Option<SocketAddr> {
        self.remote_addr()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local_addr()
    }

    fn is_encrypted(&self) -> bool {
        false
    }

    fn stay(&self) -> Stay {
        Stay::default()
    }
}

/// A connection of any kind, whose calls find its [`Visit`].
pub(super) struct Visitor<C> {
    stream: C,
    visit: Visit,
}

impl<C> Visitor<C> {
    pub(super) fn new(stream: C, visit: Visit) -> Self {
        Self { stream, visit }
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Visitor<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
