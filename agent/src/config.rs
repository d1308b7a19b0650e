//! What an agent was told, checked.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use muster_common::ids::SlotId;

use crate::postgres::Settings;
use crate::security::Security;

/// One agent. `workers` is 1 to [`muster_common::limits::WORKERS_PER_AGENT_MAX`].
#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub coordinator: Coordinator,
    pub security: Security,
    pub workers: u16,
    /// The slot to ask for; any when `None`.
    pub slot: Option<SlotId>,
    /// Leave after one run instead of waiting for the next.
    pub once: bool,
    /// Its own database; `None` takes the coordinator's.
    pub database: Option<Settings>,
    /// Let statements write. Sessions are read-only otherwise.
    pub allow_writes: bool,
}

/// Where the coordinator listens: `host:port`, an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    host: String,
    port: u16,
}

impl Coordinator {
    /// Without the brackets of an IPv6 address.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the address can only be this machine; a name other than `localhost` could be any.
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
    fn only_an_address_of_this_machine_is_loopback() {
        let is_loopback = |text: &str| text.parse::<Coordinator>().unwrap().is_loopback();
        assert!(is_loopback("127.0.0.1:1") && is_loopback("127.9.9.9:1") && is_loopback("[::1]:1"));
        assert!(is_loopback("LOCALHOST:1"));
        assert!(!is_loopback("10.0.0.7:1") && !is_loopback("localhost.example:1"));
    }
}
