//! The TLS handshake of one connection attempt, and whether it was begun. tokio-postgres tells the stages of an attempt apart only in
//! the text of its errors, and whether `prefer` should be tried again without TLS depends on them. The handshake itself is unchanged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Host};
use super::socket::Socket;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The socket is open; no TLS, or not yet.
    Open,
    /// The server agreed to TLS. Ahead of the handshake's end, which later errors tell by their kind.
    Encrypting,
}

type Inner = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

pub(super) type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

pub(super) struct Handshake {
    inner: Inner,
    noted: Noted,
}

/// How far the attempt came.
#[derive(Clone, Default)]
pub(super) struct Noted {
    is_encrypting: Arc<AtomicBool>,
}

impl Noted {
    pub(super) fn stage(&self) -> Stage {
        if self.is_encrypting.load(Ordering::Relaxed) { Stage::Encrypting } else { Stage::Open }
    }
}

impl Handshake {
    pub(super) fn new(connector: &MakeRustlsConnect, address: &Address) -> Self {
        // The name that a certificate must have; nobody asks for TLS on a unix socket.
        let name = match &address.host {
            Host::Tcp { name, .. } => name,
            Host::Unix(_) => "",
        };
        let made = MakeTlsConnect::<Socket>::make_tls_connect(&mut connector.clone(), name);
        let Ok(inner) = made;
        Self { inner, noted: Noted::default() }
    }

    pub(super) fn noted(&self) -> Noted {
        self.noted.clone()
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Stream;
    type Error = <Inner as TlsConnect<Socket>>::Error;
    type Future = <Inner as TlsConnect<Socket>>::Future;

    fn connect(self, socket: Socket) -> Self::Future {
        self.noted.is_encrypting.store(true, Ordering::Relaxed);
        self.inner.connect(socket)
    }
}
