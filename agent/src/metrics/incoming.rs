//! Connections to the port of `--metrics`, so many at a time: others wait in the kernel's queue, and cost this process nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{Stream, unfold};
use muster_common::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

/// One of the connections that there is room for.
pub(super) struct Admitted {
    stream: TcpStream,
    _room: OwnedSemaphorePermit,
}

/// Never ends, and never with an error.
pub(super) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Admitted>> {
    let room = Arc::new(Semaphore::new(limits::METRICS_CONNECTIONS_MAX));
    unfold((listener, room), |(listener, room)| async {
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        let admitted = Admitted { stream: accept(&listener).await, _room: permit };
        Some((Ok(admitted), (listener, room)))
    })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small, and a probe waits for them. Without it they come all the same.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(problem) => {
                tracing::debug!("a connection for metrics was not accepted: {problem}");
                tokio::time::sleep(limits::METRICS_ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Connected for Admitted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
