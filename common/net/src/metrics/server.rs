//! The port of `--metrics`: `GET /metrics` over HTTP/1 or 2, and `grpc.health.v1.Health` for the service "", without encryption. Neither
//! contains secrets, so there is no authentication. The health status is SERVING until the process ends, because an agent without a run is
//! as ready as one with a run.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use futures_util::StreamExt;
use muster_core::limits;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic_health::server::health_reporter;

use super::page::Source;
use super::served;
use crate::listen::{self, AcceptLimits, AcceptProblem, accept};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The limits on clients.
const CLIENT_LIMITS: AcceptLimits = AcceptLimits {
    connections: limits::METRICS_CONNECTIONS_MAX,
    accepts_per_second: limits::METRICS_CONNECTIONS_PER_SECOND,
    timeout: limits::METRICS_CONNECTION_AGE_MAX,
    bytes: limits::METRICS_REQUEST_BYTES_FIRST,
    bytes_per_second: limits::METRICS_REQUEST_BYTES_PER_SECOND,
};

/// The server, which runs until this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _serving: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve metrics on {address}; choose another address for --metrics, or port 0 for any free port"
)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl Server {
    /// Binds the address and serves the metrics of `source`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(address: SocketAddr, source: impl Source) -> Result<Self, BindError> {
        let bind_error = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let connections = accept(listener, CLIENT_LIMITS, AcceptProblem::default()).map(Ok::<_, io::Error>);
        let serving = listen::server()
            .accept_http1(true)
            .add_routes(routes(served::registry(source)))
            .serve_with_incoming(connections);
        Ok(Self { address, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// Returns the bound address. With port 0, this is the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn routes(registry: Registry) -> Routes {
    let registry = Arc::new(registry);
    let page = move || {
        let text = served::text(&registry);
        async move { ([(CONTENT_TYPE, OPEN_METRICS)], text) }
    };
    // The reporter starts with SERVING for the service "", and this status never changes.
    let (_, health) = health_reporter();
    let health = health.max_decoding_message_size(limits::HEALTH_MESSAGE_BYTES_MAX);
    Routes::from(Router::new().route("/metrics", get(page))).add_service(health)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;
    use crate::metrics::Page;

    #[derive(Debug)]
    struct NoMetrics;

    impl Source for NoMetrics {
        fn write(&self, _: &mut Page<'_>) -> std::fmt::Result {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_is_served_and_the_oldest_is_closed() {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::start(any, NoMetrics).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..limits::METRICS_CONNECTIONS_MAX {
            idle.push(TcpStream::connect(server.address()).await.unwrap());
        }
        let mut one_more = TcpStream::connect(server.address()).await.unwrap();
        one_more.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let answered = timeout(Duration::from_secs(60), one_more.read_to_string(&mut answer)).await;
        answered.expect("the oldest connection is closed for it").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut oldest = idle.remove(0);
        let ended = timeout(Duration::from_secs(60), oldest.read_u8()).await;
        assert!(ended.expect("the oldest connection is closed").is_err());
    }
}
