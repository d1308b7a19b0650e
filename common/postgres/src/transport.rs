//! Opens a transport to a server: TCP, a Unix socket, or TLS over TCP. The only part of PostgreSQL's protocol here is the TLS request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use muster_core::limits;
use muster_process::blocking::addresses;
use postgres_protocol::message::frontend as write;
use rustls::pki_types::ServerName;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, copy_bidirectional, duplex,
};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode as Negotiation;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::address::{Address, Host};
use crate::channel_binding::server_end_point;
use crate::failure::Problem;
use crate::settings::Settings;
use crate::stream::Stream;

pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// The server's response when it accepts TLS.
const TLS_ACCEPTED: u8 = b'S';

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl Transport {
    /// Connects to one address. With [`Negotiation::Prefer`] the result does not use TLS if the server does not offer it.
    ///
    /// # Errors
    /// The reason why there is no connection.
    pub(crate) async fn open(
        settings: &Settings,
        address: &Address,
        negotiation: Negotiation,
    ) -> Result<Self, Problem> {
        let connect_error = |error: io::Error| Problem::of_dialling(&error, address, settings);
        let (name, ip) = match &address.host {
            Host::Tcp { name, ip } => (name, *ip),
            Host::Unix(_) => {
                let path = address.socket().unwrap_or_default();
                return UnixStream::connect(&path).await.map(Self::Unix).map_err(connect_error);
            }
        };
        let mut stream = dial_tcp(name, ip, address.port).await.map_err(connect_error)?;
        if negotiation == Negotiation::Disable {
            return Ok(Self::Tcp(stream));
        }
        let accepts_tls = request_tls(&mut stream).await.map_err(|error| Problem::of_connection(&error))?;
        match (accepts_tls, negotiation) {
            (true, _) => {}
            (false, Negotiation::Require) => return Err(Problem::TlsNotOffered(settings.tls.mode)),
            (false, _) => return Ok(Self::Tcp(stream)),
        }
        let name = ServerName::try_from(name.clone())
            .map_err(|error| Problem::of_handshake(&io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let encrypted = settings.tls.connector.connect(name, stream).await;
        Ok(Self::Tls(Box::new(encrypted.map_err(|error| Problem::of_handshake(&error))?)))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns the data with which the client proves to the server that both use the same TLS connection.
    fn channel_binding(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        let (_, session) = stream.get_ref();
        server_end_point(session.peer_certificates()?.first()?)
    }

    fn into_bytes(self) -> Box<dyn ByteStream> {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Unix(stream) => Box::new(stream),
            Self::Tls(stream) => stream,
        }
    }

    /// Converts this into a blocking stream.
    ///
    /// # Errors
    /// The errors of the system call.
    pub(crate) fn into_blocking(self) -> io::Result<Stream> {
        let tcp = |stream: TcpStream| {
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            Ok::<_, io::Error>(stream)
        };
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(tcp(stream)?),
            Self::Unix(stream) => {
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                Stream::Unix(stream)
            }
            Self::Tls(stream) => {
                let (stream, session) = stream.into_inner();
                Stream::Tls(Box::new(rustls::StreamOwned::new(session, tcp(stream)?)))
            }
        })
    }
}

async fn dial_tcp(name: &str, ip: Option<std::net::IpAddr>, port: u16) -> io::Result<TcpStream> {
    let address = match ip {
        Some(ip) => (ip, port).into(),
        None => *addresses(name, port).await?.first().ok_or(io::ErrorKind::NotFound)?,
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    // As in libpq, so that the loss of the server or the network is detected eventually.
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

/// Requests TLS and returns true if the server accepts. Reads exactly one byte, because the following bytes are part of the handshake.
async fn request_tls(stream: &mut TcpStream) -> io::Result<bool> {
    let mut request = BytesMut::new();
    write::ssl_request(&mut request);
    stream.write_all(&request).await?;
    Ok(stream.read_u8().await? == TLS_ACCEPTED)
}

/// The connection that is passed to tokio-postgres. If TLS is used, it is already established.
pub(crate) struct Wire {
    bytes: Box<dyn ByteStream>,
    binding: Option<Vec<u8>>,
}

impl Wire {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { binding: transport.channel_binding(), bytes: transport.into_bytes() }
    }
}

/// The TLS step for tokio-postgres. It does nothing, because TLS is already established.
pub(crate) struct Encrypted;

impl TlsConnect<Wire> for Encrypted {
    type Stream = Wire;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Wire, Self::Error>>;

    fn connect(self, stream: Wire) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        self.binding.clone().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}

/// Copies bytes between a transport and a [`Wire`], until the transport is taken back. This allows tokio-postgres to open a session and set
/// it up on a socket that is then passed to a worker.
pub(crate) struct Relay {
    stop: oneshot::Sender<()>,
    task: JoinHandle<(Transport, io::Result<()>)>,
}

impl Relay {
    /// Starts copying on the current runtime.
    pub(crate) fn start(transport: Transport) -> (Wire, Self) {
        let (near, far) = duplex(limits::IN_PROCESS_BUFFER_BYTES);
        let wire = Wire { binding: transport.channel_binding(), bytes: Box::new(near) };
        let (stop, stopped) = oneshot::channel();
        (wire, Self { stop, task: tokio::spawn(relay(transport, far, stopped)) })
    }

    /// Stops copying and returns the transport. The client must not be waiting for a response, because parts of it could be lost. It cannot
    /// send anything afterwards.
    ///
    /// # Errors
    /// The error by which the connection broke.
    pub(crate) async fn take_back(self) -> io::Result<Transport> {
        // The task may have ended already.
        let _ = self.stop.send(());
        let (transport, copied) = self.task.await.map_err(io::Error::other)?;
        copied?;
        Ok(transport)
    }
}

async fn relay(
    mut transport: Transport,
    mut far: DuplexStream,
    stop: oneshot::Receiver<()>,
) -> (Transport, io::Result<()>) {
    let copying = async {
        match &mut transport {
            Transport::Tcp(stream) => copy_bidirectional(stream, &mut far).await,
            Transport::Unix(stream) => copy_bidirectional(stream, &mut far).await,
            Transport::Tls(stream) => copy_bidirectional(stream, &mut far).await,
        }
    };
    let copied = tokio::select! {
        // The transport was taken back, or the relay was dropped.
        biased;
        _ = stop => Ok(()),
        copied = copying => copied.map(drop),
    };
    (transport, copied)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn no_bytes_are_sent_on_a_transport_after_it_was_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        let (mut server, _) = accepted.unwrap();
        let (mut wire, relay) = Relay::start(Transport::Unix(stream.unwrap()));
        wire.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
        server.write_all(b"world").await.unwrap();
        wire.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"world");

        let transport = relay.take_back().await.unwrap();
        assert!(wire.write_all(b"terminate").await.is_err());
        drop(wire);
        let Transport::Unix(mut stream) = transport else { panic!("it was a unix socket") };
        stream.write_all(b"again").await.unwrap();
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"again");
    }
}
