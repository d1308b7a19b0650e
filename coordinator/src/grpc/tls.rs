//! Accepts TLS connections. The handshake is done here and not by tonic, so that its duration and the number of handshakes are bounded. All
//! handshakes run in one task, so together they use at most one processor.

use std::io;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use muster_core::limits;
use muster_net::listen::Accepted;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// Returns the connections whose handshake succeeded.
pub(super) fn encrypted(
    accepted: impl Stream<Item = Accepted>,
    config: Arc<ServerConfig>,
) -> impl Stream<Item = io::Result<TlsStream<Accepted>>> {
    let acceptor = TlsAcceptor::from(config);
    accepted
        .map(move |stream| shake_hands(stream, acceptor.clone()))
        // One more than the maximum number of connections: otherwise the accept loop, which closes the oldest connection to make room for
        // the next one, would not be polled.
        .buffer_unordered(limits::UNAUTHENTICATED_CONNECTIONS_MAX + 1)
        .filter_map(|stream| std::future::ready(stream.map(Ok)))
}

/// Needs no timeout: the connection fails when the handshake takes too long.
async fn shake_hands(stream: Accepted, acceptor: TlsAcceptor) -> Option<TlsStream<Accepted>> {
    let peer = stream.peer();
    match acceptor.accept(stream).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            // The agent reports the cause.
            debug!("TLS handshake with {peer:?} failed: {error}");
            None
        }
    }
}
