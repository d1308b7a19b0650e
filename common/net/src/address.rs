//! Addresses of coordinators and of listeners, as they are typed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The possible addresses of the coordinator, in the order in which they are tried. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinators(Vec<Coordinator>);

impl Coordinators {
    pub fn one(coordinator: Coordinator) -> Self {
        Self(vec![coordinator])
    }

    pub fn iter(&self) -> impl Iterator<Item = &Coordinator> {
        self.0.iter()
    }

    /// Returns true if all addresses are on this machine.
    pub fn are_loopback(&self) -> bool {
        self.iter().all(Coordinator::is_loopback)
    }
}

impl FromStr for Coordinators {
    type Err = InvalidCoordinator;

    fn from_str(text: &str) -> Result<Self, InvalidCoordinator> {
        text.split(',').map(|one| one.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Coordinators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(" or "))
    }
}

/// The address of a coordinator: `host:port`, with an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    host: String,
    port: u16,
}

impl Coordinator {
    /// Returns a placeholder for the coordinator in this process, which has no address. It is shown in messages and never resolved.
    pub fn of_this_process() -> Self {
        Self { host: "this-process".to_owned(), port: 0 }
    }

    /// Returns the host without the brackets of an IPv6 address.
    pub fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns true if the address is on this machine. A name other than `localhost` is not, because it could be any machine.
    pub fn is_loopback(&self) -> bool {
        let bare = self.bare_host();
        match bare.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => bare.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Parses an address to listen on, for the options of both programs.
///
/// # Errors
/// For anything but an IP address and a port. A host name is rejected, because it may have several addresses, and some of them may belong
/// to other machines.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let port = port.map_or_else(|| "PORT".to_owned(), |port| port.to_string());
        format!(
            "expected an IP address and a port: 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} or [::]:{port} for all interfaces"
        )
    })
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an address of the form HOST:PORT, such as db1:50051 or [::1]:50051")]
pub struct InvalidCoordinator(String);

impl FromStr for Coordinator {
    type Err = InvalidCoordinator;

    fn from_str(text: &str) -> Result<Self, InvalidCoordinator> {
        let invalid = || InvalidCoordinator(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let is_plain = !host.is_empty() && !host.contains([':', '/', '[', ']', '@', ' ']);
        if is_bracketed || is_plain { Ok(Self { host: host.to_owned(), port }) } else { Err(invalid()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["db1:50051", "10.0.0.7:1", "[::1]:50051"] {
            assert_eq!(good.parse::<Coordinator>().unwrap().to_string(), good);
        }
        for bad in ["db1", "db1:", ":50051", "::1:50051", "http://db1:50051", "db1:99999"] {
            assert!(bad.parse::<Coordinator>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_to_listen_on_must_be_ip_addresses() {
        assert_eq!(parse_listen_address("[::]:1"), Ok("[::]:1".parse().unwrap()));
        for (bad, expected) in
            [("localhost:50051", "127.0.0.1:50051"), ("0.0.0.0", "0.0.0.0:PORT"), (":9", "[::]:9")]
        {
            let error = parse_listen_address(bad).unwrap_err();
            assert!(error.contains("IP address") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn several_addresses_keep_their_order() {
        let several: Coordinators = "db1:50051, [::1]:2".parse().unwrap();
        assert_eq!(several.to_string(), "db1:50051 or [::1]:2");
        assert!(!several.are_loopback());
        assert!("localhost:1,[::1]:2".parse::<Coordinators>().unwrap().are_loopback());
        for bad in ["", "db1:1,", "db1:1;db2:1"] {
            assert!(bad.parse::<Coordinators>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_an_address_of_this_machine_is_loopback() {
        let is_loopback = |text: &str| text.parse::<Coordinator>().unwrap().is_loopback();
        assert!(is_loopback("127.0.0.1:1") && is_loopback("127.9.9.9:1") && is_loopback("[::1]:1"));
        assert!(is_loopback("LOCALHOST:1"));
        assert!(!is_loopback("10.0.0.7:1") && !is_loopback("localhost.example:1"));
    }
}
