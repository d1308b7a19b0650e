//! An embedded PostgreSQL for a run without a database: found (or fetched), started in a directory of its own, and gone with it
//! when the run ends, however it ends. It creates no schema and loads no data.
//!
//! ```text
//! RunAs ─ who runs it ─▶ resolve ─ which programs ─▶ server ─ which directory and settings ─▶ guard ─ initdb, start, remove
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

/// What a person may choose about the embedded server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--postgres-bin`: the directory that holds `initdb` and `postgres`; nothing else is tried then.
    pub postgres_bin: Option<PathBuf>,
    /// Connections that the run will open at the same time; a few more are allowed.
    pub connections: u32,
    /// Where fetched programs are kept; `None` is `$XDG_CACHE_HOME/muster`, else `~/.cache/muster`, and for root
    /// `/var/cache/muster` where its home is closed to the user that runs the server.
    pub cache: Option<PathBuf>,
    pub search: Search,
    /// Further settings of the server, as `name=value`; the last of a name counts.
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

/// A running server. It ends when this value does, or the process, by whatever cause.
#[derive(Debug)]
pub struct Embedded {
    guard: Guard,
    url: String,
    origin: String,
    programs: PathBuf,
}

impl Embedded {
    /// Starts a server and waits until it takes connections. `say` gets a line of progress for a person before each step that
    /// takes time. Whatever the error, and when this future is dropped, nothing stays behind but the cache.
    pub async fn start(options: &Options, say: &(dyn Fn(&str) + Sync)) -> Result<Self, EmbeddedError> {
        let run_as = RunAs::of_this_process().await?;
        let installation = resolve::installation(options, &run_as, say).await?;
        let origin = installation.to_string();
        say(&format!("starting {origin}"));
        let guard = server::start(&installation, &run_as, options.connections, &options.settings).await?;
        Ok(Self { url: server::url(guard.directory()), origin, programs: installation.programs, guard })
    }

    /// `postgresql://…?host=…`: a unix socket, superuser, no password; for this process's user and root only.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `PostgreSQL 15.18 from /usr/lib/postgresql/15/bin`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The directory of PostgreSQL's programs that it runs from.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Ends all connections and the server at once, and waits until server and directory are gone. Dropping does the same, but
    /// blocks the thread meanwhile.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        self.guard.stop().await
    }
}
