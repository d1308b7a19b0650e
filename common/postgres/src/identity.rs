//! Identifies the server of a connection. Each connection of a worker is queried once, before its statements are prepared and never on the
//! timed path. Values that the server does not report remain unknown. They cause neither the connection nor a transaction to fail.

use muster_core::server_identity::{Role, ServerIdentity};
use tokio_postgres::{Client, SimpleQueryRow};

use crate::address::{Address, Host};
use crate::peer::first_row;

/// A role may lack the right to call `pg_control_system()`, and PostgreSQL checks it even for a branch of a CASE that is not taken. The
/// text passed to `query_to_xml` runs only where its branch is taken, so a missing right neither fails the query nor fills the server's
/// log.
const SYSTEM_IDENTIFIER: &str = "\
CASE WHEN has_function_privilege(to_regprocedure('pg_catalog.pg_control_system()'), 'EXECUTE') THEN \
  substring(query_to_xml('SELECT system_identifier FROM pg_catalog.pg_control_system()', true, true, '')::text \
            from '<system_identifier>(\\d+)<') END";
const UNREADABLE: &str = "NULL";

/// Takes one round trip in the simple protocol, which leaves no prepared statement behind. A second one follows only if the server rejects
/// the first query.
pub(crate) async fn identify(client: &Client, dialled: &Address) -> ServerIdentity {
    for system_identifier in [SYSTEM_IDENTIFIER, UNREADABLE] {
        if let Ok(messages) = client.simple_query(&statement(system_identifier)).await {
            return first_row(&messages).map_or_else(|| unknown(dialled), |row| read(row, dialled));
        }
    }
    unknown(dialled)
}

fn statement(system_identifier: &str) -> String {
    format!(
        "SELECT host(inet_server_addr()), inet_server_port(), {system_identifier}, \
         to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
         CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END, \
         current_setting('server_version'), current_database(), \
         (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb')"
    )
}

fn read(row: &SimpleQueryRow, dialled: &Address) -> ServerIdentity {
    let text = |column: usize| row.try_get(column).ok().flatten().map(str::to_owned);
    let address = match (text(0), text(1)) {
        (Some(host), Some(port)) => Some(at(&host, &port)),
        _ => None,
    };
    ServerIdentity {
        address: address.unwrap_or_else(|| address_dialled(dialled)),
        system_identifier: text(2),
        started_at: text(3),
        role: text(4).map(|role| if role == "standby" { Role::Standby } else { Role::Primary }),
        server_version: text(5).unwrap_or_default(),
        database: text(6).unwrap_or_default(),
        timescaledb: text(7),
    }
}

/// Identifies a server that reports nothing by the address to which the connection was opened.
fn unknown(dialled: &Address) -> ServerIdentity {
    ServerIdentity { address: address_dialled(dialled), ..ServerIdentity::default() }
}

/// Returns the socket's path, or the address to which the host name resolved.
fn address_dialled(dialled: &Address) -> String {
    match (&dialled.host, dialled.socket()) {
        (Host::Tcp { name, ip }, _) => {
            let host = ip.map_or_else(|| name.clone(), |ip| ip.to_string());
            at(&host, &dialled.port.to_string())
        }
        (Host::Unix(_), socket) => socket.unwrap_or_default().display().to_string(),
    }
}

fn at(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_reports_nothing_is_identified_by_its_address() {
        let unknown = |host: Host| unknown(&Address { host, port: 5433, password: None }).address;
        let tcp = |name: &str, ip: Option<&str>| Host::Tcp {
            name: name.to_owned(),
            ip: ip.map(|ip| ip.parse().unwrap()),
        };
        assert_eq!(unknown(tcp("db", Some("10.0.0.1"))), "10.0.0.1:5433");
        assert_eq!(unknown(tcp("db", Some("::1"))), "[::1]:5433");
        assert_eq!(unknown(tcp("db", None)), "db:5433");
        assert_eq!(unknown(Host::Unix("/run/postgresql".into())), "/run/postgresql/.s.PGSQL.5433");
    }
}
