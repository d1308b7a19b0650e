//! `pg_service.conf`: named sets of connection parameters (`PGSERVICE=metrics`).
//! Sections of `name=value` lines only; a lookup in LDAP and a service within a service are refused by name.

use std::io;
use std::path::{Path, PathBuf};

use super::conninfo::{self, ConninfoError, Parameters};
use super::environment::Environment;

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(
        "the service is not defined in {searched}; add a section [{}], or name the database with --database-url", name.as_deref().unwrap_or("NAME")
    )]
    NotFound {
        /// `None` where the text is not a word: it may be part of a password.
        name: Option<String>,
        searched: String,
    },
    #[error("service file '{}' cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("service file '{}', line {line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: &'static str },
    #[error(transparent)]
    Parameter(#[from] ConninfoError),
}

/// The parameters of a service: from the user's own file, or else from the system's.
pub fn look_up(name: &str, environment: &Environment) -> Result<Parameters, ServiceError> {
    let own = match environment.variable("PGSERVICEFILE") {
        Some(path) => Some(PathBuf::from(path)),
        None => environment.in_home(".pg_service.conf"),
    };
    let system =
        environment.variable("PGSYSCONFDIR").map(|directory| Path::new(directory).join("pg_service.conf"));
    let files: Vec<_> = own.into_iter().chain(system).collect();
    for path in &files {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                if let Some(parameters) = section(&text, name, path)? {
                    return Ok(parameters);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ServiceError::Unreadable { path: path.clone(), source });
            }
        }
    }
    let searched: Vec<_> = files.iter().map(|path| format!("'{}'", path.display())).collect();
    let searched = if searched.is_empty() {
        "any file (there is no home directory)".to_owned()
    } else {
        searched.join(" or ")
    };
    let is_word = |name: &String| name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
    Err(ServiceError::NotFound { name: Some(name.to_owned()).filter(is_word), searched })
}

fn section(text: &str, wanted: &str, path: &Path) -> Result<Option<Parameters>, ServiceError> {
    let mut found: Option<Parameters> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let refuse = |problem| ServiceError::Line { path: path.to_owned(), line: index + 1, problem };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            if name == wanted {
                found = Some(Parameters::new());
            }
            continue;
        }
        let Some(parameters) = found.as_mut() else {
            continue;
        };
        if line.starts_with("ldap") {
            return Err(refuse("a lookup in LDAP is not supported; write the parameters here"));
        }
        let (name, value) = line.split_once('=').ok_or_else(|| refuse("not name=value"))?;
        if name == "service" {
            return Err(refuse("a service within a service is not supported"));
        }
        let place = format!("service file '{}', line {}", path.display(), index + 1);
        conninfo::refuse_separator(name, value, &place)?;
        conninfo::insert(parameters, name, value.to_owned(), &place)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const FILE: &str = "# comment\n[a]\nhost=h-a\n\n[b]\nhost=h-b\nport=5433\n[c]\nhost=h-c\n[d]\nldap://x\n[e]\nservice=a\n";

    fn in_file(name: &str) -> Result<Parameters, ServiceError> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".pg_service.conf"), FILE).unwrap();
        look_up(name, &Environment::empty().with_home(home.path()))
    }

    #[test]
    fn a_service_has_the_parameters_of_its_own_section_only() {
        let b = in_file("b").unwrap();
        let b: Vec<_> = b.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
        assert_eq!(b, [("host", "h-b"), ("port", "5433")]);
    }

    #[test]
    fn the_systems_file_is_asked_last() {
        let system = tempfile::tempdir().unwrap();
        std::fs::write(system.path().join("pg_service.conf"), FILE).unwrap();
        let environment = Environment::empty().with("PGSYSCONFDIR", system.path().to_str().unwrap());
        assert!(look_up("c", &environment).is_ok());
    }

    #[test]
    fn what_is_missing_or_unsupported_is_named() {
        for (name, expected) in
            [("zz", "[zz]"), ("d", "line 11: a lookup in LDAP"), ("e", "line 13: a service")]
        {
            let error = in_file(name).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
