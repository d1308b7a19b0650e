//! One HTTP/2 connection to the coordinator.

use std::io;
use std::task::{self, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use muster_common::limits;
use muster_proto::v1::muster_client::MusterClient;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::config::Coordinator;
use crate::surroundings::{ByteStream, Connect, Network};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the idle timeouts of common NATs and load balancers.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);

pub(crate) async fn dial(
    coordinator: &Coordinator,
    network: &Network,
) -> Result<MusterClient<Channel>, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{coordinator}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(limits::FENCE)
        .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES);
    let channel = match network {
        Network::Tcp => endpoint.connect().await?,
        Network::Other(connect) => {
            let connector = Connector { coordinator: coordinator.clone(), connect: connect.clone() };
            endpoint.connect_with_connector(connector).await?
        }
    };
    Ok(MusterClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX))
}

/// [`Connect`] as tonic wants it.
struct Connector {
    coordinator: Coordinator,
    connect: Connect,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn ByteStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = (self.connect)(&self.coordinator);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}
