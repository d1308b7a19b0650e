//! Authentication and encryption between an agent and its coordinator: with a join string, with certificates of a private CA, or none,
//! which is allowed on one machine or with `--insecure`.

mod pin;
pub mod pki;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::join_string::{JoinString, Secret};

use pin::Pinned;
use pki::{Pki, PkiError};

/// The ALPN protocol id of HTTP/2.
pub const ALPN: &[u8] = b"h2";

#[derive(Debug, Clone)]
pub enum Security {
    /// Neither encrypted nor authenticated.
    None,
    Tls(Tls),
}

#[derive(Debug, Clone)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    /// The secret of the join string, sent after the coordinator's certificate was verified. `None` with certificates of a private CA.
    pub secret: Option<Secret>,
}

impl Security {
    /// Authenticates the coordinator by its pinned certificate, at any address, and the agent by the join string's secret.
    pub fn from_join_string(join: &JoinString) -> Self {
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

    /// Mutual TLS: coordinator and agent each have a certificate of one CA, and the coordinator's certificate contains its host name.
    ///
    /// # Errors
    /// When the private key does not match the certificate.
    pub fn mutual_tls(pki: Pki) -> Result<Self, PkiError> {
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
    /// Returns the name that the certificate of the coordinator on `host` must contain. A pinned certificate is accepted with any name.
    ///
    /// # Errors
    /// When `host` is not a name that a certificate can contain.
    pub fn server_name(&self, host: &str) -> std::io::Result<ServerName<'static>> {
        let name = if self.secret.is_some() { "muster" } else { host };
        ServerName::try_from(name.to_owned())
            .map_err(|_| std::io::Error::other(format!("'{name}' is not a valid server name for TLS")))
    }
}

fn with_alpn(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}
