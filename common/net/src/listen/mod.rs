//! Servers that unauthenticated peers can reach: one accept loop, one set of limits per connection and one set of HTTP/2 settings, for
//! every listener of both programs. The services are defined elsewhere.

mod accept;
mod bounded;

use muster_core::limits;
use tonic::transport::Server;

pub use accept::{AcceptLimits, AcceptProblem, Accepted, accept};
pub use bounded::{Bounded, ConnectionLimits, Peer};

/// Returns a server with limits on streams, headers, resets and buffers of each connection. By default tonic does not limit streams.
pub fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .http2_max_header_list_size(limits::HTTP2_HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(limits::HTTP2_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(limits::HTTP2_RESETS_MAX))
        .initial_stream_window_size(limits::HTTP2_WINDOW_BYTES_SMALL)
        .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES_SMALL)
        .http2_keepalive_interval(Some(limits::KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(limits::FENCE))
}
