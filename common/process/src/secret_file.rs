//! Reads files that contain a secret. A file that other users can read is refused, as in ssh and libpq, with the chmod command to fix it.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Docker mounts secrets here, readable by all users, but in a file system that only the container can access.
const PRIVATE_MOUNTS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Open(#[from] OpenToOthers),
}

/// A file or directory that other users can access, with the mode that it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenToOthers {
    path: PathBuf,
    mode: u32,
    wanted: u32,
}

impl std::error::Error for OpenToOthers {}

impl fmt::Display for OpenToOthers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode, wanted } = self;
        write!(f, "other users of this machine have access to it (mode {mode:04o}); run: chmod ")?;
        write!(f, "{wanted:o} '{}'", path.display())
    }
}

/// Returns the text of a file that contains a secret.
///
/// # Errors
/// When the file cannot be read, or other users have access to it.
pub fn read(path: &Path) -> Result<String, SecretFileError> {
    let mut file = File::open(path)?;
    // Checks the open file, not the path, which may refer to another file a moment later.
    check(path, &file.metadata()?)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Refuses a regular file that other users can access. A pipe has no other readers, and Docker's mounts of secrets are private.
///
/// # Errors
/// The error states the mode that the file should have.
pub fn check(path: &Path, metadata: &Metadata) -> Result<(), OpenToOthers> {
    if !metadata.is_file() || PRIVATE_MOUNTS.iter().any(|mount| path.starts_with(mount)) {
        return Ok(());
    }
    // libpq's rule for private keys: a file that belongs to root may be readable by its group, as Kubernetes and systemd create them.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    let wanted = if metadata.uid() == rustix::process::geteuid().as_raw() { 0o600 } else { 0o640 };
    open_to_others(path, metadata.mode(), forbidden, wanted)
}

/// Refuses a directory of this user that other users can access. A directory of another user is a mount, for which only the files are
/// checked.
///
/// # Errors
/// The error states the mode that the directory should have.
pub fn check_directory(path: &Path, metadata: &Metadata) -> Result<(), OpenToOthers> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    open_to_others(path, metadata.mode(), 0o077, 0o700)
}

fn open_to_others(path: &Path, mode: u32, forbidden: u32, wanted: u32) -> Result<(), OpenToOthers> {
    let mode = mode & 0o7777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(OpenToOthers { path: path.to_owned(), mode, wanted })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_chmod_command() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("join");
        std::fs::write(&path, "s3cret").unwrap();
        let is_root = metadata(&path).unwrap().uid() == 0;
        let cases =
            [(0o600, true), (0o400, true), (0o640, is_root), (0o644, false), (0o604, false), (0o660, false)];
        for (mode, is_good) in cases {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read(&path) {
                Ok(text) => assert!(is_good && text == "s3cret", "{mode:o}"),
                Err(error) => {
                    assert!(!is_good, "{mode:o}: {error}");
                    let chmod = format!("chmod 600 '{}'", path.display());
                    assert!(error.to_string().contains(&chmod), "{error}");
                }
            }
        }
    }

    #[test]
    fn mounted_secrets_and_special_files_are_not_checked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        set_permissions(file.path(), Permissions::from_mode(0o644)).unwrap();
        let open = metadata(file.path()).unwrap();
        assert!(check(Path::new("/run/secrets/join"), &open).is_ok());
        assert!(check(Path::new("/run/secrets-of-mine/join"), &open).is_err());
        assert!(check(Path::new("/dev/null"), &metadata("/dev/null").unwrap()).is_ok());
    }

    #[test]
    fn a_directory_of_this_user_must_not_be_accessible_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let check = |mode| {
            set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            check_directory(directory.path(), &metadata(directory.path()).unwrap())
        };
        assert!(check(0o700).is_ok());
        for mode in [0o750, 0o705, 0o701] {
            let error = check(mode).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 700 '{}'", directory.path().display())), "{error}");
        }
    }
}
