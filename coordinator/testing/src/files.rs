//! The input files of a run, rows and statements, in the test's own directory.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// Enough hosts that each of two or three workers has some.
pub const HOSTS: usize = 20;

/// Each row takes the time in its column, so that a test knows when it is in the middle of a run.
pub const SLEEP: &str = "SELECT pg_sleep(:seconds::float8), :hostname::text";

pub struct Files(TempDir);

impl Files {
    /// Creates a directory below /tmp that the server's user can access, regardless of TMPDIR.
    #[allow(clippy::new_without_default, reason = "a default value creates no directory")]
    pub fn new() -> Self {
        crate::deadline::begin();
        let directory = tempfile::Builder::new().prefix("t").tempdir_in("/tmp").expect("/tmp can be written");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).expect("the test owns it");
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("the directory can be written");
        path.to_str().expect("plain characters").to_owned()
    }

    /// Writes a file that only its owner may read.
    pub fn secret(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.write(name, content);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the test owns it");
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a workload of `rows` sleeps of `seconds` each and its statement; returns `[rows, --query, file]`.
    pub fn sleeps(&self, rows: usize, seconds: f64) -> [String; 3] {
        let mut csv = "hostname,seconds\n".to_owned();
        for row in 0..rows {
            writeln!(csv, "host_{:02},{seconds}", row % HOSTS).expect("a String takes all");
        }
        [self.write("rows.csv", csv), "--query".to_owned(), self.write("sleep.sql", SLEEP)]
    }
}

/// Converts owned arguments for functions that take `&[&str]`.
pub fn args(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}
