//! An embedded PostgreSQL server for a run without a database. It is found on this machine or downloaded, started in its own directory, and
//! stopped and removed when the run ends for any reason. This module creates no schema and loads no data.
//!
//! ```text
//! RunAs ─ operating system user ─▶ resolve ─ programs ─▶ server ─ directory and settings ─▶ guard ─ initdb, start, remove
//! ```

mod cache;
mod error;
mod fetch;
mod guard;
mod resolve;
mod server;
mod tools;
mod user;
mod wheel;

use std::path::{Path, PathBuf};

pub use error::{EmbeddedError, Tried};
pub use resolve::Search;

use guard::Guard;
use user::RunAs;

/// The user's options for the embedded server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--postgres-bin`: the directory that contains `initdb` and `postgres`. If set, no other directory is tried.
    pub postgres_bin: Option<PathBuf>,
    /// The number of connections that the run opens at the same time. The server allows a few more.
    pub connections: u32,
    /// The cache directory of downloaded programs. `None` means `$XDG_CACHE_HOME/muster`, else `~/.cache/muster`, or for root
    /// `/var/cache/muster` if the user that runs the server cannot enter root's home directory.
    pub cache: Option<PathBuf>,
    pub search: Search,
    /// Additional server settings, as `name=value`. The last value of a name applies.
    pub settings: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            postgres_bin: None,
            connections: 100,
            cache: None,
            search: Search::of_this_machine(),
            settings: Vec::new(),
        }
    }
}

/// A running server. It stops when this value is dropped or the process ends for any reason.
#[derive(Debug)]
pub struct Embedded {
    guard: Guard,
    url: String,
    origin: String,
    programs: PathBuf,
}

impl Embedded {
    /// Starts a server and waits until it accepts connections. Calls `report` with a line of progress before each step that takes time.
    /// After an error, or when this future is dropped, only the cache remains.
    pub async fn start(options: &Options, report: &(dyn Fn(&str) + Sync)) -> Result<Self, EmbeddedError> {
        let run_as = RunAs::of_this_process().await?;
        let installation = resolve::installation(options, &run_as, report).await?;
        let origin = installation.to_string();
        report(&format!("starting {origin}"));
        let guard = server::start(&installation, &run_as, options.connections, &options.settings).await?;
        Ok(Self { url: server::url(guard.directory()), origin, programs: installation.programs, guard })
    }

    /// The URL `postgresql://…?host=…`, for superuser access without a password through a Unix socket. Only the server's user and root can
    /// use it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The version and source, such as `PostgreSQL 15.18 from /usr/lib/postgresql/15/bin`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The directory of the server's programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Ends all connections and stops the server immediately, and waits until the directory is removed. Dropping does the same, but blocks
    /// the thread.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        self.guard.stop().await
    }
}
