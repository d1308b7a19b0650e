//! What an agent was told, checked.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use muster_common::ids::SlotId;

use crate::postgres::Settings;
use crate::security::Security;

/// One agent. `workers` is 1 to [`muster_common::limits::WORKERS_PER_AGENT_MAX`].
#[derive(Debug, Clone)]
pub struct AgentConfig {
    pub coordinators: Coordinators,
    pub security: Security,
    pub workers: u16,
    /// That the workers share; as many as there are processors when `None`.
    pub threads: Option<NonZeroU16>,
    /// The slot to ask for; any when `None`.
    pub slot: Option<SlotId>,
    /// Leave after one run instead of waiting for the next.
    pub once: bool,
    /// Its own database; `None` takes the coordinator's.
    pub database: Option<Settings>,
    /// Let statements write. Sessions are read-only otherwise.
    pub allow_writes: bool,
}

/// Where a coordinator may listen, in the order in which they are tried; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinators(Vec<Coordinator>);

impl Coordinators {
    pub fn one(coordinator: Coordinator) -> Self {
        Self(vec![coordinator])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Coordinator> {
        self.0.iter()
    }

    /// Whether all of them can only be this machine.
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

/// Where a coordinator listens: `host:port`, an IPv6 address in brackets.
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
    fn several_addresses_are_kept_in_their_order() {
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
