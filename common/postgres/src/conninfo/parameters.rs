//! The parameters of a connection, by libpq's names, and the errors of both notations.

use std::collections::BTreeMap;

use secrecy::SecretString;

/// Parameters by libpq's name. All values are secrets, because one of them is the password.
pub(crate) type Parameters = BTreeMap<&'static str, SecretString>;

/// Parameters that have an effect, and the environment variable that sets each one.
pub(crate) const PARAMETERS: [(&str, &str); 17] = [
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("password", "PGPASSWORD"),
    ("port", "PGPORT"),
    ("service", "PGSERVICE"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslsni", "PGSSLSNI"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("user", "PGUSER"),
];

/// Parameters that are accepted without effect: Muster sets the application name, the encoding is always UTF-8, and GSSAPI is not used.
pub(super) const IGNORED: [&str; 4] =
    ["application_name", "client_encoding", "fallback_application_name", "gssencmode"];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    #[error(
        "the database URL begins with a quote, which is part of the value: `docker run --env-file` keeps quotes; write it without them, as \
         postgresql://USER@HOST:PORT/DATABASE"
    )]
    Quoted,
    #[error(
        "the database URL begins with the name of a variable and '='; write the value alone, postgresql://USER@HOST:PORT/DATABASE"
    )]
    Assignment,
    #[error(
        "the database URL is in the notation of JDBC; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE without 'jdbc:'"
    )]
    Jdbc,
    #[error(
        "the database URL has no '//' after its 'postgresql:'; write postgresql://USER@HOST:PORT/DATABASE"
    )]
    NoSlashes,
    #[error(
        "the database URL has no 'postgresql://' and no 'name=value' in it; write postgresql://USER@HOST:PORT/DATABASE"
    )]
    NoNotation,
    #[error("the database URL has the scheme '{0}://'; write postgresql://USER@HOST:PORT/DATABASE")]
    Scheme(&'static str),
    #[error(
        "the database URL has a scheme other than 'postgresql://'; write postgresql://USER@HOST:PORT/DATABASE"
    )]
    OtherScheme,
    #[error("{place}: {} is not supported; supported are {}", parameter(name), PARAMETERS.map(|(name, _)| name).join(", "))]
    Unknown {
        place: String,
        /// `None` if the text is not a word, because it may then be part of a password.
        name: Option<String>,
    },
    #[error(
        "{0} has a ';' or '=' in a value; parameters are separated by '&' in a URL and by blanks in name=value notation"
    )]
    Separator(String),
    #[error(
        "the database URL's {part} has a '%' that is not followed by two hexadecimal digits; write %25 for a '%'"
    )]
    Percent { part: &'static str },
    #[error("the database URL's {part} is not UTF-8 once its %-escapes are decoded")]
    Utf8 { part: &'static str },
    #[error("the database URL has an IPv6 address without its closing ']'")]
    Bracket,
    #[error(
        "the database URL has several ':' in a host; write an '@' between password and host, as USER:PASSWORD@HOST:PORT, and an IPv6 \
         address in brackets, as [::1]"
    )]
    Colons,
    #[error(
        "the database URL has no port number after the host's ':'; with a password, write USER:PASSWORD@HOST:PORT"
    )]
    NoPort,
    #[error(
        "the database URL has a parameter without '=value' after its '?'; write %3F for a '?' in a password"
    )]
    NoValue,
    #[error(
        "the database URL has an '@' after a '/' or '?'; in a password write %2F for a '/', %3F for a '?' and %40 for an '@'"
    )]
    Misplaced,
    #[error(
        "the database URL has an '@' in the user's name; write USER:PASSWORD@HOST, and %40 for an '@' within the name"
    )]
    AtInUser,
    #[error("word {0} in the connection string has no '=' after it; quote a value with blanks: password='…'")]
    NoEquals(usize),
    #[error("the value of word {0} in the connection string has no closing quote")]
    Quote(usize),
}

/// Stores one parameter under its known name. `place` is where it was written, for messages.
pub(crate) fn insert(
    parameters: &mut Parameters,
    name: &str,
    value: String,
    place: &str,
) -> Result<(), ConninfoError> {
    // libpq accepts JDBC's spelling, which many providers use in their URLs.
    let (name, value) = match (name, value.as_str()) {
        ("ssl", "true") => ("sslmode", "require".to_owned()),
        _ => (name, value),
    };
    if let Some(known) =
        PARAMETERS.map(|(name, _)| name).into_iter().chain(IGNORED).find(|known| *known == name)
    {
        parameters.insert(known, value.into());
    } else {
        let name = Some(name.to_owned()).filter(|name| is_word(name));
        return Err(ConninfoError::Unknown { place: place.to_owned(), name });
    }
    Ok(())
}

/// Rejects a separator in a value. Otherwise another parameter, such as the password, would become part of this value and be shown with it.
/// `value` is the text before unescaping, because an escaped or quoted value may contain separators.
pub(crate) fn reject_separator(name: &str, value: &str, place: &str) -> Result<(), ConninfoError> {
    if value.contains([';', '=']) && !matches!(name, "password" | "options") {
        return Err(ConninfoError::Separator(place.to_owned()));
    }
    Ok(())
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn parameter(name: &Option<String>) -> String {
    match name {
        Some(name) => format!("parameter '{name}'"),
        None => "a parameter with an invalid name, which is not shown because it may be part of a password,"
            .to_owned(),
    }
}
