//! A snapshot of the process environment: variables, home directory, operating system user and socket directories. Only this module reads
//! them, so that the code that depends on them consists of functions of plain values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    user: Option<String>,
    socket_directories: Vec<PathBuf>,
}

impl Environment {
    /// The default socket directories of Debian's packages and of PostgreSQL's own sources.
    pub(crate) const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

    pub fn from_process() -> Self {
        let variables: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let user = account_name()
            .or_else(|| variables.get("USER").cloned())
            .or_else(|| variables.get("LOGNAME").cloned());
        Self {
            variables,
            home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
            user,
            socket_directories: Self::SOCKET_DIRECTORIES.map(PathBuf::from).to_vec(),
        }
    }

    /// Returns an environment without variables, home directory, user and socket directories.
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn with_home(mut self, home: &Path) -> Self {
        self.home = Some(home.to_owned());
        self
    }

    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    pub fn with_socket_directory(mut self, directory: &Path) -> Self {
        self.socket_directories.push(directory.to_owned());
        self
    }

    /// Returns the value of a variable. An empty value counts as unset, because compose files and CI systems pass unset variables as empty
    /// ones.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// Returns the name of the operating system user that runs this process.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns a path below the home directory. `None` if there is no home directory.
    pub(crate) fn in_home(&self, path: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(path))
    }

    /// Returns the first directory that contains the socket of a server on `port`.
    pub(crate) fn socket_directory(&self, port: u16) -> Option<&Path> {
        let socket = format!(".s.PGSQL.{port}");
        self.socket_directories
            .iter()
            .find(|directory| directory.join(&socket).exists())
            .map(PathBuf::as_path)
    }
}

/// Shows only the names of variables, because their values may be passwords.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys())
            .field("home", &self.home)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Returns the account name of the process's effective user id. `getpwuid` would need unsafe code, so this reads `/etc/passwd`. For
/// accounts of a directory service, `USER` is used instead.
fn account_name() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let uid = std::fs::metadata("/proc/self").ok()?.uid();
    account_in(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn account_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        (id == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::empty().with("PGHOST", "").with("PGPORT", "5433");
        assert_eq!(environment.variable("PGHOST"), None);
        assert_eq!(environment.variable("PGPORT"), Some("5433"));
    }

    #[test]
    fn the_account_is_found_by_its_user_id() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\npostgres:x:105:110::/var/lib/postgresql:/bin/sh\n";
        assert_eq!(account_in(passwd, 105).as_deref(), Some("postgres"));
        assert_eq!(account_in(passwd, 110), None);
    }

    #[test]
    fn the_socket_directory_is_the_one_with_the_socket_of_that_port() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(second.path().join(".s.PGSQL.5432"), "").unwrap();
        let environment =
            Environment::empty().with_socket_directory(first.path()).with_socket_directory(second.path());
        assert_eq!(environment.socket_directory(5432), Some(second.path()));
        assert_eq!(environment.socket_directory(5433), None);
    }

    #[test]
    fn debug_output_hides_the_values_of_variables() {
        let environment = Environment::empty().with("PGPASSWORD", "s3cret");
        let shown = format!("{environment:?}");
        assert!(shown.contains("PGPASSWORD") && !shown.contains("s3cret"), "{shown}");
    }
}
