//! Parses libpq's two notations of a connection string: `postgresql://user@host/db?…` and `host=… dbname=…`. The values are not interpreted
//! here. No error quotes a value, because it may be the password.

mod pairs;
mod parameters;
mod url;

use secrecy::{ExposeSecret, SecretString};

pub(crate) use parameters::{ConninfoError, PARAMETERS, Parameters, insert, reject_separator};

/// Common wrong schemes, which an error message may quote. Any other text before '://' may be part of a password.
const OTHER_SCHEMES: [&str; 8] = [
    "cockroachdb",
    "http",
    "https",
    "mariadb",
    "mysql",
    "postgresql+asyncpg",
    "postgresql+psycopg",
    "postgresql+psycopg2",
];

/// Parses either notation. Parameters without effect are omitted.
pub(crate) fn parse(text: &SecretString) -> Result<Parameters, ConninfoError> {
    let mut parameters = parse_all(text)?;
    parameters.retain(|name, _| !parameters::IGNORED.contains(name));
    Ok(parameters)
}

/// Like [`parse`], but includes parameters without effect.
pub(crate) fn parse_all(text: &SecretString) -> Result<Parameters, ConninfoError> {
    let text = text.expose_secret().trim();
    if text.starts_with(['"', '\'', '`', '\u{201c}', '\u{2018}']) {
        return Err(ConninfoError::Quoted);
    }
    if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("jdbc:")) {
        return Err(ConninfoError::Jdbc);
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match (scheme, text.split_once('=')) {
        (Some(name @ ("postgresql" | "postgres")), _) => url::parse(&text[name.len() + "://".len()..]),
        // A scheme is a word; anything else before '://' belongs to a value, such as options.
        (Some(scheme), _) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => {
            let known = OTHER_SCHEMES.into_iter().find(|known| *known == scheme);
            Err(known.map_or(ConninfoError::OtherScheme, ConninfoError::Scheme))
        }
        _ if text.starts_with("postgresql:") || text.starts_with("postgres:") => {
            Err(ConninfoError::NoSlashes)
        }
        (_, Some((name, _))) if is_variable(name.trim_start_matches("export ")) => {
            Err(ConninfoError::Assignment)
        }
        // In a URL without a scheme the first '=' comes after other delimiters.
        (_, Some((name, _))) if !name.contains(['@', ':', '/', '?']) => pairs::parse(text),
        _ => Err(ConninfoError::NoNotation),
    }
}

/// Returns true if the name looks like an environment variable.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[cfg(test)]
mod tests;
