//! One HTTP/2 connection to the coordinator.

use std::time::Duration;

use muster_common::limits;
use muster_proto::v1::muster_client::MusterClient;
use tonic::transport::{Channel, Endpoint};

use crate::config::Coordinator;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the idle timeouts of common NATs and load balancers.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);

pub(crate) async fn dial(
    coordinator: &Coordinator,
) -> Result<MusterClient<Channel>, tonic::transport::Error> {
    let channel = Endpoint::from_shared(format!("http://{coordinator}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(limits::FENCE)
        .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES)
        .connect()
        .await?;
    Ok(MusterClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX))
}
