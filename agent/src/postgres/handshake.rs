//! The TLS handshake of one connection attempt, and whether it was begun. tokio-postgres tells the stages of an attempt apart only in
//! the text of its errors, and whether `prefer` should be tried again without TLS depends on them. The handshake itself is unchanged;
//! what comes of it is lent to tokio-postgres.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Host};
use super::lent::{Lent, Loan, lend};
use super::socket::Socket;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The socket is open; no TLS, or not yet.
    Open,
    /// The server agreed to TLS. Ahead of the handshake's end, which later errors tell by their kind.
    Encrypting,
}

type Inner = <MakeRustlsConnect as MakeTlsConnect<Lent<Socket>>>::TlsConnect;

pub(super) type Stream = Lent<<MakeRustlsConnect as MakeTlsConnect<Lent<Socket>>>::Stream>;

pub(super) struct Handshake {
    inner: Inner,
    noted: Noted,
}

/// How far the attempt came.
#[derive(Clone, Default)]
pub(super) struct Noted {
    is_encrypting: Arc<AtomicBool>,
    encrypted: Arc<Mutex<Option<Box<dyn Loan>>>>,
}

impl Noted {
    pub(super) fn stage(&self) -> Stage {
        if self.is_encrypting.load(Ordering::Relaxed) { Stage::Encrypting } else { Stage::Open }
    }

    /// The stream in TLS; `None` when there is none.
    pub(super) fn encrypted(&self) -> Option<Box<dyn Loan>> {
        self.encrypted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Handshake {
    pub(super) fn new(connector: &MakeRustlsConnect, address: &Address) -> Self {
        // The name that a certificate must have; nobody asks for TLS on a unix socket.
        let name = match &address.host {
            Host::Tcp { name, .. } => name,
            Host::Unix(_) => "",
        };
        let made = MakeTlsConnect::<Lent<Socket>>::make_tls_connect(&mut connector.clone(), name);
        let Ok(inner) = made;
        Self { inner, noted: Noted::default() }
    }

    pub(super) fn noted(&self) -> Noted {
        self.noted.clone()
    }
}

impl TlsConnect<Lent<Socket>> for Handshake {
    type Stream = Stream;
    type Error = <Inner as TlsConnect<Lent<Socket>>>::Error;
    type Future = BoxFuture<'static, Result<Self::Stream, Self::Error>>;

    fn connect(self, socket: Lent<Socket>) -> Self::Future {
        let Self { inner, noted } = self;
        noted.is_encrypting.store(true, Ordering::Relaxed);
        Box::pin(async move {
            let (stream, loan) = lend(inner.connect(socket).await?);
            *noted.encrypted.lock().unwrap_or_else(PoisonError::into_inner) = Some(loan);
            Ok(stream)
        })
    }
}
