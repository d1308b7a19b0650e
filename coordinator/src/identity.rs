//! The coordinator's identity towards agents on other machines: a key and its certificate, by which agents authenticate the coordinator,
//! and a secret, by which the coordinator authenticates agents. They are created once and stored in a directory. The join string contains
//! the certificate's hash and the secret.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use muster_net::join_string::{JoinString, Pin, Secret};
use muster_process::secret_file::{self, OpenToOthers};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::run_dir;

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const SECRET: &str = "secret";

#[derive(Debug)]
pub(crate) struct Identity {
    dir: PathBuf,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error(
        "no directory for the coordinator's identity: neither XDG_STATE_HOME nor HOME is an absolute path; specify one with --identity"
    )]
    NoHome,
    #[error(
        "there is no identity in '{}'; run `coordinator token` to create one and print the join string for agents", .0.display()
    )]
    Missing(PathBuf),
    #[error("cannot {what} '{}': {problem}", path.display())]
    File { what: &'static str, path: PathBuf, problem: String },
    #[error("identity directory '{}': {problem}", path.display())]
    Open { path: PathBuf, problem: OpenToOthers },
    #[error("'{}' does not contain a valid secret; run `coordinator token --rotate` to create a new one", .0.display())]
    Secret(PathBuf),
}

/// Returns the identity's directory: the one given with `--identity`, or `identity` in the user's state directory. It need not exist.
pub(crate) fn place(named: Option<&Path>) -> Result<PathBuf, IdentityError> {
    match named {
        Some(dir) => Ok(dir.to_owned()),
        None => Ok(run_dir::state().ok_or(IdentityError::NoHome)?.join("identity")),
    }
}

impl Identity {
    /// Loads the identity in `dir`.
    ///
    /// # Errors
    /// When `dir` contains no identity, or one of its files cannot be read.
    pub(crate) fn load(dir: &Path) -> Result<Self, IdentityError> {
        if !exists(dir) {
            return Err(IdentityError::Missing(dir.to_owned()));
        }
        check(dir)?;
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        let identity = Self {
            dir: dir.to_owned(),
            certificate: CertificateDer::from_pem_file(&certificate)
                .map_err(|problem| file("read the certificate", &certificate, problem))?,
            key: read_key(&key)?,
        };
        identity.secret()?;
        Ok(identity)
    }

    /// Loads the identity in `dir`, and creates it first if there is none.
    ///
    /// # Errors
    /// When it cannot be read or created.
    pub(crate) fn load_or_create(dir: &Path, provider: &CryptoProvider) -> Result<Self, IdentityError> {
        if !exists(dir) {
            create(dir, provider)?;
        }
        Self::load(dir)
    }

    /// Reads the current secret from its file, so that a running coordinator uses a rotated secret at once.
    pub(crate) fn secret(&self) -> Result<Secret, IdentityError> {
        let path = self.dir.join(SECRET);
        let text = secret_file::read(&path).map_err(|problem| file("read the secret", &path, problem))?;
        Secret::parse(text.trim()).map_err(|_| IdentityError::Secret(path))
    }

    /// Replaces the secret. Agents can no longer join with the old join string; agents that have already joined stay connected.
    pub(crate) fn rotate(&self, provider: &CryptoProvider) -> Result<(), IdentityError> {
        write_secret(&self.dir, provider)
    }

    pub(crate) fn join_string(&self) -> Result<JoinString, IdentityError> {
        Ok(JoinString { pin: Pin::of(&self.certificate), secret: self.secret()? })
    }
}

/// Checks that only the owner can access the directory.
fn check(dir: &Path) -> Result<(), IdentityError> {
    let metadata = fs::metadata(dir).map_err(|problem| file("read the directory", dir, problem))?;
    let checked = secret_file::check_directory(dir, &metadata);
    checked.map_err(|problem| IdentityError::Open { path: dir.to_owned(), problem })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let text = secret_file::read(path).map_err(|problem| file("read the key", path, problem))?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|problem| file("read the key", path, problem))
}

/// Returns true if the directory contains a complete identity: the secret is written last.
pub(crate) fn exists(dir: &Path) -> bool {
    dir.join(SECRET).exists()
}

/// Creates an identity, and overwrites the files of an interrupted attempt. When two processes do this at the same time, both read the
/// files afterwards, so each prints the join string that was stored last.
fn create(dir: &Path, provider: &CryptoProvider) -> Result<(), IdentityError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|problem| file("create the directory", dir, problem))?;
    let key = KeyPair::generate().map_err(|problem| file("create a key for", dir, problem))?;
    let mut params = CertificateParams::new(["muster-coordinator".to_owned()])
        .map_err(|problem| file("create a certificate for", dir, problem))?;
    // Agents verify the certificate by its hash and ignore its dates.
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(4000, 1, 1);
    let certificate =
        params.self_signed(&key).map_err(|problem| file("create a certificate for", dir, problem))?;
    write(&dir.join(KEY), &key.serialize_pem())?;
    write(&dir.join(CERTIFICATE), &certificate.pem())?;
    write_secret(dir, provider)
}

fn write_secret(dir: &Path, provider: &CryptoProvider) -> Result<(), IdentityError> {
    let mut bytes = [0; 32];
    let path = dir.join(SECRET);
    let filled = provider.secure_random.fill(&mut bytes);
    filled.map_err(|_| file("create a secret in", &path, "the system's random number generator failed"))?;
    write(&path, &format!("{}\n", Secret::new(bytes).expose()))
}

/// Writes a file atomically, readable only by this user.
fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    let temporary = path.with_extension("new");
    let written = || -> io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    written().map_err(|problem| file("write", path, problem))
}

fn file(what: &'static str, path: &Path, problem: impl ToString) -> IdentityError {
    IdentityError::File { what, path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use muster_net::security::pki::provider;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_created_once_and_only_its_user_can_read_it() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        assert!(matches!(Identity::load(&dir), Err(IdentityError::Missing(_))));
        let first = Identity::load_or_create(&dir, &provider()).unwrap().join_string().unwrap();
        let again = Identity::load_or_create(&dir, &provider()).unwrap().join_string().unwrap();
        assert_eq!(first, again);
        assert_eq!(mode(&dir), 0o700);
        let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    }

    #[test]
    fn a_rotated_secret_is_used_at_once_and_the_key_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("identity");
        let running = Identity::load_or_create(&dir, &provider()).unwrap();
        let before = running.join_string().unwrap();
        Identity::load(&dir).unwrap().rotate(&provider()).unwrap();
        let after = running.join_string().unwrap();
        assert!(before.pin == after.pin && before.secret != after.secret);
    }

    #[test]
    fn an_identity_that_others_can_read_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("identity");
        Identity::load_or_create(&dir, &provider()).unwrap();
        let open = |path: &Path, mode, chmod: &str| {
            let before = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Identity::load(&dir).unwrap_err().to_string();
            assert!(error.contains(&format!("run: {chmod} '{}'", path.display())), "{error}");
            fs::set_permissions(path, before).unwrap();
        };
        open(&dir, 0o755, "chmod 700");
        open(&dir.join(KEY), 0o644, "chmod 600");
        open(&dir.join(SECRET), 0o604, "chmod 600");
        Identity::load(&dir).unwrap();
    }

    #[test]
    fn an_error_names_the_file_that_cannot_be_used() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("identity");
        Identity::load_or_create(&dir, &provider()).unwrap();
        fs::write(dir.join(SECRET), "short").unwrap();
        let error = Identity::load(&dir).unwrap_err().to_string();
        assert!(error.contains("--rotate") && error.contains(SECRET) && !error.contains("short"), "{error}");
        fs::remove_file(dir.join(KEY)).unwrap();
        let error = Identity::load(&dir).unwrap_err().to_string();
        assert!(error.contains(KEY), "{error}");
    }
}
