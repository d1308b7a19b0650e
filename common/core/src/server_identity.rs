//! The identity of the server that answered a connection, and whether two identities are one server. Pure: an agent queries the server.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// The identity that a server reports on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerIdentity {
    /// `10.0.0.1:5432` as reported by the server, or the path of its socket. The dialled address if the server does not report one.
    pub address: String,
    /// From `pg_control_system()`: the same for a server, its standbys and its copies. Decimal digits. `null` if it cannot be read.
    pub system_identifier: Option<String>,
    /// When its postmaster started: RFC 3339, UTC, with microseconds. `null` if it cannot be read.
    pub started_at: Option<String>,
    /// Its role in replication; `null` if it cannot be read.
    pub role: Option<Role>,
    /// Version as the server reports it; empty if it cannot be read.
    pub server_version: String,
    /// The database's name; empty if it cannot be read.
    pub database: String,
    /// The extension's version; `null` if it is not installed.
    pub timescaledb: Option<String>,
}

/// The role of a server in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It accepts writes.
    Primary,
    /// It is read-only and follows a primary.
    Standby,
}

/// Reconnects of one session, grouped by the server that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconnects {
    /// Index of the database: 0, or 1 for the second one of a run that compares two.
    pub target: u16,
    pub server: ServerIdentity,
    /// Number of broken connections that were opened again. Connections that the workers closed on purpose are not counted.
    pub count: u64,
    /// The longest time from detecting a broken connection to having it again.
    pub outage_max_ns: u64,
}

impl ServerIdentity {
    /// Returns true if both are states of one server and one database. A restarted server is the same one; its standby, its copy and
    /// another database on it are not.
    pub fn is_same_server(&self, other: &Self) -> bool {
        if let (Some(own), Some(other)) = (&self.system_identifier, &other.system_identifier)
            && own != other
        {
            return false;
        }
        // A process may be reached by its socket and by TCP, or by two addresses, but it listens on one port.
        let is_same_process = self.started_at.is_some() && self.started_at == other.started_at;
        let ports_agree = self.port().zip(other.port()).is_none_or(|(own, other)| own == other);
        let is_same_database =
            [&self.database, &other.database].contains(&&String::new()) || self.database == other.database;
        is_same_database && (self.address == other.address || (is_same_process && ports_agree))
    }

    /// Returns true if the server reported anything about itself.
    pub fn is_known(&self) -> bool {
        !self.server_version.is_empty()
    }

    /// Returns the port; `None` for a socket.
    fn port(&self) -> Option<&str> {
        let (host, port) = self.address.rsplit_once(':')?;
        (!host.starts_with('/')).then_some(port)
    }

    /// Returns the parts that distinguish this server from others for a reader, without its versions.
    pub fn parts(&self) -> Vec<String> {
        let role = self.role.map(|role| role.to_string());
        let started = self.started_at.as_ref().map(|at| format!("started {at}"));
        let identifier = self.system_identifier.as_ref().map(|id| format!("system identifier {id}"));
        let database = Some(&self.database).filter(|name| !name.is_empty());
        let address = match database {
            Some(database) => format!("{database} on {}", self.address),
            None => self.address.clone(),
        };
        std::iter::once(address).chain(role).chain(started).chain(identifier).collect()
    }
}

/// `db on 10.0.0.1:5432 (primary, started 2026-11-30T12:00:00.000000Z, system identifier 7431…)`.
impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts();
        match parts.split_first() {
            Some((address, [])) => f.write_str(address),
            Some((address, others)) => write!(f, "{address} ({})", others.join(", ")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

impl Reconnects {
    /// Adds these reconnects to the totals. After [`limits::SERVERS_MAX`] different servers, the rest is added to the last one.
    pub fn add_to(self, sums: &mut Vec<Self>) {
        let Self { target, server, count, outage_max_ns } = self;
        let is_full = sums.len() >= limits::SERVERS_MAX;
        let same = sums.iter_mut().find(|sum| sum.target == target && sum.server == server);
        let sum = match same {
            Some(sum) => Some(sum),
            None if is_full => sums.last_mut(),
            None => None,
        };
        match sum {
            Some(sum) => {
                sum.count = sum.count.saturating_add(count);
                sum.outage_max_ns = sum.outage_max_ns.max(outage_max_ns);
            }
            None => sums.push(Self { target, server, count, outage_max_ns }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, system_identifier: &str, started_at: &str) -> ServerIdentity {
        let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ServerIdentity {
            address: address.to_owned(),
            system_identifier: known(system_identifier),
            started_at: known(started_at),
            role: Some(Role::Primary),
            server_version: "16.4".to_owned(),
            database: "db".to_owned(),
            timescaledb: None,
        }
    }

    #[track_caller]
    fn check(one: &[&str; 3], other: &[&str; 3], expected: bool) {
        let [one, other] = [one, other].map(|[address, id, start]| server(address, id, start));
        assert_eq!(one.is_same_server(&other), expected, "{one} and {other}");
        assert_eq!(other.is_same_server(&one), expected, "{other} and {one}");
    }

    const T1: &str = "2026-11-30T12:00:00.000001Z";
    const T2: &str = "2026-11-30T12:00:00.000002Z";

    #[test]
    fn a_different_system_identifier_is_a_different_server() {
        check(&["10.0.0.1:5432", "1", T1], &["10.0.0.1:5432", "2", T2], false);
        check(&["10.0.0.1:5432", "1", T1], &["10.0.0.1:5432", "2", T1], false);
    }

    #[test]
    fn a_restarted_server_is_the_same_server() {
        check(&["10.0.0.1:5432", "1", T1], &["10.0.0.1:5432", "1", T2], true);
        check(&["10.0.0.1:5432", "", T1], &["10.0.0.1:5432", "", T2], true);
    }

    #[test]
    fn a_standby_has_the_identifier_of_its_primary_but_is_a_different_server() {
        check(&["10.0.0.1:5432", "1", T1], &["10.0.0.2:5432", "1", T2], false);
        check(&["10.0.0.1:5432", "", T1], &["10.0.0.2:5432", "", T2], false);
        check(&["10.0.0.1:5432", "1", T1], &["10.0.0.1:5433", "1", T1], false);
    }

    #[test]
    fn a_process_is_one_server_however_it_is_reached() {
        check(&["10.0.0.1:5432", "1", T1], &["/run/postgresql/.s.PGSQL.5432", "1", T1], true);
        check(&["10.0.0.1:5432", "1", T1], &["[fd00::1]:5432", "1", T1], true);
        check(&["/run/postgresql/.s.PGSQL.5432", "", T1], &["10.0.0.1:5432", "", T1], true);
    }

    #[test]
    fn servers_that_report_nothing_are_distinguished_by_address() {
        check(&["10.0.0.1:5432", "", ""], &["10.0.0.1:5432", "", ""], true);
        check(&["10.0.0.1:5432", "", ""], &["10.0.0.1:5433", "", ""], false);
        check(&["10.0.0.1:5432", "1", T1], &["10.0.0.1:5432", "", ""], true);
    }

    #[test]
    fn another_database_of_a_server_is_distinguished() {
        let one = server("10.0.0.1:5432", "1", T1);
        let other = ServerIdentity { database: "other".to_owned(), ..one.clone() };
        assert!(!one.is_same_server(&other));
    }

    #[test]
    fn many_reconnects_become_one_total_per_server() {
        let mut sums = Vec::new();
        let add = |sums: &mut Vec<Reconnects>, start: &str, outage_max_ns| {
            let server = server("10.0.0.1:5432", "1", start);
            Reconnects { target: 0, server, count: 1, outage_max_ns }.add_to(sums);
        };
        (0..1_000).for_each(|outage| add(&mut sums, T1, outage));
        assert_eq!((sums.len(), sums[0].count, sums[0].outage_max_ns), (1, 1_000, 999));
        (0..1_000).for_each(|n| add(&mut sums, &n.to_string(), 0));
        assert_eq!(sums.len(), limits::SERVERS_MAX);
        assert_eq!(sums.iter().map(|sum| sum.count).sum::<u64>(), 2_000);
    }
}
