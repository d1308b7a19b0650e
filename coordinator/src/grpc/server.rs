//! The listening side: binds, accepts, and starts the tasks of each stream.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use muster_agent::listen::{self, AcceptProblem, Accepted, Terms};
use muster_common::limits;
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
use super::guard::Guard;
use super::in_process::{Arrivals, no_agents};
use super::visitor::{Origin, Visit, Visitor};
use super::{control, tls, work};
use crate::run::{Desk, Handover};

/// A bound port, or agents of this process, or both; no connection is served yet. `I` has the connections that come in by the port.
pub(crate) struct Listener<I> {
    incoming: I,
    /// `None` where no port is open.
    address: Option<SocketAddr>,
    in_process: Arrivals,
    access: Access,
    problem: AcceptProblem,
}

impl Listener<Pending<io::Result<TcpStream>>> {
    /// No port at all.
    pub(crate) fn without_port() -> Self {
        Self::of(tokio_stream::pending(), None, Access::InClear, AcceptProblem::default())
    }
}

type Boxed<C> = Pin<Box<dyn Stream<Item = io::Result<C>> + Send>>;

impl Listener<Boxed<Accepted>> {
    /// A connection by which no agent joins within `patience` is closed.
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
    let terms = Terms {
        connections: limits::STRANGERS_MAX,
        accepts_per_second: limits::STRANGERS_PER_SECOND,
        patience,
        bytes: limits::ADMISSION_BYTES_MAX,
        bytes_per_second: 0,
    };
    Ok((listen::accept(listener, terms, problem.clone()), address, problem))
}

impl<I> Listener<I> {
    fn of(incoming: I, address: Option<SocketAddr>, access: Access, problem: AcceptProblem) -> Self {
        Self { incoming, address, in_process: no_agents(), access, problem }
    }

    /// Connections of a test's network.
    #[cfg(test)]
    pub(crate) fn in_clear(incoming: I, address: SocketAddr) -> Self {
        Self::of(incoming, Some(address), Access::InClear, AcceptProblem::default())
    }

    /// Agents inside this process join as well.
    pub(crate) fn with_in_process(self, in_process: Arrivals) -> Self {
        Self { in_process, ..self }
    }

    /// What an agent of another machine has to be told to come in; nothing on this one.
    pub(crate) fn options(&self) -> &'static str {
        match self.access {
            Access::InClear if self.address.is_none_or(|address| address.ip().is_loopback()) => "",
            _ => self.access.options(),
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Why connections cannot be accepted at the moment.
    pub(crate) fn problem(&self) -> AcceptProblem {
        self.problem.clone()
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
    pub(crate) fn start<I: Incoming>(listener: Listener<I>, desk: Desk, handover: Handover) -> Self {
        let stop = CancellationToken::new();
        let sessions = TaskTracker::new();
        let edge = Edge { desk, handover, sessions: sessions.clone() };
        let service = MusterServer::new(edge)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let visit = |stream: I::Connection| {
            let visit = Visit::of(&stream.connect_info());
            Visitor::new(Either::Left(stream), visit)
        };
        let by_port = listener.incoming.map(move |came| came.map(visit));
        let in_process = listener.in_process;
        let in_process =
            in_process.map(|stream| Ok(Visitor::new(Either::Right(stream), Visit::in_process())));
        let visitors = by_port.merge(in_process);
        let serving = listen::server()
            .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES)
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
        let visit: Visit = request
            .extensions()
            .get()
            .cloned()
            .ok_or_else(|| Status::internal("a connection from nowhere"))?;
        let (sender, receiver) = mpsc::channel(limits::SESSION_QUEUE_MAX);
        // A task of its own: this handler is dropped with its stream, and a slot that was granted meanwhile would be nobody's.
        let serving = control::serve(request.into_inner(), visit, sender, self.desk.clone(), self.handover);
        self.sessions.spawn(serving);
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
