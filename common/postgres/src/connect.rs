//! Opens one connection and sets up its session with tokio-postgres, for a client or for the thread of a worker. Also cancels queries. The
//! only retries here are the next address, and TLS or no TLS where `sslmode` allows both.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use muster_common::protocol::PlanCacheMode;
use muster_common::query::quote;
use secrecy::ExposeSecret;
use tokio::time::timeout;
use tokio_postgres::config::{SslMode as Negotiation, SslNegotiation};
use tokio_postgres::{CancelToken, Client, Config};
use tracing::warn;

use super::address::{Address, Host};
use super::failure::{ConnectError, Problem, of_setup, with_causes};
use super::peer::Peer;
use super::session_attrs::TargetSessionAttrs;
use super::settings::{Origin, Settings};
use super::stream::Stream;
use super::transport::{Encrypted, Relay, Transport, Wire};
use muster_process::blocking::addresses;

/// The settings of every session, made before its first query. They are sent as a statement, because poolers refuse startup `options`.
/// Behind a pooler nothing is set for the session. Instead, each transaction sets them for itself ([`SessionSetup::local`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSetup {
    /// The name of the time zone in PostgreSQL: `UTC`, `Europe/Vienna`.
    pub timezone: String,
    pub read_only: bool,
    /// The time after which the server ends a statement, for clients that are gone. `None` is no limit.
    pub statement_timeout: Option<Duration>,
    /// `None` keeps the server's setting.
    pub plan_cache_mode: Option<PlanCacheMode>,
}

/// Settings of one transaction, which end with it. With the simple protocol they are sent in the same message as the statement, which makes
/// them one transaction. With the extended protocol the transaction ends with Sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSettings {
    /// `SET LOCAL …; SET LOCAL …; `, with `simple_statements` statements.
    pub(super) simple: String,
    pub(super) simple_statements: usize,
    /// `SELECT set_config(…), …`, a single statement. SET LOCAL would cause a warning there.
    pub(super) extended: String,
}

impl SessionSetup {
    fn statement(&self) -> String {
        let parameters = self.parameters("default_transaction_read_only").into_iter();
        let statements: Vec<String> =
            parameters.map(|(name, value)| format!("SET {name} = {}", quote(&value))).collect();
        statements.join("; ")
    }

    /// Returns the same settings for one transaction. They include the application name, so a backend with this name is executing that
    /// transaction.
    pub(super) fn local(&self, application_name: &str) -> LocalSettings {
        let mut parameters = self.parameters("transaction_read_only");
        parameters.push(("application_name", application_name.to_owned()));
        let simple = parameters.iter().map(|(name, value)| format!("SET LOCAL {name} = {}; ", quote(value)));
        let extended = parameters
            .iter()
            .map(|(name, value)| format!("pg_catalog.set_config('{name}', {}, true)", quote(value)));
        LocalSettings {
            simple_statements: parameters.len(),
            simple: simple.collect(),
            extended: format!("SELECT {}", extended.collect::<Vec<_>>().join(", ")),
        }
    }

    fn parameters(&self, read_only: &'static str) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("TimeZone", self.timezone.clone())];
        if self.read_only {
            parameters.push((read_only, "on".to_owned()));
        }
        if let Some(limit) = self.statement_timeout {
            // The server stores milliseconds as a signed 32-bit integer.
            let milliseconds = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
            parameters.push(("statement_timeout", milliseconds.to_string()));
        }
        if let Some(mode) = self.plan_cache_mode {
            parameters.push(("plan_cache_mode", mode.to_string()));
        }
        parameters
    }
}

/// An open connection whose session is set up.
pub struct Connection {
    pub client: Client,
    /// Transfers the bytes. Queries complete only while it runs.
    pub driver: Driver,
    /// The address of the server, one of those in the settings.
    pub address: Address,
    pub peer: Peer,
    pub is_encrypted: bool,
    /// Present if the socket is to be passed to a worker.
    relay: Option<Relay>,
}

/// A connection for a worker's thread, with the result of `ask`.
pub(super) struct WorkerConnection<T> {
    pub(super) stream: Stream,
    pub(super) token: CancelToken,
    pub(super) address: Address,
    pub(super) peer: Peer,
    pub(super) answer: T,
}

/// The half of a connection that talks to the server.
#[must_use = "a connection does nothing unless it is driven"]
pub struct Driver(tokio_postgres::Connection<Wire, Wire>);

impl Driver {
    /// Runs until the client is dropped or the connection ends. The client reports errors.
    pub async fn run(mut self) {
        self.drive().await;
    }

    async fn drive(&mut self) {
        let _ = (&mut self.0).await;
    }
}

/// Opens a connection for queries that tokio-postgres runs. Tries each address in turn, with the connect timeout for each. With
/// `prefer-standby` a second attempt accepts any server.
///
/// # Errors
/// The reason for each address.
pub async fn connect(
    settings: &Settings,
    application_name: &str,
    setup: &SessionSetup,
) -> Result<Connection, ConnectError> {
    Attempt { settings, application_name, setup, is_for_worker: false }.run().await
}

/// Opens a connection for the thread of a worker, in the same way. `ask` sends queries to the server before the thread gets the connection.
///
/// # Errors
/// When there is no connection, or when `ask` fails.
pub(super) async fn connect_worker<T, E: From<ConnectError>>(
    settings: &Settings,
    application_name: &str,
    setup: &SessionSetup,
    ask: impl AsyncFnOnce(&Client, &Address, &Peer) -> Result<T, E>,
) -> Result<WorkerConnection<T>, E> {
    let attempt = Attempt { settings, application_name, setup, is_for_worker: true };
    let Connection { client, mut driver, address, peer, is_encrypted: _, relay } = attempt.run().await?;
    let broken = |error: &dyn std::error::Error| {
        ConnectError::new(settings, vec![(address.to_string(), Problem::Broken(with_causes(error)))])
    };
    let answer = {
        let mut asking = std::pin::pin!(async {
            let answer = ask(&client, &address, &peer).await?;
            // An error arrives before its ReadyForQuery. This query returns when the rest of the previous response has been read.
            client.simple_query("").await.map_err(|error| broken(&error))?;
            Ok::<T, E>(answer)
        });
        tokio::select! {
            answer = &mut asking => answer,
            () = driver.drive() => {
                // The end of the connection makes `asking` return.
                drop(driver);
                asking.await
            }
        }
    }?;
    let taken = match relay {
        Some(relay) => relay.take_back().await.and_then(Transport::into_blocking),
        None => Err(io::Error::other("the connection has no relay")),
    };
    let stream = taken.map_err(|error| broken(&error))?;
    Ok(WorkerConnection { stream, token: client.cancel_token(), address, peer, answer })
}

/// One attempt to open a connection.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    settings: &'a Settings,
    application_name: &'a str,
    setup: &'a SessionSetup,
    is_for_worker: bool,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<Connection, ConnectError> {
        let settings = self.settings;
        let connected = match self.try_all().await {
            Err(error)
                if settings.target_session_attrs == TargetSessionAttrs::PreferStandby
                    && error.found_unsuitable_server() =>
            {
                let mut any = settings.clone();
                any.target_session_attrs = TargetSessionAttrs::Any;
                Attempt { settings: &any, ..*self }.try_all().await
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
        for negotiation in self.settings.negotiations(address) {
            let mut is_plain = false;
            let opened = match Transport::open(self.settings, address, *negotiation).await {
                Ok(transport) => {
                    is_plain = !transport.is_encrypted();
                    self.open_session(transport, address).await
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

    async fn open_session(&self, transport: Transport, address: &Address) -> Result<Connection, Problem> {
        let is_encrypted = transport.is_encrypted();
        let config = config(self.settings, address, self.application_name, is_encrypted);
        let (wire, relay) = if self.is_for_worker {
            let (wire, relay) = Relay::start(transport);
            (wire, Some(relay))
        } else {
            (Wire::new(transport), None)
        };
        let (client, connection) = match config.connect_raw(wire, Encrypted).await {
            Ok(opened) => opened,
            Err(error) => {
                let problem = Problem::of(&error, is_encrypted, address, self.settings);
                return Err(match (problem, relay) {
                    (Problem::Broken(broken), Some(relay)) => match relay.take_back().await {
                        Ok(_) => Problem::Broken(broken),
                        // The relay has the cause of the error.
                        Err(error) if is_encrypted => Problem::of_handshake(&error),
                        Err(error) => Problem::of_connection(&error),
                    },
                    (problem, _) => problem,
                });
            }
        };
        let (client, driver, peer) = set_up(client, connection, self.settings, self.setup).await?;
        Ok(Connection { client, driver, address: address.clone(), peer, is_encrypted, relay })
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

/// Sends the session's settings in one round trip, unless other clients share the session. Drives the connection until this is done.
async fn set_up(
    client: Client,
    mut connection: tokio_postgres::Connection<Wire, Wire>,
    settings: &Settings,
    setup: &SessionSetup,
) -> Result<(Client, Driver, Peer), Problem> {
    let set_up = async {
        let peer = Peer::identify(&client).await.map_err(|error| of_setup(&error))?;
        // This must precede the setting that makes the session read-only.
        settings.target_session_attrs.check(&client).await?;
        if !peer.is_pooler() {
            client.batch_execute(&setup.statement()).await.map_err(|error| of_setup(&error))?;
        }
        Ok(peer)
    };
    let peer = tokio::select! {
        outcome = set_up => outcome?,
        end = &mut connection => {
            end.map_err(|error| of_setup(&error))?;
            // The driver ends without an error only after its client is dropped, and the client is still held here.
            return Err(Problem::Broken("the connection ended".to_owned()));
        }
    };
    Ok((client, Driver(connection), peer))
}

fn config(settings: &Settings, address: &Address, application_name: &str, is_encrypted: bool) -> Config {
    let mut config = Config::new();
    if is_encrypted {
        // The TLS handshake was made by `Transport`.
        config.ssl_mode(Negotiation::Require).ssl_negotiation(SslNegotiation::Direct);
    } else {
        config.ssl_mode(Negotiation::Disable);
    }
    if let Some(password) = &address.password {
        config.password(password.expose_secret());
    }
    if let Some(options) = &settings.options {
        config.options(options);
    }
    config
        .user(&settings.user)
        .dbname(&settings.dbname)
        .application_name(application_name)
        .channel_binding(settings.channel_binding);
    config
}

impl Settings {
    fn negotiations(&self, address: &Address) -> &'static [Negotiation] {
        if address.is_unix() { &[Negotiation::Disable] } else { self.tls.mode.negotiations() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("cancel the query: no response within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("cancel the query: {0}")]
    Failed(String),
}

/// Asks the server to cancel the query in flight. The server does not report whether it did: the query itself ends with 57014, or with its
/// result. The caller must close the connection afterwards, because a delayed cancel request may reach the next query.
pub async fn cancel(
    settings: &Settings,
    address: &Address,
    is_encrypted: bool,
    token: &CancelToken,
) -> Result<(), CancelError> {
    let negotiation = if is_encrypted { Negotiation::Require } else { Negotiation::Disable };
    let cancelling = async {
        let transport = Transport::open(settings, address, negotiation).await;
        let transport = transport.map_err(|problem| CancelError::Failed(problem.to_string()))?;
        let cancelled = token.cancel_query_raw(Wire::new(transport), Encrypted).await;
        cancelled.map_err(|error| CancelError::Failed(with_causes(&error)))
    };
    let wait = settings.connect_timeout;
    timeout(wait, cancelling).await.unwrap_or(Err(CancelError::Timeout(wait)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::environment::Environment;

    async fn read_message(stream: &mut TcpStream) {
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
    }

    /// Regression test: the client waited forever.
    #[tokio::test]
    async fn a_connection_that_ends_during_set_up_is_an_error() {
        const AUTHENTICATED_AND_READY: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        const EMPTY_AND_READY: &[u8] = b"I\0\0\0\x04Z\0\0\0\x05I";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_message(&mut stream).await;
            stream.write_all(AUTHENTICATED_AND_READY).await.unwrap();
            // The server responds to the set-up queries and closes the connection at the next query.
            for answer in [EMPTY_AND_READY, EMPTY_AND_READY, b""] {
                assert_eq!(stream.read_u8().await.unwrap(), b'Q');
                read_message(&mut stream).await;
                stream.write_all(answer).await.unwrap();
            }
        });
        let url = format!("postgresql://u@127.0.0.1:{port}/db?sslmode=disable");
        let settings = Settings::resolve(Some(&url.into()), &Environment::empty()).unwrap();
        let setup = SessionSetup {
            timezone: "UTC".to_owned(),
            read_only: true,
            statement_timeout: None,
            plan_cache_mode: None,
        };
        let ask = async |client: &Client, _: &Address, _: &Peer| {
            let asked = client.simple_query("SELECT 1").await;
            asked.map_err(|error| ConnectError::new(&settings, vec![(String::new(), of_setup(&error))]))
        };
        let asked = timeout(Duration::from_secs(10), connect_worker(&settings, "muster", &setup, ask));
        assert!(asked.await.expect("it ends").is_err());
        server.await.unwrap();
    }

    fn check(timezone: &str, read_only: bool, expected: &str) {
        let timezone = timezone.to_owned();
        let setup = SessionSetup { timezone, read_only, statement_timeout: None, plan_cache_mode: None };
        assert_eq!(setup.statement(), expected);
        let setup = SessionSetup { statement_timeout: Some(Duration::from_millis(5_300)), ..setup };
        assert_eq!(setup.statement(), format!("{expected}; SET statement_timeout = '5300'"));
    }

    #[test]
    fn session_settings_are_one_statement_with_quoted_values() {
        check("UTC", true, "SET TimeZone = 'UTC'; SET default_transaction_read_only = 'on'");
        check("Europe/Vienna", false, "SET TimeZone = 'Europe/Vienna'");
        check("x'; DROP TABLE t; --", false, "SET TimeZone = 'x''; DROP TABLE t; --'");
        check(r"x\'; DROP", false, r"SET TimeZone =  E'x\\''; DROP'");
    }

    #[test]
    fn behind_a_pooler_settings_apply_to_one_transaction() {
        let setup = SessionSetup {
            timezone: "UTC".to_owned(),
            read_only: true,
            statement_timeout: Some(Duration::from_secs(2)),
            plan_cache_mode: Some(PlanCacheMode::ForceCustomPlan),
        };
        let local = setup.local("muster:r:slot-0:1/0");
        assert_eq!(
            local.simple,
            "SET LOCAL TimeZone = 'UTC'; SET LOCAL transaction_read_only = 'on'; SET LOCAL statement_timeout = '2000'; \
             SET LOCAL plan_cache_mode = 'force_custom_plan'; SET LOCAL application_name = 'muster:r:slot-0:1/0'; "
        );
        assert_eq!(local.simple.matches(';').count(), local.simple_statements);
        assert_eq!(local.extended.matches(", true)").count(), local.simple_statements, "{}", local.extended);
    }

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
