//! How an agent knows its coordinator and is known by it, and that nobody else reads along: by a join string, by certificates of an own
//! authority, or not at all, on one machine or where somebody typed `--insecure`.

mod pin;
pub mod pki;

use std::sync::Arc;

use muster_common::join_string::{JoinString, Secret};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::Coordinator;
use pin::Pinned;
use pki::{Pki, PkiError};

/// The protocol inside of TLS, as HTTP/2 asks for it.
pub const ALPN: &[u8] = b"h2";

#[derive(Debug, Clone)]
pub enum Security {
    /// In clear, and anybody's.
    None,
    Tls(Tls),
}

#[derive(Debug, Clone)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// Shown to a coordinator that has proved who it is.
    pub(crate) secret: Option<Secret>,
}

impl Security {
    /// The coordinator is the one with the pinned certificate, whatever its address.
    pub fn joined(join: &JoinString) -> Self {
        let provider = pki::provider();
        let verifier = Pinned { pin: join.pin, algorithms: provider.signature_verification_algorithms };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Self::Tls(Tls { config: with_alpn(config), secret: Some(join.secret.clone()) })
    }

    /// The coordinator has a certificate for its name, and so has the agent, of one authority.
    ///
    /// # Errors
    /// When key and certificate do not belong together.
    pub fn certified(pki: Pki) -> Result<Self, PkiError> {
        let Pki { chain, key, roots, certificate } = pki;
        let config = ClientConfig::builder_with_provider(pki::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|problem| PkiError::Certificate { path: certificate, problem })?;
        Ok(Self::Tls(Tls { config: with_alpn(config), secret: None }))
    }
}

impl Tls {
    /// The name that the coordinator's certificate must have; no one asks for it where the certificate is pinned.
    pub(crate) fn server_name(&self, coordinator: &Coordinator) -> std::io::Result<ServerName<'static>> {
        let name = if self.secret.is_some() { "muster" } else { coordinator.bare_host() };
        ServerName::try_from(name.to_owned())
            .map_err(|_| std::io::Error::other(format!("'{name}' is no name that a certificate could have")))
    }
}

fn with_alpn(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}
