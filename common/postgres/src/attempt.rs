//! Which servers are tried, and how: each address in turn, with TLS, without TLS or both where `sslmode` allows it.

use std::sync::PoisonError;

use muster_process::blocking::addresses;
use tokio::time::timeout;
use tokio_postgres::config::SslMode as Negotiation;
use tracing::warn;

use crate::address::{Address, Host};
use crate::connection::{Connection, Request};
use crate::failure::{ConnectError, Problem};
use crate::session_attrs::TargetSessionAttrs;
use crate::settings::{Origin, Settings};
use crate::transport::Transport;

impl Request<'_> {
    /// Opens a connection. With `prefer-standby` a second attempt accepts any server.
    ///
    /// # Errors
    /// The reason for each address.
    pub(crate) async fn open(&self) -> Result<Connection, ConnectError> {
        let settings = self.settings;
        let connected = match self.try_all().await {
            Err(error)
                if settings.target_session_attrs == TargetSessionAttrs::PreferStandby
                    && error.found_unsuitable_server() =>
            {
                let mut any = settings.clone();
                any.target_session_attrs = TargetSessionAttrs::Any;
                Request { settings: &any, ..*self }.try_all().await
            }
            connected => connected,
        };
        connected.inspect_err(|error| log(error, settings))
    }

    async fn try_all(&self) -> Result<Connection, ConnectError> {
        let settings = self.settings;
        let mut failures = Vec::new();
        for address in &settings.addresses {
            let mut problems = Vec::new();
            match timeout(settings.connect_timeout, self.try_address(address, &mut problems)).await {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) => {}
                Err(_) => problems.push(Problem::Timeout(settings.connect_timeout)),
            }
            let over = problems.last().is_some_and(Problem::ends_attempts);
            // A certificate name that does not match is reported once for all addresses of the host.
            problems.dedup();
            failures.extend(problems.into_iter().map(|problem| (address.to_string(), problem)));
            if over {
                break;
            }
        }
        Err(ConnectError::new(settings, failures))
    }

    /// Tries every address to which the host name resolves. Adds to `problems` if there is no connection. tokio-postgres is not used for
    /// this, because it continues after a server that refused and reports the last problem only, so a wrong password would be reported as
    /// an address without a server.
    async fn try_address(&self, address: &Address, problems: &mut Vec<Problem>) -> Option<Connection> {
        let resolved = match resolve(address).await {
            Ok(resolved) => resolved,
            Err(problem) => {
                problems.push(problem);
                return None;
            }
        };
        for address in &resolved {
            let connection = self.try_one(address, problems).await;
            if connection.is_some() || problems.last().is_some_and(Problem::ends_attempts) {
                return connection;
            }
        }
        None
    }

    /// Tries one server with TLS, without TLS or both, depending on `sslmode`. Adds to `problems` if there is no connection.
    async fn try_one(&self, address: &Address, problems: &mut Vec<Problem>) -> Option<Connection> {
        for negotiation in negotiations(self.settings, address) {
            let mut is_plain = false;
            let opened = match Transport::open(self.settings, address, *negotiation).await {
                Ok(transport) => {
                    is_plain = !transport.is_encrypted();
                    self.start_session(transport, address).await
                }
                Err(problem) => Err(problem),
            };
            let problem = match opened {
                Ok(connection) => return Some(connection),
                Err(problem) => problem,
            };
            // With `prefer` and a server that does not offer TLS, the attempt without TLS has already been made.
            let same_again = *negotiation == Negotiation::Prefer && is_plain;
            let another = problem.may_depend_on_tls() && !same_again;
            problems.push(problem);
            if !another {
                break;
            }
        }
        None
    }
}

/// Logs the details of an error that are not sent to the coordinator, unless the last error was the same.
fn log(error: &ConnectError, settings: &Settings) {
    let Origin::Coordinator { logged } = &settings.origin else { return };
    let text = error.in_full();
    let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.as_ref() != Some(&text) {
        warn!("database URL of the coordinator: {text}");
        *logged = Some(text);
    }
}

async fn resolve(address: &Address) -> Result<Vec<Address>, Problem> {
    let Host::Tcp { name, ip: None } = &address.host else {
        return Ok(vec![address.clone()]);
    };
    let unresolved = |cause: String| Problem::Unresolved { host: name.clone(), cause };
    let found = addresses(name, address.port).await.map_err(|error| unresolved(error.to_string()))?;
    let found = found.into_iter().map(|found| Address {
        host: Host::Tcp { name: name.clone(), ip: Some(found.ip()) },
        ..address.clone()
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() { Err(unresolved("no address found".to_owned())) } else { Ok(found) }
}

fn negotiations(settings: &Settings, address: &Address) -> &'static [Negotiation] {
    if address.is_unix() { &[Negotiation::Disable] } else { settings.tls.mode.negotiations() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_name_is_resolved_and_kept_for_certificate_verification() {
        let resolved = async |host: Host| resolve(&Address { host, port: 5432, password: None }).await;
        let tcp = |name: &str, ip: Option<&str>| Host::Tcp {
            name: name.to_owned(),
            ip: ip.map(|ip| ip.parse().unwrap()),
        };
        let found = resolved(tcp("localhost", None)).await.unwrap();
        assert!(!found.is_empty());
        for address in found {
            let Host::Tcp { name, ip: Some(ip) } = &address.host else { panic!("{address:?}") };
            assert!(name == "localhost" && ip.is_loopback() && address.port == 5432, "{address:?}");
        }
        for known in [tcp("db", Some("10.0.0.1")), Host::Unix("/srv/pg".into())] {
            assert_eq!(resolved(known.clone()).await.unwrap()[0].host, known);
        }
        let unknown = resolved(tcp("unknown.invalid", None)).await.unwrap_err();
        assert!(matches!(unknown, Problem::Unresolved { .. }), "{unknown}");
    }
}
