//! Opens the HTTP/2 connection to the coordinator, over TLS if the agent has a join string or certificates. Host names are resolved again
//! for each attempt.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use muster_core::limits;
use muster_net::address::{Coordinator, Coordinators};
use muster_net::happy_eyeballs;
use muster_net::join_string::Secret;
use muster_net::security::{Security, Tls};
use muster_proto::v1::muster_client::MusterClient;
use rustls::CertificateError;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::codegen::{InterceptedService, Service};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::route::{Ends, Route};
use crate::runtime::{ByteStream, Network};
use crate::session_end::{SessionError, causes};

pub(crate) type Client = MusterClient<InterceptedService<Channel, Credentials>>;

/// The route of the last connection that was opened. A client whose connection ended before its first call opens another one on its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct CurrentRoute(Arc<Mutex<Route>>);

impl CurrentRoute {
    /// Must be called after the reply to a call: only then is the last connection the one that the call used.
    pub(crate) fn get(&self) -> Route {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to the first coordinator that answers. Also returns the route of the connection.
pub(crate) async fn dial(
    coordinators: &Coordinators,
    security: &Security,
    network: &Network,
) -> Result<(Client, CurrentRoute), SessionError> {
    let mut failed = Vec::new();
    for coordinator in coordinators.iter() {
        match dial_one(coordinator, security, network).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) if is_impostor(&error) => {
                return Err(SessionError::Refused { reason: IMPOSTOR.to_owned() });
            }
            Err(error) => failed.push((coordinator, error)),
        }
    }
    let is_one = failed.len() == 1;
    let causes = failed.iter().map(|(coordinator, error)| match is_one {
        true => causes(error),
        false => format!("{coordinator}: {}", causes(error)),
    });
    Err(SessionError::Unreachable { causes: causes.collect::<Vec<_>>().join("; ") })
}

async fn dial_one(
    coordinator: &Coordinator,
    security: &Security,
    network: &Network,
) -> Result<(Client, CurrentRoute), tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{coordinator}"))?
        .connect_timeout(limits::DIAL_TIMEOUT)
        .http2_keep_alive_interval(limits::KEEP_ALIVE_EVERY)
        .keep_alive_timeout(limits::FENCE)
        .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES);
    let route = CurrentRoute::default();
    let connector = Connector {
        coordinator: coordinator.clone(),
        security: security.clone(),
        network: network.clone(),
        route: route.clone(),
    };
    let channel = endpoint.connect_with_connector(connector).await?;
    let credentials = Credentials::new(security);
    let client = MusterClient::with_interceptor(channel, credentials)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    Ok((client, route))
}

const IMPOSTOR: &str = "its certificate does not match the join string, so no secret was sent to it. Either the join string belongs to \
                        another coordinator (`coordinator token` prints the right one), or another host intercepts the connection";

fn is_impostor(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        // The error inside an io::Error is not its `source()`.
        let carried = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.downcast_ref().or_else(|| carried.and_then(|carried| carried.downcast_ref()));
        if matches!(
            tls,
            Some(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        ) {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Adds the secret of the join string to each request.
#[derive(Debug, Clone)]
pub(crate) struct Credentials(Option<MetadataValue<Ascii>>);

impl Credentials {
    fn new(security: &Security) -> Self {
        let bearer = |secret: &Secret| {
            let mut value: MetadataValue<Ascii> =
                format!("Bearer {}", secret.expose()).parse().expect("base64 is ASCII");
            value.set_sensitive(true);
            value
        };
        match security {
            Security::Tls(Tls { secret: Some(secret), .. }) => Self(Some(bearer(secret))),
            Security::Tls(Tls { secret: None, .. }) | Security::None => Self(None),
        }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// Opens connections for tonic.
struct Connector {
    coordinator: Coordinator,
    security: Security,
    network: Network,
    route: CurrentRoute,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn ByteStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { coordinator, security, network, route } = self;
        let opening = open(coordinator.clone(), security.clone(), network.clone());
        let route = route.clone();
        Box::pin(async move {
            let (stream, current) = opening.await?;
            *route.0.lock().unwrap_or_else(PoisonError::into_inner) = current;
            Ok(stream)
        })
    }
}

async fn open(
    coordinator: Coordinator,
    security: Security,
    network: Network,
) -> io::Result<(TokioIo<Box<dyn ByteStream>>, Route)> {
    let mut route = Route::default();
    let stream: Box<dyn ByteStream> = match network {
        Network::Tcp => {
            let stream = happy_eyeballs::connect(coordinator.bare_host(), coordinator.port()).await?;
            stream.set_nodelay(true)?;
            route.ends = Some(Ends { local: stream.local_addr()?, peer: stream.peer_addr()? });
            Box::new(stream)
        }
        Network::Other(connect) => connect(&coordinator).await?,
    };
    let Security::Tls(tls) = security else {
        return Ok((TokioIo::new(stream), route));
    };
    let name = tls.server_name(coordinator.bare_host())?;
    let encrypted = TlsConnector::from(tls.config).connect(name, stream).await.map_err(not_tls)?;
    route.is_encrypted = true;
    Ok((TokioIo::new(Box::new(encrypted)), route))
}

/// Replaces the error of a peer that does not speak TLS by one with the possible causes.
fn not_tls(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|carried| carried.downcast_ref());
    if matches!(tls, Some(rustls::Error::InvalidMessage(_))) {
        return io::Error::other(
            "the peer does not speak TLS: it is a coordinator with --insecure or for local agents only, or another program",
        );
    }
    error
}
