//! The servers that a connection string names, in the order in which they are tried. As in libpq, the n-th host is paired with the n-th
//! address and the n-th port. This module does not resolve names or connect.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use secrecy::SecretString;

use crate::environment::Environment;

pub(crate) const PORT_DEFAULT: u16 = 5432;

#[derive(Debug, Clone)]
pub struct Address {
    pub host: Host,
    pub port: u16,
    /// The password that was given, or the one that the password file has for this host.
    pub password: Option<SecretString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `name` is the name that a certificate must contain. `ip`, if given, is used without resolving the name.
    Tcp { name: String, ip: Option<IpAddr> },
    /// The directory that holds the socket.
    Unix(PathBuf),
}

impl Address {
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.host, Host::Unix(_))
    }

    /// Returns the host as it was written.
    pub(crate) fn host_text(&self) -> String {
        match &self.host {
            Host::Tcp { name, .. } => name.clone(),
            Host::Unix(directory) => directory.display().to_string(),
        }
    }

    /// Returns the path of the socket. `None` for TCP.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Tcp { .. } => None,
            Host::Unix(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
        }
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_text() {
            host if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{hosts} hosts and {hostaddrs} hostaddrs are given; give the same number of each")]
    Hostaddrs { hosts: usize, hostaddrs: usize },
    #[error("{ports} ports are given for {hosts} hosts; give one port, or one for each host")]
    Ports { ports: usize, hosts: usize },
    // No message quotes its input, because a text that is not a valid address, port or host may be part of a password.
    #[error("hostaddr {0} is not an IP address; use host for a name")]
    Hostaddr(usize),
    #[error("the port of host {0} is not a number from 1 to 65535")]
    Port(usize),
    #[error(
        "host {0} contains a character that is not allowed in a host name; write only the host here, and a whole URL in --database-url or \
         DATABASE_URL"
    )]
    Host(usize),
}

/// Parses three comma-separated lists. An empty item means the default.
pub(crate) fn parse(
    host: &str,
    hostaddr: &str,
    port: &str,
    environment: &Environment,
) -> Result<Vec<Address>, AddressError> {
    let hosts = items(host);
    let hostaddrs = items(hostaddr);
    let ports: Vec<&str> = port.split(',').map(str::trim).collect();
    if !hosts.is_empty() && !hostaddrs.is_empty() && hosts.len() != hostaddrs.len() {
        let (hosts, hostaddrs) = (hosts.len(), hostaddrs.len());
        return Err(AddressError::Hostaddrs { hosts, hostaddrs });
    }
    let count = hosts.len().max(hostaddrs.len()).max(1);
    if ports.len() != 1 && ports.len() != count {
        return Err(AddressError::Ports { ports: ports.len(), hosts: count });
    }
    (0..count)
        .map(|index| {
            let port = match ports.get(index).or(ports.first()) {
                None | Some(&"") => PORT_DEFAULT,
                Some(port) => {
                    port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port(index + 1))?
                }
            };
            let item = |list: &[&str]| list.get(index).copied().unwrap_or("").to_owned();
            let host = parse_host(index + 1, item(&hosts), &item(&hostaddrs), port, environment)?;
            Ok(Address { host, port, password: None })
        })
        .collect()
}

fn items(list: &str) -> Vec<&str> {
    if list.trim().is_empty() { Vec::new() } else { list.split(',').map(str::trim).collect() }
}

fn parse_host(
    number: usize,
    name: String,
    hostaddr: &str,
    port: u16,
    environment: &Environment,
) -> Result<Host, AddressError> {
    let ip = match hostaddr {
        "" => None,
        text => Some(text.parse().map_err(|_| AddressError::Hostaddr(number))?),
    };
    if name.starts_with('/') && !name.contains("password=") {
        return Ok(Host::Unix(PathBuf::from(name)));
    }
    if !is_host(&name) {
        return Err(AddressError::Host(number));
    }
    Ok(match (name.is_empty(), ip) {
        (false, ip) => Host::Tcp { name, ip },
        // The certificate must then contain the address.
        (true, Some(ip)) => Host::Tcp { name: ip.to_string(), ip: Some(ip) },
        (true, None) => match environment.socket_directory(port) {
            Some(directory) => Host::Unix(directory.to_owned()),
            None => Host::Tcp { name: "localhost".to_owned(), ip: None },
        },
    })
}

/// Returns true if the text can be a host. Messages show only texts that satisfy this.
fn is_host(name: &str) -> bool {
    // The text may include a zone: `fe80::1%eth0`.
    let is_ipv6 = name.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    is_ipv6 || name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, hostaddr: &str, port: &str, expected: &str) {
        let shown = match parse(host, hostaddr, port, &Environment::empty()) {
            Ok(addresses) => addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expected), "{host} {hostaddr} {port}: {shown}");
        if !expected.contains(' ') {
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn hosts_and_ports_are_paired_in_order() {
        check("", "", "", "localhost:5432");
        check("db", "", "6543", "db:6543");
        check("a,b", "", "6543", "a:6543 b:6543");
        check("a,b,::1", "", "1,,3", "a:1 b:5432 [::1]:3");
        check("/srv/pg", "", "", "/srv/pg:5432");
        check("", "10.0.0.1", "", "10.0.0.1:5432");
        check("db", "10.0.0.1", "", "db:5432");
    }

    #[test]
    fn lists_of_different_lengths_are_rejected() {
        check("a,b", "10.0.0.1", "", "2 hosts and 1 hostaddrs");
        check("a", "", "1,2", "2 ports are given for 1 hosts");
        check("", "db", "", "hostaddr 1 is not an IP address");
        for port in ["0", "65536", "x", "-1", "s3cret"] {
            check("a", "", port, "the port of host 1 is not a number");
        }
        for host in [
            "a b",
            "\"a\"",
            "s3cret:x",
            "a;s3cret",
            "a=s3cret",
            "postgresql://u:s3cret@h/db",
            "/a;password=s3cret",
        ] {
            check(host, "", "", "host 1 contains a character");
            assert!(!parse(host, "", "", &Environment::empty()).unwrap_err().to_string().contains("s3cret"));
        }
        check("fe80::1%eth0", "", "", "[fe80::1%eth0]:5432");
    }

    #[test]
    fn an_existing_socket_is_the_default_host() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(".s.PGSQL.5432"), "").unwrap();
        let environment = Environment::empty().with_socket_directory(directory.path());
        let found = parse("", "", "", &environment).unwrap();
        assert_eq!(found[0].host, Host::Unix(directory.path().to_owned()));
        let other = parse("", "", "5433", &environment).unwrap();
        assert_eq!(other[0].to_string(), "localhost:5433");
    }
}
