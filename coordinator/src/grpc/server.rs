//! The listening side: binds, accepts, and starts the tasks of each stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_common::limits;
use muster_proto::v1;
use muster_proto::v1::muster_server::{Muster, MusterServer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::InterceptorLayer;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use super::guard::Guard;
use super::tls::Encrypted;
use super::visitor::{Origin, Visit, Visitor};
use super::{control, tls, work};
use crate::run::Desk;

const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);

/// A bound port on which nobody is served yet. `I` has the connections that come in.
pub(crate) struct Listener<I> {
    incoming: I,
    address: SocketAddr,
    access: Access,
    patience: Duration,
}

impl Listener<TcpIncoming> {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        // serve_with_incoming does not set nodelay.
        Ok(Self::in_clear(TcpIncoming::from(listener).with_nodelay(Some(true)), address))
    }
}

impl Listener<Encrypted> {
    pub(crate) async fn bind_encrypted(
        address: SocketAddr,
        config: Arc<ServerConfig>,
        access: Access,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (incoming, patience) = (tls::incoming(listener, config), limits::ADMISSION_TIMEOUT);
        Ok(Self { incoming, address, access, patience })
    }
}

impl<I> Listener<I> {
    pub(crate) fn in_clear(incoming: I, address: SocketAddr) -> Self {
        Self { incoming, address, access: Access::InClear, patience: limits::ADMISSION_TIMEOUT }
    }

    /// Whoever is not an agent of the run so long after it came has to leave.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What an agent of another machine has to be told to come in; nothing on this one.
    pub(crate) fn options(&self) -> &'static str {
        match self.access {
            Access::InClear if self.address.ip().is_loopback() => "",
            _ => self.access.options(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Connections that come in: of a port, or of a test's network.
pub(crate) trait Incoming: Stream<Item = io::Result<Self::Connection>> + Send + 'static {
    type Connection: AsyncRead + AsyncWrite + Connected<ConnectInfo: Origin> + Unpin + Send + 'static;
}

impl<I, C> Incoming for I
where
    I: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected<ConnectInfo: Origin> + Unpin + Send + 'static,
{
    type Connection = C;
}

/// The running server.
pub(crate) struct Server {
    stop: CancellationToken,
    sessions: TaskTracker,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    pub(crate) fn start<I: Incoming>(listener: Listener<I>, desk: Desk) -> Self {
        let stop = CancellationToken::new();
        let sessions = TaskTracker::new();
        let edge = Edge { desk, sessions: sessions.clone() };
        let service = MusterServer::new(edge)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let patience = listener.patience;
        let visitors = listener.incoming.map(move |came| came.map(|stream| Visitor::new(stream, patience)));
        let serving = tonic::transport::Server::builder()
            .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
            .http2_keepalive_timeout(Some(limits::FENCE))
            .layer(InterceptorLayer::new(Guard::new(listener.access.identity())))
            .add_service(service)
            .serve_with_incoming_shutdown(visitors, stop.clone().cancelled_owned());
        Self { stop, sessions, task: tokio::spawn(serving) }
    }

    /// Takes no more connections and waits for the sessions, whose tokens are cancelled by now, at most [`limits::FAREWELL_TIMEOUT`].
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.sessions.close();
        let _ = timeout(limits::FAREWELL_TIMEOUT, self.sessions.wait()).await;
        // An agent that keeps its connection open must not keep the coordinator.
        self.task.abort();
    }
}

struct Edge {
    desk: Desk,
    sessions: TaskTracker,
}

#[tonic::async_trait]
impl Muster for Edge {
    type ControlStream = ReceiverStream<Result<v1::CoordinatorControl, Status>>;
    type WorkStream = ReceiverStream<Result<v1::CoordinatorWork, Status>>;

    async fn control(
        &self,
        request: Request<Streaming<v1::AgentControl>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let visit: Visit = request
            .extensions()
            .get()
            .cloned()
            .ok_or_else(|| Status::internal("a connection from nowhere"))?;
        let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        // A task of its own: this handler is dropped with its stream, and a slot that was granted meanwhile would be nobody's.
        self.sessions.spawn(control::serve(request.into_inner(), visit, sender, self.desk.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn work(
        &self,
        request: Request<Streaming<v1::AgentWork>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let opened = work::open(request.into_inner(), &self.desk).await?;
        opened.spawn(&self.sessions, sender, &self.desk);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
