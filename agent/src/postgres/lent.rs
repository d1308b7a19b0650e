//! A stream that is lent to tokio-postgres and taken back: it opens a connection and sets the session up, then its part is over.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use crate::surroundings::ByteStream;

/// What tokio-postgres is given. Once the stream is taken back nothing comes any more, and what is written goes nowhere: no word of
/// a client that is dropped may end the session.
pub(super) struct Lent<S>(Shared<S>);

/// Takes the stream back.
pub(super) trait Loan: Send {
    /// `None` when it was taken before.
    fn take_back(&self) -> Option<Box<dyn ByteStream>>;
}

struct Shared<S>(Arc<Mutex<Option<S>>>);

pub(super) fn lend<S: ByteStream + 'static>(stream: S) -> (Lent<S>, Box<dyn Loan>) {
    let shared = Arc::new(Mutex::new(Some(stream)));
    (Lent(Shared(Arc::clone(&shared))), Box::new(Shared(shared)))
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Option<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: ByteStream + 'static> Loan for Shared<S> {
    fn take_back(&self) -> Option<Box<dyn ByteStream>> {
        let stream = self.lock().take();
        stream.map(|stream| Box::new(stream) as Box<dyn ByteStream>)
    }
}

impl<S: ByteStream> AsyncRead for Lent<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_read(context, buffer),
            None => Poll::Pending,
        }
    }
}

impl<S: ByteStream> AsyncWrite for Lent<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_write(context, bytes),
            None => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: ByteStream + TlsStream> TlsStream for Lent<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.lock().as_ref().map_or_else(ChannelBinding::none, TlsStream::channel_binding)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_taken_back_is_heard_and_ended_by_nobody_else() {
        let (stream, mut server) = duplex(64);
        let (mut lent, loan) = lend(stream);
        lent.write_all(b"hello").await.unwrap();
        let mut own = loan.take_back().unwrap();
        lent.write_all(b"terminate").await.unwrap();
        lent.shutdown().await.unwrap();
        drop(lent);
        assert!(loan.take_back().is_none());
        own.write_all(b", world").await.unwrap();
        let mut bytes = [0; 12];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello, world");
        server.write_all(b"!").await.unwrap();
        own.read_exact(&mut bytes[..1]).await.unwrap();
        assert_eq!(bytes[0], b'!');
    }
}
