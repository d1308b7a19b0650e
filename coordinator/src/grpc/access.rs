//! Access control for agents: unencrypted without authentication, TLS with the secret of the join string, or mutual TLS with certificates
//! of the configured certificate authority.

use std::sync::Arc;

use muster_net::security::ALPN;
use muster_net::security::pki::{Pki, PkiError, provider};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::identity::Identity;

#[derive(Clone)]
pub(crate) enum Access {
    /// Unencrypted and unauthenticated. Used for a loopback address and with `--insecure`.
    InClear,
    /// TLS, authenticated by the secret of the join string.
    Joined { identity: Arc<Identity>, config: Arc<ServerConfig>, for_browsers: Arc<ServerConfig> },
    /// Mutual TLS, authenticated by client certificates.
    Certified { config: Arc<ServerConfig>, for_browsers: Arc<ServerConfig> },
}

impl Access {
    /// # Errors
    /// The identity's key does not match its certificate.
    pub(crate) fn joined(identity: Arc<Identity>) -> Result<Self, rustls::Error> {
        let chain = || vec![identity.certificate.clone()];
        let config = builder().with_no_client_auth().with_single_cert(chain(), identity.key.clone_key())?;
        let for_browsers = for_browsers(chain(), identity.key.clone_key())?;
        Ok(Self::Joined { identity, config: with_alpn(config), for_browsers })
    }

    /// # Errors
    /// The key does not match the certificate, or there are no root certificates to verify clients with.
    pub(crate) fn certified(pki: Pki) -> Result<Self, anyhow::Error> {
        let Pki { chain, key, roots, certificate } = pki;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
        let invalid = |problem| PkiError::Certificate { path: certificate, problem };
        let for_browsers = for_browsers(chain.clone(), key.clone_key());
        let config =
            builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).map_err(invalid)?;
        Ok(Self::Certified { config: with_alpn(config), for_browsers: for_browsers? })
    }

    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        match self {
            Self::InClear => None,
            Self::Joined { config, .. } | Self::Certified { config, .. } => Some(Arc::clone(config)),
        }
    }

    /// The same certificate for the live page, without client certificates.
    pub(crate) fn for_browsers(&self) -> Option<Arc<ServerConfig>> {
        match self {
            Self::InClear => None,
            Self::Joined { for_browsers, .. } | Self::Certified { for_browsers, .. } => {
                Some(Arc::clone(for_browsers))
            }
        }
    }

    pub(super) fn identity(&self) -> Option<Arc<Identity>> {
        match self {
            Self::Joined { identity, .. } => Some(Arc::clone(identity)),
            Self::InClear | Self::Certified { .. } => None,
        }
    }

    /// The options, in addition to the address, that an agent on another machine needs.
    pub(crate) fn options(&self) -> &'static str {
        match self {
            Self::InClear => " --insecure",
            Self::Joined { .. } => " --join STRING, which `coordinator token` prints",
            Self::Certified { .. } => " --tls-cert FILE --tls-key FILE --tls-ca FILE",
        }
    }
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
}

fn for_browsers(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn with_alpn(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}
