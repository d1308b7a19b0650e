//! Properties of a connection's peer that each call on the connection can read, and the limits that apply until an agent has joined.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use muster_core::limits;
use muster_net::listen::{ConnectionLimits, Peer};
use muster_net::peer_user;
use muster_process::blocking::blocking;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};
use tracing::error;

/// Properties of a connection, available to the calls on it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionInfo {
    pub(super) peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    trust: Trust,
    limits: ConnectionLimits,
}

/// The reason why a connection may be trusted with secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    InProcess,
    Encrypted,
    /// Unencrypted. The kernel may know which user owns the peer's socket.
    Unverified,
}

impl ConnectionInfo {
    pub(super) fn of(origin: &impl Origin) -> Self {
        let trust = if origin.is_encrypted() { Trust::Encrypted } else { Trust::Unverified };
        Self { peer: origin.peer(), local: origin.local(), trust, limits: origin.limits() }
    }

    pub(super) fn in_process() -> Self {
        Self { peer: None, local: None, trust: Trust::InProcess, limits: ConnectionLimits::default() }
    }

    /// Removes the limits of time and bytes from the connection, because an agent has joined on it.
    pub(super) fn admit(&self) {
        self.limits.admit();
    }

    /// Closes the connection soon, because its session has ended. The agent's next session uses a new connection.
    pub(super) fn leave(&self) {
        self.limits.close_after(limits::ADMISSION_TIMEOUT);
    }

    /// Returns true if the agent runs in this process, where no secret is required.
    pub(super) fn is_in_process(&self) -> bool {
        self.trust == Trust::InProcess
    }

    /// Returns true if the agent may receive the connection string of the coordinator's database: it has authenticated itself over TLS, or
    /// its process belongs to the user of this process. The loopback address alone is not enough, because other users of this machine reach
    /// it too. Call this only after the agent has sent a message.
    pub(super) async fn is_private(&self) -> bool {
        match (self.trust, self.peer, self.local) {
            (Trust::InProcess | Trust::Encrypted, _, _) => true,
            (Trust::Unverified, Some(peer), Some(local)) if peer.ip().to_canonical().is_loopback() => {
                // Reading the kernel's socket table takes long on a busy machine.
                let is_same = blocking("peer", move || peer_user::is_same_user(peer, local)).await;
                is_same.unwrap_or_else(|broken| {
                    error!("cannot determine which user owns the process at {peer}: {broken}");
                    false
                })
            }
            (Trust::Unverified, _, _) => false,
        }
    }
}

/// Properties of a connection's peer, by type of connection.
pub(crate) trait Origin {
    fn peer(&self) -> Option<SocketAddr>;
    /// The address of this end of the connection.
    fn local(&self) -> Option<SocketAddr>;
    fn is_encrypted(&self) -> bool;
    fn limits(&self) -> ConnectionLimits;
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

    fn limits(&self) -> ConnectionLimits {
        self.limits.clone()
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

    fn limits(&self) -> ConnectionLimits {
        self.get_ref().limits.clone()
    }
}

/// Connections of the simulated network have no limits.
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

    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits::default()
    }
}

/// A connection that provides its [`ConnectionInfo`] to the calls on it.
pub(super) struct AdmissionGuard<C> {
    stream: C,
    connection: ConnectionInfo,
}

impl<C> AdmissionGuard<C> {
    pub(super) fn new(stream: C, connection: ConnectionInfo) -> Self {
        Self { stream, connection }
    }
}

impl<C> Connected for AdmissionGuard<C> {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.connection.clone()
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for AdmissionGuard<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for AdmissionGuard<C> {
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
