//! `pg_service.conf`: named sets of connection parameters (`PGSERVICE=metrics`). Only sections of `name=value` lines are supported. An LDAP
//! lookup and a service within a service are rejected with an error.

use std::io;
use std::path::{Path, PathBuf};

use crate::conninfo::{self, ConninfoError, Parameters};
use crate::environment::Environment;

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(
        "the service is not defined in {searched}; add a section [{}], or name the database with --database-url",
    name.as_deref().unwrap_or("NAME")
    )]
    NotFound {
        /// `None` if the text is not a word, because it may then be part of a password.
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

/// Returns the parameters of a service, from the user's file, or else from the system's.
pub(crate) fn lookup(name: &str, environment: &Environment) -> Result<Parameters, ServiceError> {
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
        let reject = |problem| ServiceError::Line { path: path.to_owned(), line: index + 1, problem };
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
            return Err(reject("an LDAP lookup is not supported; write the parameters here"));
        }
        let (name, value) = line.split_once('=').ok_or_else(|| reject("not name=value"))?;
        if name == "service" {
            return Err(reject("a service within a service is not supported"));
        }
        let place = format!("service file '{}', line {}", path.display(), index + 1);
        conninfo::reject_separator(name, value, &place)?;
        conninfo::insert(parameters, name, value.to_owned(), &place)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const FILE: &str = "# comment\n[a]\nhost=h-a\n\n[b]\nhost=h-b\nport=5433\n[c]\nhost=h-c\n[d]\nldap://x\n[e]\nservice=a\n";

    fn in_file(name: &str) -> Result<Parameters, ServiceError> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".pg_service.conf"), FILE).unwrap();
        lookup(name, &Environment::empty().with_home(home.path()))
    }

    #[test]
    fn a_service_has_only_the_parameters_of_its_section() {
        let b = in_file("b").unwrap();
        let b: Vec<_> = b.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
        assert_eq!(b, [("host", "h-b"), ("port", "5433")]);
    }

    #[test]
    fn the_system_file_is_read_last() {
        let system = tempfile::tempdir().unwrap();
        std::fs::write(system.path().join("pg_service.conf"), FILE).unwrap();
        let environment = Environment::empty().with("PGSYSCONFDIR", system.path().to_str().unwrap());
        assert!(lookup("c", &environment).is_ok());
    }

    #[test]
    fn errors_name_what_is_missing_or_unsupported() {
        for (name, expected) in
            [("zz", "[zz]"), ("d", "line 11: an LDAP lookup"), ("e", "line 13: a service")]
        {
            let error = in_file(name).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
