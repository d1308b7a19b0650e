//! Parses libpq's two notations of a connection string: `postgresql://user@host/db?…` and `host=… dbname=…`. The values are not interpreted
//! here. No error quotes a value, because it may be the password.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

/// Parameters by libpq's name. All values are secrets, because one of them is the password.
pub type Parameters = BTreeMap<&'static str, SecretString>;

/// Parameters that have an effect.
const PARAMETERS: [&str; 17] = [
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "passfile",
    "password",
    "port",
    "service",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "user",
];

/// Parameters that are accepted without effect: Muster sets the application name, the encoding is always UTF-8, and GSSAPI is not used.
const IGNORED: [&str; 4] = ["application_name", "client_encoding", "fallback_application_name", "gssencmode"];

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
    #[error("{place}: {} is not supported; supported are {}", parameter(name), PARAMETERS.join(", "))]
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

/// The place of a parameter, for messages.
const URL: &str = "the database URL";

/// Parses either notation. Parameters without effect are omitted.
pub fn parse(text: &SecretString) -> Result<Parameters, ConninfoError> {
    let mut parameters = parse_all(text)?;
    parameters.retain(|name, _| !IGNORED.contains(name));
    Ok(parameters)
}

/// Like [`parse`], but includes parameters without effect.
pub(super) fn parse_all(text: &SecretString) -> Result<Parameters, ConninfoError> {
    let text = text.expose_secret().trim();
    if text.starts_with(['"', '\'', '`', '\u{201c}', '\u{2018}']) {
        return Err(ConninfoError::Quoted);
    }
    if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("jdbc:")) {
        return Err(ConninfoError::Jdbc);
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match (scheme, text.split_once('=')) {
        (Some(name @ ("postgresql" | "postgres")), _) => parse_url(&text[name.len() + "://".len()..]),
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
        (_, Some((name, _))) if !name.contains(['@', ':', '/', '?']) => parse_pairs(text),
        _ => Err(ConninfoError::NoNotation),
    }
}

/// Stores one parameter under its known name. `place` is where it was written, for messages.
pub(super) fn insert(
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
    if let Some(known) = PARAMETERS.into_iter().chain(IGNORED).find(|known| *known == name) {
        parameters.insert(known, value.into());
    } else {
        let name = Some(name.to_owned()).filter(|name| is_word(name));
        return Err(ConninfoError::Unknown { place: place.to_owned(), name });
    }
    Ok(())
}

/// Rejects a separator in a value. Otherwise another parameter, such as the password, would become part of this value and be shown with it.
/// `value` is the text before unescaping, because an escaped or quoted value may contain separators.
pub(super) fn reject_separator(name: &str, value: &str, place: &str) -> Result<(), ConninfoError> {
    if value.contains([';', '=']) && !matches!(name, "password" | "options") {
        return Err(ConninfoError::Separator(place.to_owned()));
    }
    Ok(())
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Returns true if the name looks like an environment variable.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn parameter(name: &Option<String>) -> String {
    match name {
        Some(name) => format!("parameter '{name}'"),
        None => "a parameter with an invalid name, which is not shown because it may be part of a password,"
            .to_owned(),
    }
}

fn parse_url(rest: &str) -> Result<Parameters, ConninfoError> {
    let mut parameters = Parameters::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    // A password with a bare '/' or '?' would be taken for a port, a database or a parameter, and then be shown as one.
    let has_port =
        authority.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let holds_host = |value: &str| value.split_once('@').is_some_and(|(_, rest)| rest.contains('/'));
    let is_misplaced = query.contains('@') && (!has_port || query.split('&').any(holds_host));
    if dbname.contains('@') || (!authority.contains('@') && is_misplaced) {
        return Err(ConninfoError::Misplaced);
    }
    // Split at the last '@', because a password that is not escaped may contain one.
    let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    if user.contains('@') {
        return Err(ConninfoError::AtInUser);
    }
    let (hosts, ports) = split_hosts(hosts)?;
    let parts = [
        ("user", "user", user),
        ("password", "password", password),
        ("dbname", "database", dbname),
        ("host", "host", &hosts),
        ("port", "port", &ports),
    ];
    // A part that is absent comes from the environment, as with libpq. This includes the host in `postgresql:///db`.
    for (name, part, value) in parts {
        if !value.is_empty() {
            reject_separator(name, value, URL)?;
            parameters.insert(name, decode(value, part)?.into());
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(ConninfoError::NoValue)?;
        let name = decode(name, "query")?;
        reject_separator(&name, value, URL)?;
        insert(&mut parameters, &name, decode(value, "query")?, URL)?;
    }
    Ok(parameters)
}

/// `h1:1,[::1]:2,h3` becomes `h1,::1,h3` and `1,2,`; the ports are empty when none is written.
fn split_hosts(hosts: &str) -> Result<(String, String), ConninfoError> {
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (name, after) = rest.split_once(']').ok_or(ConninfoError::Bracket)?;
                (name, after.strip_prefix(':').unwrap_or(after))
            }
            None => host.rsplit_once(':').unwrap_or((host, "")),
        };
        // Without the '@', the text on either side of it would be taken for a host or a port.
        if !host.starts_with('[') && name.contains(':') {
            return Err(ConninfoError::Colons);
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ConninfoError::NoPort);
        }
        names.push(name);
        ports.push(port);
    }
    let no_port = ports.iter().all(|port| port.is_empty());
    let ports = if no_port { String::new() } else { ports.join(",") };
    Ok((names.join(","), ports))
}

fn decode(text: &str, part: &'static str) -> Result<String, ConninfoError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let [high, low, after @ ..] = after else {
                return Err(ConninfoError::Percent { part });
            };
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Err(ConninfoError::Percent { part });
            };
            bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits fit a byte"));
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| ConninfoError::Utf8 { part })
}

/// Parses `name = value` or `name='quoted \' value'`, separated by blanks.
fn parse_pairs(text: &str) -> Result<Parameters, ConninfoError> {
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    let mut word = 0;
    while !rest.is_empty() {
        word += 1;
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.trim_start().strip_prefix('=').ok_or(ConninfoError::NoEquals(word))?;
        let written = after.trim_start();
        let (value, after) = take_value(written).ok_or(ConninfoError::Quote(word))?;
        let place = "the connection string";
        if !written.starts_with('\'') {
            reject_separator(name, &value, place)?;
        }
        insert(&mut parameters, name, value, place)?;
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// Returns a value and the text after it. `None` when a quote is not closed.
fn take_value(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            blank if !quoted && blank.is_whitespace() => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let parsed = parse(&text.into()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let parsed: Vec<_> = parsed.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
        assert_eq!(parsed, expected, "{text}");
    }

    fn check_rejected(text: &str, expected: &str) {
        let error = parse(&text.into()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("s3cret"), "{text}: {error}");
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        check("postgresql://", &[]);
        check("postgres:///metrics", &[("dbname", "metrics")]);
        check(
            "postgresql://bench:a%40b@db:5433/metrics",
            &[
                ("dbname", "metrics"),
                ("host", "db"),
                ("password", "a@b"),
                ("port", "5433"),
                ("user", "bench"),
            ],
        );
        check(
            "postgresql://h1:1,[::1]:2,h3/db",
            &[("dbname", "db"), ("host", "h1,::1,h3"), ("port", "1,2,")],
        );
        check("postgresql://%2Fvar%2Frun/db", &[("dbname", "db"), ("host", "/var/run")]);
        check(
            "postgresql:///db?host=/tmp&sslmode=verify-full&application_name=x",
            &[("dbname", "db"), ("host", "/tmp"), ("sslmode", "verify-full")],
        );
        check("postgresql://h?ssl=true", &[("host", "h"), ("sslmode", "require")]);
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        check(
            r"host = db  password='a \'b\' \\' user=it\ is",
            &[("host", "db"), ("password", r"a 'b' \"), ("user", "it is")],
        );
        check("password='' host=h", &[("host", "h"), ("password", "")]);
        check("host=h password=http://x", &[("host", "h"), ("password", "http://x")]);
    }

    #[test]
    fn unsupported_parameters_are_rejected_by_name_without_the_password() {
        check_rejected("postgresql://u:s3cret@h/db?schema=public", "'schema'");
        check_rejected("host=h password=s3cret sslcrl=x", "'sslcrl'");
        check_rejected("postgresql://u:s3cret@h/db?s3cret=public", "a parameter");
        check_rejected("mysql://u:s3cret@h/db", "'mysql://'");
        check_rejected("s3cret://u@h/db", "a scheme other than");
        check_rejected("metrics", "postgresql://USER@HOST");
        check_rejected("postgresql://u:s3cret%4@h/db", "password has a '%'");
        check_rejected("postgresql://u:s3cret%ff@h/db", "password is not UTF-8");
        check_rejected("postgresql://u:s3cret@[::1/db", "']'");
        check_rejected("postgresql://u:s3cret@h/db?sslmode", "without '=value'");
        check_rejected("password=my s3cret host=h", "word 2");
        check_rejected(
            "password='s3cret",
            "the value of word 1 in the connection string has no closing quote",
        );
        check_rejected("postgresql://u:x/s3cret@h/db", "%2F");
        check_rejected("postgresql://u:x?s3cret=1@h/db", "%3F");
    }

    #[test]
    fn common_mistakes_in_a_url_are_explained() {
        check_rejected("\"postgresql://u:s3cret@h/db?sslmode=prefer\"", "begins with a quote");
        check_rejected("'host=h password=s3cret'", "begins with a quote");
        check_rejected("jdbc:postgresql://u:s3cret@h/db?ssl=false", "JDBC");
        check_rejected("JDBC:postgresql://h/db?user=u&password=s3cret", "JDBC");
        check_rejected("u:s3cret@h/db?sslmode=prefer", "no 'postgresql://'");
        check_rejected("h/db?user=u&password=s3cret", "no 'postgresql://'");
        check_rejected("postgresql:/u:s3cret@h/db?sslmode=prefer", "no '//'");
        check_rejected("postgres:u:s3cret@h/db", "no '//'");
        check_rejected("DATABASE_URL=postgresql://u:s3cret@h/db", "name of a variable");
        check_rejected("export PGPASSWORD=s3cret", "name of a variable");
        check_rejected("host=h;port=1;password=s3cret", "';'");
        check_rejected("Host=h;Username=u;Password=s3cret", "';'");
        check_rejected("postgresql://h/db;user=u;password=s3cret", "';'");
        check_rejected("postgresql://h/db?sslmode=prefer;password=s3cret", "';'");
        check_rejected("postgresql://h/db?sslrootcert=x password=s3cret", "'='");
        check_rejected("host=h user=upassword=s3cret", "'='");
        check_rejected("postgresql://u:s3cret:h:1/db", "several ':'");
        check_rejected("postgresql://::1/db", "[::1]");
        check_rejected("postgresql://u:s3cret/db", "USER:PASSWORD@HOST");
        check_rejected("postgresql://u:s3cret", "USER:PASSWORD@HOST");
        check_rejected("postgresql://u@s3cret@h/db", "%40");
    }

    #[test]
    fn an_at_in_a_parameter_is_a_value_unless_a_host_follows() {
        check_rejected("postgresql://u:1234?hunter=x@h/s3cret", "");
        let (host, port) = (("host", "h"), ("port", "5432"));
        check("postgresql://h:5432/?user=me@server", &[host, port, ("user", "me@server")]);
    }

    #[test]
    fn a_password_may_contain_separators() {
        check(
            "host=h options=-ca=b password=a;b=c",
            &[("host", "h"), ("options", "-ca=b"), ("password", "a;b=c")],
        );
        check("postgresql://?host=%2Ftmp%2Fa%3Db%3Bc", &[("host", "/tmp/a=b;c")]);
        check("host='/tmp/a=b;c'", &[("host", "/tmp/a=b;c")]);
        check("postgresql://u:a;b=c@h", &[("host", "h"), ("password", "a;b=c"), ("user", "u")]);
        check("postgresql://u:a@b:c@h", &[("host", "h"), ("password", "a@b:c"), ("user", "u")]);
    }

    #[test]
    fn any_text_is_parsed_or_rejected_without_a_panic() {
        for text in
            ["", "=", "%", "postgresql://%", "postgresql://@:@/?=&", "a=\\", "postgresql://:,:", "é='"]
        {
            let _ = parse(&text.into());
        }
    }
}
