//! Determines whether a connection leads to the server itself or to a connection pooler in front of it. A server's cancel key contains the
//! process id of the backend, and a pooler's does not. Behind a pooler the session may be shared with other clients, so nothing may be left
//! in it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Client, SimpleQueryMessage, SimpleQueryRow};

/// The program at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The session belongs to this connection alone.
    Server(Backend),
    /// Each transaction may use another session, and other clients use these sessions too.
    Pooler,
}

/// One backend of a server. Its start time distinguishes it from a later backend with the same process id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub(crate) process: i32,
    /// The start time of the backend. `None` if the server does not show it.
    pub(crate) started: Option<String>,
}

/// A pooler tracks the application name: it sets the name on the server connection with the first query and leaves it there. Therefore the
/// name is reset in the same transaction. On a connection without a pooler the reset changes nothing.
const RESET_NAME: &str = "RESET application_name";
const OWN_PROCESS: &str = "SELECT pg_catalog.pg_backend_pid()";
const OWN_BACKEND: &str = "SELECT pg_catalog.pg_backend_pid(), (SELECT extract(epoch FROM backend_start) \
                           FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()))";

impl Peer {
    /// Compares the process id of the backend with the one in the cancel key. Leaves nothing behind in a shared session.
    ///
    /// # Errors
    /// When the query fails.
    pub(crate) async fn identify(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let (process, started) = match own_backend(client, OWN_BACKEND).await {
            // The server may refuse to show when the backend started.
            Err(error) if error.as_db_error().is_some() => own_backend(client, OWN_PROCESS).await?,
            answer => answer?,
        };
        let key = key_process(&client.cancel_token()).await;
        Ok(match (key, process) {
            (Some(key), Some(process)) if key != process => Self::Pooler,
            (key, process) => Self::Server(Backend { process: process.or(key).unwrap_or_default(), started }),
        })
    }

    pub(crate) fn is_pooler(&self) -> bool {
        *self == Self::Pooler
    }
}

async fn own_backend(
    client: &Client,
    query: &str,
) -> Result<(Option<i32>, Option<String>), tokio_postgres::Error> {
    let messages = client.simple_query(&format!("{query}; {RESET_NAME}")).await?;
    let row = first_row(&messages);
    let process = row.and_then(|row| row.try_get(0).ok().flatten()).and_then(|process| process.parse().ok());
    let started = row.and_then(|row| row.try_get(1).ok().flatten()).map(str::to_owned);
    Ok((process, started))
}

/// Returns the first row of a result.
pub(crate) fn first_row(messages: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// Returns the process id in a cancel key. tokio-postgres does not expose it, so it is read from the cancel request, which is written to
/// memory and not sent.
async fn key_process(token: &CancelToken) -> Option<i32> {
    let mut request = Request::default();
    token.cancel_query_raw(&mut request, Plain).await.ok()?;
    request.process()
}

/// Collects the request that would be sent, and accepts TLS.
#[derive(Debug, Default)]
struct Request(Vec<u8>);

/// A TLS step that does nothing, because nothing is sent over a network.
struct Plain;

/// The size of a cancel request: length, code, process id and secret. A TLS request may precede it.
const REQUEST_BYTES: usize = 16;
const PROCESS_AT: usize = 8;
const CONSENT_TO_TLS: u8 = b'S';

impl Request {
    fn process(&self) -> Option<i32> {
        let request = self.0.last_chunk::<REQUEST_BYTES>()?;
        request[PROCESS_AT..].first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
    }
}

impl AsyncRead for Request {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(&[CONSENT_TO_TLS][..buffer.remaining().min(1)]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Request {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for &mut Request {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<'a> TlsConnect<&'a mut Request> for Plain {
    type Stream = &'a mut Request;
    type Error = Infallible;
    type Future = Ready<Result<Self::Stream, Infallible>>;

    fn connect(self, stream: &'a mut Request) -> Self::Future {
        ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_id_is_read_from_cancel_requests_with_and_without_tls() {
        // The bytes that tokio-postgres writes; with TLS, a TLS request comes first.
        let cancel = [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 48, 57, 1, 2, 3, 4];
        let for_tls = [0, 0, 0, 8, 4, 210, 22, 47];
        for written in [cancel.to_vec(), [&for_tls[..], &cancel].concat()] {
            assert_eq!(Request(written).process(), Some(12_345));
        }
        assert_eq!(Request(for_tls.to_vec()).process(), None);
    }
}
