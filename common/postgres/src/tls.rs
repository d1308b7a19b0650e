//! TLS to PostgreSQL with libpq's semantics of `sslmode`, `sslrootcert`, `sslcert` and `sslkey`. tokio-postgres does not support
//! `verify-ca` and `verify-full`. Files are read once, when the settings are resolved. This module does not open connections. It is
//! stricter than libpq in one point: an explicitly given root certificate file that does not exist is an error in every mode.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use tokio_postgres::config::SslMode as Negotiation;
use tokio_rustls::TlsConnector;

use crate::conninfo::Parameters;
use crate::environment::Environment;
use crate::verify::{Roots, Trust, Verifier};

/// The values of `sslmode`, from weakest to strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    const NAMES: [(&str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::NAMES.into_iter().find_map(|(name, mode)| (name == text).then_some(mode))
    }

    /// Returns the negotiations to try with one server, in this order.
    pub(crate) fn negotiations(self) -> &'static [Negotiation] {
        match self {
            Self::Disable => &[Negotiation::Disable],
            Self::Allow => &[Negotiation::Disable, Negotiation::Require],
            Self::Prefer => &[Negotiation::Prefer, Negotiation::Disable],
            Self::Require | Self::VerifyCa | Self::VerifyFull => &[Negotiation::Require],
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize].0)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    // The value is not quoted, because it may be part of a password.
    #[error("sslmode is not one of disable, allow, prefer, require, verify-ca, verify-full")]
    Mode,
    #[error(
        "sslmode={0} is too weak for sslrootcert=system, because public authorities issue certificates to anyone; use sslmode=verify-full"
    )]
    WeakForSystem(SslMode),
    #[error(
        "sslmode={mode} needs the root certificate file '{}', which does not exist; create it with the CA certificate, set \
         sslrootcert=FILE, use the system's certificates with sslrootcert=system, or weaken sslmode to require",
        path.display()
    )]
    NoRoot { mode: SslMode, path: PathBuf },
    #[error(
        "sslmode={0} needs a root certificate and there is no home directory to search; set sslrootcert=FILE or sslrootcert=system"
    )]
    NoHome(SslMode),
    #[error(
        "the system has no readable trusted root certificates; install ca-certificates, or set sslrootcert=FILE"
    )]
    NoSystemRoots,
    #[error("{what} '{}' cannot be read: {problem}", path.display())]
    File { what: &'static str, path: PathBuf, problem: String },
    #[error("other users may read the private key '{}'; run chmod 600 on it", .0.display())]
    OpenKey(PathBuf),
    #[error("client certificate '{}' has no private key '{}'; name it with sslkey=FILE", certificate.display(), key.display())]
    NoKey { certificate: PathBuf, key: PathBuf },
    #[error("the client certificate '{}' cannot be used: {source}", certificate.display())]
    Client { certificate: PathBuf, source: rustls::Error },
}

/// A mode and its TLS configuration, which can be used for any number of connections.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) mode: SslMode,
    pub(crate) connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Tls {
    /// Returns settings without TLS. Reads no files.
    pub(crate) fn disabled() -> Self {
        let connector = connector(Trust::Anyone, None, true)
            .expect("the configuration is valid without a client certificate");
        Self { mode: SslMode::Disable, connector }
    }

    pub(crate) fn resolve(given: &Parameters, environment: &Environment) -> Result<Self, TlsError> {
        let get = |name: &str| given.get(name).map_or("", |value| value.expose_secret());
        let root = get("sslrootcert");
        let mode = match get("sslmode") {
            "" if root == "system" => SslMode::VerifyFull,
            "" => SslMode::Prefer,
            text => SslMode::parse(text).ok_or(TlsError::Mode)?,
        };
        if mode == SslMode::Disable {
            return Ok(Self::disabled());
        }
        let trust = match find_roots(root, mode, environment)? {
            None => Trust::Anyone,
            Some(roots) if mode == SslMode::VerifyFull => Trust::ChainAndName(roots),
            Some(roots) => Trust::Chain(roots),
        };
        let identity = find_identity(get("sslcert"), get("sslkey"), environment)?;
        let certificate = identity.as_ref().map(|identity| identity.path.clone());
        let connector = connector(trust, identity, get("sslsni") != "0")
            .map_err(|source| TlsError::Client { certificate: certificate.unwrap_or_default(), source })?;
        Ok(Self { mode, connector })
    }
}

/// Creates the connector. The crypto provider is explicit, because the process-wide default would depend on which library installs one
/// first.
fn connector(trust: Trust, identity: Option<Identity>, sni: bool) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier { trust, algorithms: provider.signature_verification_algorithms };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key)?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = sni;
    Ok(Arc::new(config).into())
}

/// Returns the root certificates. `None` if the mode accepts any certificate.
fn find_roots(named: &str, mode: SslMode, environment: &Environment) -> Result<Option<Roots>, TlsError> {
    let must_verify = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
    if named == "system" {
        if mode != SslMode::VerifyFull {
            return Err(TlsError::WeakForSystem(mode));
        }
        let roots = to_roots(rustls_native_certs::load_native_certs().certs);
        return if roots.store.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(Some(roots)) };
    }
    let path = match named {
        "" => environment.in_home(".postgresql/root.crt"),
        named => Some(PathBuf::from(named)),
    };
    match path {
        // An existing root file is used in every mode: `require` then means `verify-ca`, as libpq documents.
        Some(path) if path.exists() => {
            let roots = to_roots(read_certificates("root certificate file", &path)?);
            if roots.store.is_empty() {
                return Err(unreadable("root certificate file", &path, "it contains no valid certificate"));
            }
            Ok(Some(roots))
        }
        Some(path) if must_verify || !named.is_empty() => Err(TlsError::NoRoot { mode, path }),
        None if must_verify => Err(TlsError::NoHome(mode)),
        _ => Ok(None),
    }
}

fn to_roots(certificates: Vec<CertificateDer<'static>>) -> Roots {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates.iter().cloned());
    Roots { store, certificates }
}

struct Identity {
    path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn find_identity(
    certificate: &str,
    key: &str,
    environment: &Environment,
) -> Result<Option<Identity>, TlsError> {
    let or_home = |named: &str, default: &str| match named {
        "" => environment.in_home(default),
        named => Some(PathBuf::from(named)),
    };
    let Some(path) = or_home(certificate, ".postgresql/postgresql.crt") else {
        return Ok(None);
    };
    if certificate.is_empty() && !path.exists() {
        return Ok(None);
    }
    let chain = read_certificates("client certificate", &path)?;
    let key_path = or_home(key, ".postgresql/postgresql.key").unwrap_or_default();
    let key = read_key(&path, &key_path)?;
    Ok(Some(Identity { path, chain, key }))
}

fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable(what, path, "the file contains no PEM certificate"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(what, path, error)),
    }
}

/// Reads the key if its permissions satisfy libpq's rule: readable by its owner only, or also by a group if root owns it.
fn read_key(certificate: &Path, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (certificate, key) = (certificate.to_owned(), path.to_owned());
            return Err(TlsError::NoKey { certificate, key });
        }
        Err(error) => return Err(unreadable("private key", path, error)),
    };
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(TlsError::OpenKey(path.to_owned()));
    }
    // A key that is encrypted with a passphrase is reported as missing.
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable("private key", path, error))
}

fn unreadable(what: &'static str, path: &Path, problem: impl fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(given: &[(&'static str, &str)], environment: &Environment) -> Result<SslMode, String> {
        let given: Parameters = given.iter().map(|(name, value)| (*name, (*value).into())).collect();
        Tls::resolve(&given, environment).map(|tls| tls.mode).map_err(|error| error.to_string())
    }

    fn check_rejected(given: &[(&'static str, &str)], expected: &str) {
        let home = tempfile::tempdir().unwrap();
        let error = resolve(given, &Environment::empty().with_home(home.path())).unwrap_err();
        assert!(error.contains(expected), "{given:?}: {error}");
    }

    #[test]
    fn the_default_mode_is_prefer_or_verify_full_with_the_systems_roots() {
        let nothing = Environment::empty();
        assert_eq!(resolve(&[], &nothing), Ok(SslMode::Prefer));
        let system = resolve(&[("sslrootcert", "system")], &nothing);
        // A machine without ca-certificates returns an error.
        assert!(
            system == Ok(SslMode::VerifyFull) || system.clone().unwrap_err().contains("ca-certificates"),
            "{system:?}"
        );
    }

    #[test]
    fn a_missing_root_is_an_error_that_names_the_file_and_the_alternatives() {
        for mode in ["verify-ca", "verify-full"] {
            check_rejected(&[("sslmode", mode)], "/.postgresql/root.crt', which does not exist");
            check_rejected(&[("sslmode", mode)], "sslrootcert=system");
        }
        check_rejected(&[("sslmode", "require"), ("sslrootcert", "/nowhere/ca.pem")], "'/nowhere/ca.pem'");
        assert!(
            resolve(&[("sslmode", "verify-ca")], &Environment::empty())
                .unwrap_err()
                .contains("home directory")
        );
    }

    #[test]
    fn weak_and_unknown_modes_are_rejected() {
        check_rejected(&[("sslmode", "require"), ("sslrootcert", "system")], "too weak");
        check_rejected(&[("sslmode", "REQUIRE")], "sslmode is not one of");
    }

    #[test]
    fn errors_name_files_without_a_certificate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        check_rejected(&[("sslrootcert", path)], "no PEM certificate");
        check_rejected(&[("sslcert", path)], "no PEM certificate");
        check_rejected(&[("sslcert", "/nowhere/client.crt")], "'/nowhere/client.crt'");
    }

    #[test]
    fn disable_reads_no_files() {
        assert_eq!(
            resolve(&[("sslmode", "disable"), ("sslrootcert", "/nowhere")], &Environment::empty()),
            Ok(SslMode::Disable)
        );
    }
}
