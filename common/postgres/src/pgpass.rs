//! The password file (`~/.pgpass`, `PGPASSFILE`). The first line `host:port:database:user:password` that matches is used. As in libpq, a
//! file that other users may read is ignored with a warning. Its contents are never logged.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

use crate::environment::Environment;

/// The values that a line must match. `host` is the host as written by the user, or the socket directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Login<'a> {
    pub host: &'a str,
    pub port: u16,
    pub dbname: &'a str,
    pub user: &'a str,
}

/// Returns the password for a login. `None` if the file is absent or unsafe, or has no line for it.
pub(crate) fn lookup(path: &Path, login: &Login<'_>) -> Option<SecretString> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() {
        tracing::warn!(path = %path.display(), "password file ignored: it is not a plain file");
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "password file ignored: group or others may access it; run chmod 600 on it");
        return None;
    }
    match std::fs::read_to_string(path) {
        Ok(text) => find(&text, login).map(SecretString::from),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "password file ignored: it cannot be read");
            None
        }
    }
}

fn find(text: &str, login: &Login<'_>) -> Option<String> {
    // A line for `localhost` also covers the default socket directories.
    let default_socket = Environment::SOCKET_DIRECTORIES.contains(&login.host);
    let host = if default_socket { "localhost" } else { login.host };
    let port = login.port.to_string();
    let wanted = [host, &port, login.dbname, login.user];
    text.lines().find_map(|line| password(line, &wanted))
}

fn password(line: &str, wanted: &[&str; 4]) -> Option<String> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for word in wanted {
        let (field, after) = take_field(rest);
        // Only a bare '*' is a wildcard. An escaped one is a literal name.
        let is_any = rest.starts_with("*:");
        if !is_any && field != **word {
            return None;
        }
        rest = after?;
    }
    let (password, _) = take_field(rest);
    (!password.is_empty()).then_some(password)
}

/// Returns the text up to the next bare ':' with its escapes removed, and the text after the ':'.
fn take_field(text: &str) -> (String, Option<&str>) {
    let mut field = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => field.push(characters.next().map_or('\\', |(_, escaped)| escaped)),
            ':' => return (field, Some(&text[at + 1..])),
            other => field.push(other),
        }
    }
    (field, None)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const LOGIN: Login<'_> = Login { host: "db", port: 5432, dbname: "metrics", user: "bench" };

    fn check(text: &str, login: Login<'_>, expected: Option<&str>) {
        assert_eq!(find(text, &login).as_deref(), expected, "{text}");
    }

    #[test]
    fn the_first_matching_line_is_used() {
        check("db:5432:metrics:bench:one\n*:*:*:*:two", LOGIN, Some("one"));
        check("other:5432:metrics:bench:one\n*:*:*:*:two", LOGIN, Some("two"));
        check("db:5433:metrics:bench:one", LOGIN, None);
        check("db:5432:metrics:other:one", LOGIN, None);
    }

    #[test]
    fn escapes_comments_and_incomplete_lines_are_handled() {
        check(r"db:5432:metrics:bench:a\:b\\c", LOGIN, Some(r"a:b\c"));
        check("#db:5432:metrics:bench:no\n\ndb:5432\ndb:5432:metrics:bench:yes\r", LOGIN, Some("yes"));
        let colon = Login { user: "be:nch", ..LOGIN };
        check(r"db:5432:metrics:be\:nch:x", colon, Some("x"));
        check(r"db:5432:metrics:\*:x", LOGIN, None);
        check("db:5432:metrics:bench:", LOGIN, None);
        check("db:5432:metrics:bench:end\\", LOGIN, Some("end\\"));
    }

    #[test]
    fn localhost_matches_only_the_default_socket_directories() {
        let line = "localhost:5432:*:*:x";
        check(line, Login { host: "/var/run/postgresql", ..LOGIN }, Some("x"));
        check(line, Login { host: "/srv/pg", ..LOGIN }, None);
        check("/srv/pg:*:*:*:x", Login { host: "/srv/pg", ..LOGIN }, Some("x"));
    }

    #[test]
    fn a_file_that_other_users_may_read_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        std::fs::write(&path, "*:*:*:*:x").unwrap();
        for (mode, expected) in [(0o600, Some("x")), (0o640, None), (0o604, None)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = lookup(&path, &LOGIN);
            assert_eq!(found.as_ref().map(|p| p.expose_secret()), expected, "{mode:o}");
        }
        assert!(lookup(directory.path(), &LOGIN).is_none());
    }
}
