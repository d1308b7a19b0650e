//! How far a connection attempt came. tokio-postgres tells stages apart only in the text of its errors, and whether
//! `prefer` should be tried again without TLS depends on them; so the connector notes when it is called. It changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The host is being resolved or dialled.
    Dialling,
    /// The socket is open; no TLS, or not yet.
    Open,
    /// The server agreed to TLS. Ahead of the handshake's end, which later errors tell by their kind.
    Encrypting,
}

#[derive(Clone)]
pub(super) struct NotingConnector {
    inner: MakeRustlsConnect,
    stage: Arc<AtomicU8>,
}

impl NotingConnector {
    pub(super) fn new(inner: MakeRustlsConnect) -> Self {
        Self { inner, stage: Arc::default() }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Dialling,
            1 => Stage::Open,
            _ => Stage::Encrypting,
        }
    }
}

type Inner = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

pub(super) type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

pub(super) struct NotingConnect {
    inner: Inner,
    stage: Arc<AtomicU8>,
}

impl MakeTlsConnect<Socket> for NotingConnector {
    type Stream = Stream;
    type TlsConnect = NotingConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<NotingConnect, Self::Error> {
        let inner = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.inner, domain)?;
        self.stage.store(1, Ordering::Relaxed);
        Ok(NotingConnect { inner, stage: Arc::clone(&self.stage) })
    }
}

impl TlsConnect<Socket> for NotingConnect {
    type Stream = Stream;
    type Error = <Inner as TlsConnect<Socket>>::Error;
    type Future = <Inner as TlsConnect<Socket>>::Future;

    fn connect(self, stream: Socket) -> Self::Future {
        self.stage.store(2, Ordering::Relaxed);
        self.inner.connect(stream)
    }
}
