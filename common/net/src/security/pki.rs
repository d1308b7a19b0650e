//! `--tls-cert`, `--tls-key` and `--tls-ca`: certificates of a private CA, used in the same way by agents and coordinator.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_process::secret_file;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The paths of the three files. Either all or none are given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PkiArgs {
    /// Certificate of this program in PEM, with its intermediate certificates; enables mutual TLS
    #[arg(long, value_name = "FILE", env = "MUSTER_TLS_CERT", requires_all = ["tls_key", "tls_ca"])]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate in PEM, without a passphrase
    #[arg(long, value_name = "FILE", env = "MUSTER_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// CA certificates in PEM; the certificate of the other side must be issued by one of them
    #[arg(long, value_name = "FILE", env = "MUSTER_TLS_CA", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
}

/// The contents of the files.
#[derive(Debug)]
pub struct Pki {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub roots: RootCertStore,
    /// The file of the chain, for error messages.
    pub certificate: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{option} '{}' cannot be used: {problem}", path.display())]
    File { option: &'static str, path: PathBuf, problem: String },
    #[error("--tls-cert '{}' and --tls-key do not go together: {problem}; give the private key of this certificate", path.display())]
    Certificate { path: PathBuf, problem: rustls::Error },
}

impl PkiArgs {
    /// Reads the files. Returns `None` if none of the options are given.
    ///
    /// # Errors
    /// When a file cannot be read or does not contain a certificate or key.
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
    if found.is_empty() {
        Err(unusable(option, path, "the file contains no PEM certificate"))
    } else {
        Ok(found)
    }
}

fn unusable(option: &'static str, path: &Path, problem: impl fmt::Display) -> PkiError {
    PkiError::File { option, path: path.to_owned(), problem: problem.to_string() }
}

/// Returns the provider explicitly. The process-wide default would depend on which library installs one first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
