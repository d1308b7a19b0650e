//! Chooses the directory and settings of an embedded server, and waits until it is ready. The guard starts and stops the server; this
//! module decides its arguments and interprets how it ended.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::error::{EmbeddedError, Tried};
use super::guard::{Guard, STEP_INITDB, STEP_SERVER};
use super::resolve::Installation;
use super::user::RunAs;

/// initdb and the start usually take about half a second together. The limit allows for a busy machine with a slow disk.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(10);
/// The maximum length of a Unix socket's path in bytes: 103 on macOS, 107 on Linux.
const SOCKET_PATH_MAX: usize = 103;
/// The socket's name in its directory. The port is only part of the name; the server does not listen on TCP.
const SOCKET: &str = ".s.PGSQL.5432";
const DIRECTORY_PREFIX: &str = "muster-pg-";
/// Connections in addition to those requested, for the run's server statistics and for a user's psql.
const CONNECTIONS_SPARE: u32 = 8;
/// The maximum number of log lines, and of characters, in an error message.
const LOG_LINES: usize = 6;
const LOG_CHARS: usize = 1_000;

/// Starts a server and waits until it accepts connections. After an error, the server is stopped and its directory removed.
pub(super) async fn start(
    installation: &Installation,
    run_as: &RunAs,
    connections: u32,
    extra: &[String],
) -> Result<Guard, EmbeddedError> {
    let places = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    let directory = new_directory(&places, run_as).await?;
    let settings = settings(&directory, connections, installation.timescaledb, extra);
    let programs = &installation.programs;
    let (guard, output) = Guard::spawn(run_as, directory, programs, &settings)?;
    let outcome = tokio::select! {
        () = ready(guard.directory()) => Outcome::Ready,
        output = until_end(output) => Outcome::Ended(output),
        () = tokio::time::sleep(START_TIMEOUT) => Outcome::TimedOut,
    };
    if let Some(error) = outcome.error(installation, guard.directory()) {
        // This error matters more than a directory that cannot be removed; the guard logs a warning for that when it is dropped.
        drop(guard.stop().await);
        return Err(error);
    }
    Ok(guard)
}

/// Returns a URL for psql, libpq and tokio-postgres. It contains the user and port, because the caller's PGUSER and PGPORT may be set for
/// another server.
pub(super) fn url(directory: &Path) -> String {
    let host = percent_encoded(directory.as_os_str().as_bytes());
    format!("postgresql://postgres@/postgres?host={host}&port=5432")
}

enum Outcome {
    Ready,
    /// The steps that the guard printed.
    Ended(String),
    TimedOut,
}

impl Outcome {
    fn error(self, installation: &Installation, directory: &Path) -> Option<EmbeddedError> {
        let (origin, log) = (installation.to_string(), log_tail(directory));
        match self {
            Self::Ready => None,
            Self::TimedOut => Some(EmbeddedError::NotReady { origin, within: START_TIMEOUT, log }),
            Self::Ended(output) => Some(match output.lines().last() {
                Some(STEP_SERVER) => EmbeddedError::Ended { origin, log },
                Some(STEP_INITDB) => EmbeddedError::Initdb { origin, log },
                other => EmbeddedError::GuardEnded { output: other.unwrap_or("no message").to_owned() },
            }),
        }
    }
}

/// Returns an unused path in a directory where the server's user may create it. The guard creates it, and fails if it exists.
async fn new_directory(places: &[PathBuf], run_as: &RunAs) -> Result<PathBuf, EmbeddedError> {
    // `RandomState` is the standard library's only source of randomness. Another user cannot create an unpredictable name in /tmp in
    // advance.
    let random = RandomState::new().build_hasher().finish();
    let name = format!("{DIRECTORY_PREFIX}{}-{:08x}", std::process::id(), random >> 32);
    let mut tried: Vec<Tried> = Vec::new();
    for place in places {
        let directory = place.join(&name);
        let shown = place.display();
        let length = directory.join(SOCKET).as_os_str().len();
        if !place.is_absolute() {
            tried.push(Tried::new(shown, "not an absolute path"));
        } else if length > SOCKET_PATH_MAX {
            tried.push(Tried::new(shown, "too long for the path of a Unix socket"));
        } else if !run_as.can_create_in(place).await {
            let by_user = run_as.by_user();
            tried.push(Tried::new(shown, format_args!("cannot be written{by_user}")));
        } else {
            return Ok(directory);
        }
    }
    Err(EmbeddedError::NoDirectory { tried })
}

/// Returns the server's arguments. The data is not needed after the run, so writes to disk are not synchronous. The server listens only on
/// its Unix socket.
fn settings(directory: &Path, connections: u32, timescaledb: bool, extra: &[String]) -> Vec<OsString> {
    let mut settings = vec![
        "listen_addresses=".to_owned(),
        "port=5432".to_owned(),
        format!("max_connections={}", connections.saturating_add(CONNECTIONS_SPARE)),
        "fsync=off".to_owned(),
        "synchronous_commit=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        "logging_collector=off".to_owned(),
    ];
    if timescaledb {
        settings.push("shared_preload_libraries=timescaledb".to_owned());
        settings.push("timescaledb.telemetry_level=off".to_owned());
    }
    settings.extend_from_slice(extra);
    let mut settings: Vec<OsString> = settings.into_iter().map(OsString::from).collect();
    settings.push(sockets_in(directory));
    settings.into_iter().flat_map(|setting| [OsString::from("-c"), setting]).collect()
}

/// The setting is a list, so the directory is quoted: a comma or space in TMPDIR must not split it. Paths are bytes and need not be UTF-8.
fn sockets_in(directory: &Path) -> OsString {
    let mut setting = b"unix_socket_directories=\"".to_vec();
    for &byte in directory.as_os_str().as_bytes() {
        setting.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
    }
    setting.push(b'"');
    OsString::from_vec(setting)
}

/// Waits until the server is ready. The postmaster writes its state in the eighth line of its pid file.
async fn ready(directory: &Path) {
    let file = directory.join("data/postmaster.pid");
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
            return;
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// Reads the pipe to its end, which is when the process that holds it ends, and returns the output.
async fn until_end(mut pipe: pipe::Receiver) -> String {
    let mut output = Vec::new();
    // A read error also ends the output; what was read before it is used.
    let _ = pipe.read_to_end(&mut output).await;
    String::from_utf8_lossy(&output).into_owned()
}

fn log_tail(directory: &Path) -> String {
    let bytes = std::fs::read(directory.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LOG_LINES)..].join(" / ");
    if last.is_empty() {
        return "(nothing)".to_owned();
    }
    let skipped = last.chars().count().saturating_sub(LOG_CHARS);
    last.chars().skip(skipped).collect()
}

fn percent_encoded(bytes: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    bytes.iter().map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_encodes_special_characters_of_the_directory() {
        let url = url(Path::new("/tmp/a b&c/muster-pg-1"));
        assert_eq!(url, "postgresql://postgres@/postgres?host=%2Ftmp%2Fa%20b%26c%2Fmuster-pg-1&port=5432");
        let config: tokio_postgres::Config = url.parse().unwrap();
        let socket = tokio_postgres::config::Host::Unix("/tmp/a b&c/muster-pg-1".into());
        assert_eq!(config.get_hosts(), [socket]);
        assert_eq!((config.get_user(), config.get_ports()), (Some("postgres"), &[5432][..]));
    }

    #[tokio::test]
    async fn an_unusable_directory_is_skipped() {
        let good = tempfile::tempdir().unwrap();
        let long = good.path().join("x".repeat(100));
        std::fs::create_dir(&long).unwrap();
        let bad = [PathBuf::from("relative"), long, PathBuf::from("/no/such/place")];
        let error = new_directory(&bad, &RunAs::CurrentUser).await.unwrap_err();
        let EmbeddedError::NoDirectory { tried } = error else {
            panic!("{error}");
        };
        let reasons: Vec<&str> = tried.iter().map(|t| t.reason.as_str()).collect();
        let expected =
            ["not an absolute path", "too long for the path of a Unix socket", "cannot be written"];
        assert_eq!(reasons, expected);

        let all = bad.into_iter().chain([good.path().to_owned()]);
        let found = new_directory(&all.collect::<Vec<_>>(), &RunAs::CurrentUser).await.unwrap();
        assert_eq!(found.parent(), Some(good.path()));
        assert!(!found.exists(), "the guard creates it");
    }

    #[tokio::test]
    async fn a_directory_that_the_servers_user_cannot_enter_is_skipped() {
        let run_as = RunAs::of_this_process().await.unwrap();
        if run_as == RunAs::CurrentUser {
            return println!("skipped: only root starts a server as another user");
        }
        let closed = tempfile::tempdir_in("/tmp").unwrap();
        let below = closed.path().join("open");
        std::fs::create_dir(&below).unwrap();
        for (path, mode) in [(&*below, 0o1777), (closed.path(), 0o700)] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, mode).unwrap();
        }
        let found = new_directory(&[below, "/tmp".into()], &run_as).await.unwrap();
        assert_eq!(found.parent(), Some(Path::new("/tmp")));
    }

    #[test]
    fn timescaledb_is_preloaded_only_if_it_is_installed() {
        let preloads = |timescaledb| {
            let settings = settings(Path::new("/tmp/d"), 5, timescaledb, &[]);
            settings.contains(&OsString::from("shared_preload_libraries=timescaledb"))
        };
        assert!(preloads(true) && !preloads(false));
    }

    #[test]
    fn a_directory_with_a_comma_or_a_quote_is_one_socket_directory() {
        let setting = sockets_in(Path::new("/tmp/a,b\"c d"));
        assert_eq!(setting, OsString::from("unix_socket_directories=\"/tmp/a,b\"\"c d\""));
    }

    #[test]
    fn an_error_shows_only_the_end_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(log_tail(directory.path()), "(nothing)");
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}\n\n")).collect();
        std::fs::write(directory.path().join("log"), lines.concat()).unwrap();
        let shown = log_tail(directory.path());
        assert_eq!(shown, "line 94 / line 95 / line 96 / line 97 / line 98 / line 99");
        std::fs::write(directory.path().join("log"), "ü".repeat(5_000)).unwrap();
        assert_eq!(log_tail(directory.path()).chars().count(), LOG_CHARS);
    }
}
