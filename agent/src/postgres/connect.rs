//! Opens one connection and sets its session up; cancels a query over the same TLS. What is returned is driven by the
//! caller, who owns the task. Nothing is retried here but the next address, and TLS or none where `sslmode` allows both.

use std::sync::Arc;
use std::time::Duration;

use muster_common::protocol::PlanCacheMode;
use muster_common::query::quote;
use secrecy::ExposeSecret;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::config::{SslMode as Negotiation, TargetSessionAttrs};
use tokio_postgres::{CancelToken, Client, Config, SimpleQueryMessage};

use super::address::{Address, Host};
use super::failure::{ConnectError, Problem, Refusal, with_causes};
use super::frontend::Frontend;
use super::handshake::{Handshake, Stage, Stream};
use super::lent::{Lent, Loan, lend};
use super::settings::Settings;
use super::socket::{Socket, Stopwatch, dial};

/// What every session is set to before its first query. Sent as a statement, because poolers refuse startup `options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSetup {
    /// As PostgreSQL names it: `UTC`, `Europe/Vienna`.
    pub timezone: String,
    pub read_only: bool,
    /// After which the server itself ends a statement whose client is gone; `None` is never.
    pub statement_timeout: Option<Duration>,
    /// `None`: as the server has it.
    pub plan_cache_mode: Option<PlanCacheMode>,
}

impl SessionSetup {
    fn statement(&self) -> String {
        let mut statement = format!("SET TimeZone = {}", quote(&self.timezone));
        if self.read_only {
            statement.push_str("; SET default_transaction_read_only = on");
        }
        if let Some(limit) = self.statement_timeout {
            // The server counts milliseconds in 32 bits with a sign.
            let milliseconds = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
            statement.push_str(&format!("; SET statement_timeout = {milliseconds}"));
        }
        if let Some(mode) = self.plan_cache_mode {
            statement.push_str(&format!("; SET plan_cache_mode = {mode}"));
        }
        statement
    }
}

pub struct Connection {
    pub client: Client,
    /// Moves the bytes; no query ends unless this runs.
    pub driver: Driver,
    pub wire: Wire,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

/// What is known of a connection beside its client.
pub struct Wire {
    /// Which of several hosts answered.
    pub address: Address,
    pub stopwatch: Arc<Stopwatch>,
    loan: Box<dyn Loan>,
}

impl Wire {
    /// The connection for queries that are timed. To be called when the client has nothing under way; its part is over then.
    ///
    /// # Errors
    /// When it was called before.
    pub(super) fn into_frontend(self) -> Result<Frontend, ConnectionTaken> {
        let stream = self.loan.take_back().ok_or(ConnectionTaken)?;
        Ok(Frontend::new(stream, self.stopwatch))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the worker's connection was taken before")]
pub(super) struct ConnectionTaken;

/// The half of a connection that talks to the server.
#[must_use = "a connection does nothing unless it is driven"]
pub struct Driver(tokio_postgres::Connection<Lent<Socket>, Stream>);

impl Driver {
    /// Runs until the client is dropped or the connection ends, which the client tells.
    pub async fn run(self) {
        let _ = self.0.await;
    }
}

/// Tries every address in turn, each within the connect timeout.
pub async fn connect(
    settings: &Settings,
    application_name: &str,
    setup: &SessionSetup,
) -> Result<Connection, ConnectError> {
    let mut failures = Vec::new();
    for address in &settings.addresses {
        let mut problems = Vec::new();
        let attempt = try_address(settings, address, application_name, setup, &mut problems);
        match timeout(settings.connect_timeout, attempt).await {
            Ok(Some(connection)) => return Ok(connection),
            Ok(None) => {}
            Err(_) => problems.push(Problem::Timeout(settings.connect_timeout)),
        }
        let over = problems.last().is_some_and(Problem::ends_the_search);
        // A name that nobody serves at any of its addresses is told once.
        problems.dedup();
        failures.extend(problems.into_iter().map(|problem| (address.to_string(), problem)));
        if over {
            break;
        }
    }
    Err(ConnectError::new(settings, failures))
}

/// Every address that the name stands for; leaves the problems when there is no connection. Not left to tokio-postgres, which goes
/// on after a server that refused and tells the last problem only: a wrong password would be told as an address that has no server.
async fn try_address(
    settings: &Settings,
    address: &Address,
    application_name: &str,
    setup: &SessionSetup,
    problems: &mut Vec<Problem>,
) -> Option<Connection> {
    let resolved = match resolve(address).await {
        Ok(resolved) => resolved,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    for address in &resolved {
        let connection = try_one(settings, address, application_name, setup, problems).await;
        if connection.is_some() || problems.last().is_some_and(Problem::ends_the_search) {
            return connection;
        }
    }
    None
}

async fn resolve(address: &Address) -> Result<Vec<Address>, Problem> {
    let Host::Tcp { name, ip: None } = &address.host else {
        return Ok(vec![address.clone()]);
    };
    let unresolved = |cause: String| Problem::Unresolved { host: name.clone(), cause };
    let found = lookup_host((name.as_str(), address.port)).await;
    let found = found.map_err(|error| unresolved(error.to_string()))?.map(|found| Address {
        host: Host::Tcp { name: name.clone(), ip: Some(found.ip()) },
        ..address.clone()
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() { Err(unresolved("it has no address".to_owned())) } else { Ok(found) }
}

/// One server, with TLS and without as `sslmode` has it; leaves the problems when there is no connection.
async fn try_one(
    settings: &Settings,
    address: &Address,
    application_name: &str,
    setup: &SessionSetup,
    problems: &mut Vec<Problem>,
) -> Option<Connection> {
    for negotiation in settings.negotiations(address) {
        let socket = match dial(address).await {
            Ok(socket) => socket,
            Err(error) => {
                problems.push(Problem::of_dialling(&error, address, settings));
                break;
            }
        };
        let stopwatch = socket.stopwatch();
        let (socket, loan) = lend(socket);
        let handshake = Handshake::new(&settings.tls.connector, address);
        let noted = handshake.noted();
        let config = config(settings, address, application_name, *negotiation);
        let opened = config.connect_raw(socket, handshake).await;
        let stage = noted.stage();
        let problem = match opened {
            Ok((client, connection)) => match set_up(client, connection, settings, setup).await {
                Ok((client, driver)) => {
                    let loan = noted.encrypted().unwrap_or(loan);
                    let wire = Wire { address: address.clone(), stopwatch, loan };
                    return Some(Connection { client, driver, wire, encrypted: stage == Stage::Encrypting });
                }
                Err(problem) => problem,
            },
            Err(error) => Problem::of(&error, stage, address, settings),
        };
        // Where `prefer` met a server without TLS, the attempt without TLS has just been made.
        let same_again = *negotiation == Negotiation::Prefer && stage != Stage::Encrypting;
        let another = problem.may_depend_on_tls() && !same_again;
        problems.push(problem);
        if !another {
            break;
        }
    }
    None
}

/// The session's settings in one round trip; the connection is driven here until they are made.
async fn set_up(
    client: Client,
    mut connection: tokio_postgres::Connection<Lent<Socket>, Stream>,
    settings: &Settings,
    setup: &SessionSetup,
) -> Result<(Client, Driver), Problem> {
    let set_up = async {
        // Before the session is told to be read-only.
        check_suitable(&client, settings.target_session_attrs).await?;
        client.batch_execute(&setup.statement()).await.map_err(|error| of_setup(&error))
    };
    tokio::select! {
        outcome = set_up => outcome?,
        // It ends without an error only once its client is gone, which is held here.
        end = &mut connection => end.map_err(|error| of_setup(&error))?,
    }
    Ok((client, Driver(connection)))
}

/// Whether the server is one that `target_session_attrs` asks for.
async fn check_suitable(client: &Client, wanted: TargetSessionAttrs) -> Result<(), Problem> {
    let is_wanted_read_only = match wanted {
        TargetSessionAttrs::ReadWrite => false,
        TargetSessionAttrs::ReadOnly => true,
        _ => return Ok(()),
    };
    let answer = client.simple_query("SHOW transaction_read_only").await.map_err(|error| of_setup(&error))?;
    let is_read_only = answer.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("on"),
        _ => false,
    });
    match (is_wanted_read_only, is_read_only) {
        (false, true) => Err(Problem::Unsuitable("the server does not allow writes".to_owned())),
        (true, false) => Err(Problem::Unsuitable("the server is not read-only".to_owned())),
        _ => Ok(()),
    }
}

fn of_setup(error: &tokio_postgres::Error) -> Problem {
    match Refusal::of(error) {
        Some(refusal) => Problem::Setup(refusal),
        None => Problem::Broken(with_causes(error)),
    }
}

fn config(
    settings: &Settings,
    address: &Address,
    application_name: &str,
    negotiation: Negotiation,
) -> Config {
    let mut config = Config::new();
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
        .ssl_mode(negotiation)
        .channel_binding(settings.channel_binding);
    config
}

impl Settings {
    fn negotiations(&self, address: &Address) -> &'static [Negotiation] {
        if address.is_unix() { &[Negotiation::Disable] } else { self.tls.mode.negotiations() }
    }

    pub(super) fn insists_on_tls(&self, address: &Address) -> bool {
        self.negotiations(address).last() == Some(&Negotiation::Require)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("cancel the query: no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("cancel the query: {0}")]
    Failed(String),
}

/// Asks the server to end the query in flight. The server does not say whether it did: the query itself ends with 57014,
/// or with its answer. The connection is to be discarded afterwards, because a late cancel meets the next query.
pub async fn cancel(settings: &Settings, address: &Address, token: &CancelToken) -> Result<(), CancelError> {
    let cancelling = async {
        let socket = dial(address).await.map_err(|error| CancelError::Failed(error.to_string()))?;
        let (socket, _) = lend(socket);
        let handshake = Handshake::new(&settings.tls.connector, address);
        let cancelled = token.cancel_query_raw(socket, handshake).await;
        cancelled.map_err(|error| CancelError::Failed(with_causes(&error)))
    };
    let wait = settings.connect_timeout;
    timeout(wait, cancelling).await.unwrap_or(Err(CancelError::Timeout(wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(timezone: &str, read_only: bool, expected: &str) {
        let timezone = timezone.to_owned();
        let setup = SessionSetup { timezone, read_only, statement_timeout: None, plan_cache_mode: None };
        assert_eq!(setup.statement(), expected);
        let setup = SessionSetup { statement_timeout: Some(Duration::from_millis(5_300)), ..setup };
        assert_eq!(setup.statement(), format!("{expected}; SET statement_timeout = 5300"));
    }

    #[test]
    fn the_session_is_set_in_one_statement_and_quoted() {
        check("UTC", true, "SET TimeZone = 'UTC'; SET default_transaction_read_only = on");
        check("Europe/Vienna", false, "SET TimeZone = 'Europe/Vienna'");
        check("x'; DROP TABLE t; --", false, "SET TimeZone = 'x''; DROP TABLE t; --'");
        check(r"x\'; DROP", false, r"SET TimeZone =  E'x\\''; DROP'");
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_kept_for_the_certificate() {
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
        let unknown = resolved(tcp("nobody.invalid", None)).await.unwrap_err();
        assert!(matches!(unknown, Problem::Unresolved { .. }), "{unknown}");
    }
}
