//! The notation `postgresql://user:password@host:port/database?name=value`.

use super::parameters::{ConninfoError, Parameters, insert, reject_separator};

/// The place of a parameter, for messages.
const URL: &str = "the database URL";

pub(super) fn parse(rest: &str) -> Result<Parameters, ConninfoError> {
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
