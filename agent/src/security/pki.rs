//! `--tls-cert`, `--tls-key` and `--tls-ca`: certificates of an own authority, the same way for agents and coordinator.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::secret_file;

/// The three files as typed; all of them or none.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PkiArgs {
    /// This program's certificate in PEM, with those between it and the authority's; with it comes mutual TLS
    #[arg(long, value_name = "FILE", env = "MUSTER_TLS_CERT", requires_all = ["tls_key", "tls_ca"])]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key in PEM, without a passphrase
    #[arg(long, value_name = "FILE", env = "MUSTER_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Certificates in PEM of the authority that the other side's must be of
    #[arg(long, value_name = "FILE", env = "MUSTER_TLS_CA", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
}

/// What the files hold.
#[derive(Debug)]
pub struct Pki {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub roots: RootCertStore,
    /// Where the chain is from.
    pub certificate: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{option} '{}' cannot be used: {problem}", path.display())]
    File { option: &'static str, path: PathBuf, problem: String },
    #[error("--tls-cert '{}' and --tls-key do not go together: {problem}", path.display())]
    Certificate { path: PathBuf, problem: rustls::Error },
}

impl PkiArgs {
    /// `None` where nothing was typed.
    ///
    /// # Errors
    /// For a file that cannot be read, or has nothing of its kind in it.
    pub fn read(&self) -> Result<Option<Pki>, PkiError> {
        let (Some(certificate), Some(key), Some(ca)) = (&self.tls_cert, &self.tls_key, &self.tls_ca) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for root in certificates("--tls-ca", ca)? {
            roots.add(root).map_err(|problem| unusable("--tls-ca", ca, problem))?;
        }
        Ok(Some(Pki {
            chain: certificates("--tls-cert", certificate)?,
            key: private_key(key)?,
            roots,
            certificate: certificate.clone(),
        }))
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PkiError> {
    let text = secret_file::read(path).map_err(|problem| unusable("--tls-key", path, problem))?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|problem| unusable("--tls-key", path, problem))
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|problem| unusable(option, path, problem))?;
    if found.is_empty() { Err(unusable(option, path, "no PEM certificate in it")) } else { Ok(found) }
}

fn unusable(option: &'static str, path: &Path, problem: impl fmt::Display) -> PkiError {
    PkiError::File { option, path: path.to_owned(), problem: problem.to_string() }
}

/// Named rather than taken from the process, so that it does not matter who installs which, and when.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
