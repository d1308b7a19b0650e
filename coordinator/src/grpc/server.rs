//! The listening side: binds the port, accepts connections, and starts the tasks of each stream.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use muster_core::limits;
use muster_net::listen::{self, AcceptLimits, AcceptProblem, Accepted};
use muster_proto::v1;
use muster_proto::v1::muster_server::{Muster, MusterServer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Pending, Stream, StreamExt};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::InterceptorLayer;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use super::admission::{AdmissionGuard, ConnectionInfo, Origin};
use super::guard::Guard;
use super::in_process::{Arrivals, no_agents};
use super::{control, tls, work};
use crate::run::{ControllerHandle, Handover};

/// Sources of connections: a bound port, agents in this process, or both. No connection is served yet. `I` is the stream of connections to
/// the port.
pub(crate) struct Listener<I> {
    incoming: I,
    /// `None` if no port is open.
    address: Option<SocketAddr>,
    in_process: Arrivals,
    access: Access,
    problem: AcceptProblem,
}

impl Listener<Pending<io::Result<TcpStream>>> {
    /// Returns a listener without a port.
    pub(crate) fn without_port() -> Self {
        Self::of(tokio_stream::pending(), None, Access::InClear, AcceptProblem::default())
    }
}

type Boxed<C> = Pin<Box<dyn Stream<Item = io::Result<C>> + Send>>;

impl Listener<Boxed<Accepted>> {
    /// A connection on which no agent joins within `patience` is closed.
    pub(crate) async fn bind(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let (accepted, address, problem) = accept(address, patience).await?;
        let incoming: Boxed<Accepted> = Box::pin(accepted.map(Ok));
        Ok(Self::of(incoming, Some(address), Access::InClear, problem))
    }
}

impl Listener<Boxed<TlsStream<Accepted>>> {
    pub(crate) async fn bind_encrypted(
        address: SocketAddr,
        patience: Duration,
        config: Arc<ServerConfig>,
        access: Access,
    ) -> io::Result<Self> {
        let (accepted, address, problem) = accept(address, patience).await?;
        let incoming: Boxed<TlsStream<Accepted>> = Box::pin(tls::encrypted(accepted, config));
        Ok(Self::of(incoming, Some(address), access, problem))
    }
}

async fn accept(
    address: SocketAddr,
    patience: Duration,
) -> io::Result<(impl Stream<Item = Accepted> + Send, SocketAddr, AcceptProblem)> {
    let listener = TcpListener::bind(address).await?;
    let (address, problem) = (listener.local_addr()?, AcceptProblem::default());
    let accept_limits = AcceptLimits {
        connections: limits::UNAUTHENTICATED_CONNECTIONS_MAX,
        accepts_per_second: limits::UNAUTHENTICATED_CONNECTIONS_PER_SECOND,
        timeout: patience,
        bytes: limits::ADMISSION_BYTES_MAX,
        bytes_per_second: 0,
    };
    Ok((listen::accept(listener, accept_limits, problem.clone()), address, problem))
}

impl<I> Listener<I> {
    fn of(incoming: I, address: Option<SocketAddr>, access: Access, problem: AcceptProblem) -> Self {
        Self { incoming, address, in_process: no_agents(), access, problem }
    }

    /// Accepts the connections of a test's network.
    #[cfg(test)]
    pub(crate) fn in_clear(incoming: I, address: SocketAddr) -> Self {
        Self::of(incoming, Some(address), Access::InClear, AcceptProblem::default())
    }

    /// Adds the connections of agents inside this process.
    pub(crate) fn with_in_process(self, in_process: Arrivals) -> Self {
        Self { in_process, ..self }
    }

    /// The options, in addition to the address, that an agent needs to join. Empty without a port and for an unencrypted loopback address.
    pub(crate) fn options(&self) -> &'static str {
        match self.access {
            Access::InClear if self.address.is_none_or(|address| address.ip().is_loopback()) => "",
            _ => self.access.options(),
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The reason why connections cannot be accepted at the moment.
    pub(crate) fn problem(&self) -> AcceptProblem {
        self.problem.clone()
    }
}

/// Incoming connections, from a port or from a test's network.
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
    pub(crate) fn start<I: Incoming>(
        listener: Listener<I>,
        controller: ControllerHandle,
        handover: Handover,
    ) -> Self {
        let stop = CancellationToken::new();
        let sessions = TaskTracker::new();
        let edge = Edge { controller, handover, sessions: sessions.clone() };
        let service = MusterServer::new(edge)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let connection = |stream: I::Connection| {
            let connection = ConnectionInfo::of(&stream.connect_info());
            AdmissionGuard::new(Either::Left(stream), connection)
        };
        let from_port = listener.incoming.map(move |accepted| accepted.map(connection));
        let in_process = listener.in_process;
        let in_process = in_process
            .map(|stream| Ok(AdmissionGuard::new(Either::Right(stream), ConnectionInfo::in_process())));
        let connections = from_port.merge(in_process);
        let serving = listen::server()
            .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES)
            .layer(InterceptorLayer::new(Guard::new(listener.access.identity())))
            .add_service(service)
            .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
        Self { stop, sessions, task: tokio::spawn(serving) }
    }

    /// Stops accepting connections and waits for the sessions to end, for at most [`limits::SHUTDOWN_TIMEOUT`]. Their cancellation tokens
    /// must already be cancelled.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.sessions.close();
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, self.sessions.wait()).await;
        // An agent that keeps its connection open must not delay the coordinator's exit.
        self.task.abort();
    }
}

struct Edge {
    controller: ControllerHandle,
    handover: Handover,
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
        let connection: ConnectionInfo = request
            .extensions()
            .get()
            .cloned()
            .ok_or_else(|| Status::internal("the connection has no address information"))?;
        let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        // A separate task, because this handler is dropped with its stream: a slot granted at that moment would have no session to release
        // it.
        let serving =
            control::serve(request.into_inner(), connection, sender, self.controller.clone(), self.handover);
        self.sessions.spawn(serving);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn work(
        &self,
        request: Request<Streaming<v1::AgentWork>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        let opened = work::open(request.into_inner(), &self.controller).await?;
        opened.spawn(&self.sessions, sender, &self.controller);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
