//! Connections that come in encrypted. The handshake is done here and not by tonic, so that it is bounded in time and number: whoever
//! connects and says nothing holds up nobody.

use std::io;
use std::sync::Arc;

use muster_common::limits;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

type Accepted = io::Result<TlsStream<TcpStream>>;

/// Connections whose handshake is done.
pub(crate) type Encrypted = ReceiverStream<Accepted>;

/// Ends when what it returns is dropped.
pub(super) fn incoming(listener: TcpListener, config: Arc<ServerConfig>) -> Encrypted {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, config.into(), sender));
    ReceiverStream::new(receiver)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<Accepted>) {
    let places = Arc::new(Semaphore::new(limits::HANDSHAKES_MAX));
    loop {
        let connection = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = sender.closed() => return,
            accepted = connection => accepted,
        };
        match accepted {
            Some((place, Ok((stream, _)))) => {
                tokio::spawn(shake_hands(stream, acceptor.clone(), sender.clone(), place));
            }
            Some((_, Err(error))) => {
                // Out of descriptors, say: connections that end give some back.
                warn!("cannot accept a connection: {error}");
                sleep(limits::RETRY_FIRST).await;
            }
            None => return,
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<Accepted>,
    place: OwnedSemaphorePermit,
) {
    let peer = stream.peer_addr().map_or_else(|_| "somebody".to_owned(), |peer| peer.to_string());
    let _ = stream.set_nodelay(true);
    let shaken = timeout(limits::HELLO_TIMEOUT, acceptor.accept(stream)).await;
    drop(place);
    match shaken {
        Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
        // Whoever it was: an agent says the cause on its side.
        Ok(Err(error)) => debug!("{peer} was not let in: {error}"),
        Err(_) => debug!("{peer} began no TLS within {:?}", limits::HELLO_TIMEOUT),
    }
}
