//! TLS towards PostgreSQL with libpq's meaning of `sslmode`, `sslrootcert`, `sslcert` and `sslkey`; tokio-postgres knows
//! neither `verify-ca` nor `verify-full`. Files are read once, when settings are resolved. Nothing here dials.
//! Stricter than libpq in one point: a root certificate that was named and is not there is an error in every mode.

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

use super::conninfo::Parameters;
use super::environment::Environment;
use super::verify::{Roots, Trust, Verifier};

/// In the order of their strength.
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
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }

    /// What to try with one server, in this order.
    pub(super) fn negotiations(self) -> &'static [Negotiation] {
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
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    // The value is not quoted, because it may be part of a password.
    #[error("sslmode is not one of disable, allow, prefer, require, verify-ca, verify-full")]
    Mode,
    #[error(
        "sslmode={0} is too weak for sslrootcert=system, by which anybody's certificate is good; use sslmode=verify-full"
    )]
    WeakForSystem(SslMode),
    #[error(
        "sslmode={mode} needs the root certificate file '{}', which does not exist; put the authority's certificate there, name it with sslrootcert=FILE, use the system's with sslrootcert=system, or weaken sslmode to require",
        path.display()
    )]
    NoRoot { mode: SslMode, path: PathBuf },
    #[error(
        "sslmode={0} needs a root certificate and there is no home directory to look in; set sslrootcert=FILE or sslrootcert=system"
    )]
    NoHome(SslMode),
    #[error(
        "the system has no trusted root certificates that could be read; install ca-certificates, or set sslrootcert=FILE"
    )]
    NoSystemRoots,
    #[error("{what} '{}' cannot be read: {problem}", path.display())]
    File { what: &'static str, path: PathBuf, problem: String },
    #[error("private key '{}' may be read by others; run chmod 600 on it", .0.display())]
    OpenKey(PathBuf),
    #[error("client certificate '{}' has no private key '{}'; name it with sslkey=FILE", certificate.display(), key.display())]
    NoKey { certificate: PathBuf, key: PathBuf },
    #[error("TLS cannot be set up with the client certificate '{}': {source}", certificate.display())]
    Client { certificate: PathBuf, source: rustls::Error },
}

/// A mode and what it needs, ready for any number of connections.
#[derive(Clone)]
pub struct Tls {
    pub(super) mode: SslMode,
    pub(super) connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Tls {
    /// No TLS at all, and no file read for it.
    pub fn disabled() -> Self {
        let connector = connector(Trust::Anyone, None, true)
            .expect("without a client certificate nothing can be refused");
        Self { mode: SslMode::Disable, connector }
    }

    pub fn resolve(given: &Parameters, environment: &Environment) -> Result<Self, TlsError> {
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

/// The provider is named rather than taken from the process, so that this works whoever installs which, and when.
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

/// The roots to verify against; `None` where the mode takes any certificate.
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
        // A root file that is there is used in every mode: `require` then means `verify-ca`, as the manual has it.
        Some(path) if path.exists() => {
            let roots = to_roots(read_certificates("root certificate file", &path)?);
            if roots.store.is_empty() {
                return Err(unreadable("root certificate file", &path, "no certificate in it is usable"));
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
            Err(unreadable(what, path, "no PEM certificate in it"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(what, path, error)),
    }
}

/// libpq's rule: nobody but the owner, or root's key readable by a group.
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
    // A key that is encrypted with a passphrase reads as none.
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

    fn check_refused(given: &[(&'static str, &str)], expected: &str) {
        let home = tempfile::tempdir().unwrap();
        let error = resolve(given, &Environment::empty().with_home(home.path())).unwrap_err();
        assert!(error.contains(expected), "{given:?}: {error}");
    }

    #[test]
    fn the_default_is_prefer_and_full_verification_with_the_systems_roots() {
        let nothing = Environment::empty();
        assert_eq!(resolve(&[], &nothing), Ok(SslMode::Prefer));
        let system = resolve(&[("sslrootcert", "system")], &nothing);
        // A machine without ca-certificates says so.
        assert!(
            system == Ok(SslMode::VerifyFull) || system.clone().unwrap_err().contains("ca-certificates"),
            "{system:?}"
        );
    }

    #[test]
    fn verification_without_a_root_names_the_file_and_the_ways_out() {
        for mode in ["verify-ca", "verify-full"] {
            check_refused(&[("sslmode", mode)], "/.postgresql/root.crt', which does not exist");
            check_refused(&[("sslmode", mode)], "sslrootcert=system");
        }
        check_refused(&[("sslmode", "require"), ("sslrootcert", "/nowhere/ca.pem")], "'/nowhere/ca.pem'");
        assert!(
            resolve(&[("sslmode", "verify-ca")], &Environment::empty())
                .unwrap_err()
                .contains("home directory")
        );
    }

    #[test]
    fn weak_modes_and_unknown_ones_are_refused() {
        check_refused(&[("sslmode", "require"), ("sslrootcert", "system")], "too weak");
        check_refused(&[("sslmode", "REQUIRE")], "sslmode is not one of");
    }

    #[test]
    fn files_that_hold_no_certificate_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        check_refused(&[("sslrootcert", path)], "no PEM certificate");
        check_refused(&[("sslcert", path)], "no PEM certificate");
        check_refused(&[("sslcert", "/nowhere/client.crt")], "'/nowhere/client.crt'");
    }

    #[test]
    fn disable_reads_no_file() {
        assert_eq!(
            resolve(&[("sslmode", "disable"), ("sslrootcert", "/nowhere")], &Environment::empty()),
            Ok(SslMode::Disable)
        );
    }
}
