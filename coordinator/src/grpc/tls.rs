//! Connections that come in encrypted. The handshake is done here and not by tonic, so that it is bounded in time and number. All handshakes
//! are one task's, so however many there are, they take no more than one processor.

use std::io;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use muster_agent::listen::Accepted;
use muster_common::limits;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// Connections whose handshake is done.
pub(super) fn encrypted(
    accepted: impl Stream<Item = Accepted>,
    config: Arc<ServerConfig>,
) -> impl Stream<Item = io::Result<TlsStream<Accepted>>> {
    let acceptor = TlsAcceptor::from(config);
    accepted
        .map(move |stream| shake_hands(stream, acceptor.clone()))
        // One more than there can be: the loop that closes the oldest for the next one is not asked otherwise.
        .buffer_unordered(limits::STRANGERS_MAX + 1)
        .filter_map(|shaken| std::future::ready(shaken.map(Ok)))
}

/// The connection itself ends when it takes too long.
async fn shake_hands(stream: Accepted, acceptor: TlsAcceptor) -> Option<TlsStream<Accepted>> {
    let peer = stream.peer();
    match acceptor.accept(stream).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            // An agent says the cause on its side.
            debug!("{peer:?} was not let in: {error}");
            None
        }
    }
}
