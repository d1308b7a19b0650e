//! Why no connection came about, in words that say what, where, and the way out. tokio-postgres keeps the kind of its
//! errors to itself, so a cause is told by its type and by how far the attempt came, never by its text.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use muster_common::measurement::{QueryError, SqlState};
use tokio_postgres::config::ChannelBinding;

use super::address::{Address, Host};
use super::settings::{Origin, Settings};
use super::tls::SslMode;

/// Every address failed; each problem in the order of the attempts.
#[derive(Debug, Clone)]
pub struct ConnectError {
    target: String,
    /// The coordinator named the database: it learns what the server answered, and nothing of this machine and its network.
    is_handed_over: bool,
    attempts: Vec<(String, Problem)>,
}

impl ConnectError {
    pub(super) fn new(settings: &Settings, attempts: Vec<(String, Problem)>) -> Self {
        let is_handed_over = matches!(settings.origin, Origin::Coordinator { .. });
        Self { target: settings.describe(), is_handed_over, attempts }
    }

    /// The last problem met.
    pub fn problem(&self) -> Option<&Problem> {
        self.attempts.last().map(|(_, problem)| problem)
    }

    /// The server's SQLSTATE, or `08001` where no server gave one.
    pub fn sqlstate(&self) -> SqlState {
        match self.problem() {
            Some(Problem::Server(refusal) | Problem::Setup(refusal)) => refusal.sqlstate,
            _ => SqlState::CANNOT_CONNECT,
        }
    }

    /// All of it, for this agent's own log.
    pub(super) fn in_full(&self) -> String {
        Self { is_handed_over: false, ..self.clone() }.to_string()
    }

    /// True when every address was tried and at least one server did not satisfy `target_session_attrs`.
    pub(super) fn met_unsuitable(&self) -> bool {
        let is_unsuitable = |(_, problem): &(String, Problem)| matches!(problem, Problem::Unsuitable(_));
        self.attempts.iter().any(is_unsuitable) && !self.problem().is_some_and(Problem::ends_the_search)
    }

    /// True when no address answered at all.
    pub(super) fn is_unreachable(&self) -> bool {
        self.attempts.iter().all(|(_, problem)| {
            matches!(
                problem,
                Problem::Unresolved { .. } | Problem::Refused | Problem::NoSocket(_) | Problem::Timeout(_)
            )
        })
    }

    /// Whether the same attempt will fail until somebody changes something: a wrong password, an unknown database.
    pub fn is_lasting(&self) -> bool {
        self.problem().is_some_and(Problem::is_lasting)
    }
}

impl std::error::Error for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_handed_over {
            f.write_str("cannot connect to the database that the coordinator named")?;
            if let Some(Problem::Server(refusal) | Problem::Setup(refusal)) = self.problem() {
                write!(f, " (SQLSTATE {})", refusal.sqlstate)?;
            }
            return f.write_str("; the agent's log says more");
        }
        write!(f, "connect to {}", self.target)?;
        let named = self.attempts.len() > 1;
        for (index, (address, problem)) in self.attempts.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "; " })?;
            if named {
                write!(f, "{address}: ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the host '{host}' was not found ({cause}); check its spelling and this machine's DNS")]
    Unresolved { host: String, cause: String },
    #[error(
        "connection refused: no server listens there; start it, or check host, port and the server's listen_addresses"
    )]
    Refused,
    #[error("no server has its socket there: '{}' does not exist; start the server, or name a host with --database-url", .0.display())]
    NoSocket(PathBuf),
    #[error("no answer within {} s; check host, port and firewalls, or allow more with connect_timeout", .0.as_secs())]
    Timeout(Duration),
    #[error(
        "the server does not offer TLS and sslmode={0} insists on it; turn on the server's ssl, or use sslmode=prefer on a network that you trust"
    )]
    TlsNotOffered(SslMode),
    #[error("TLS handshake failed: {cause}{}", way_out(remedy))]
    Handshake { cause: String, remedy: &'static str },
    #[error(
        "the server asks for a password and none was given; set PGPASSWORD, or add a line to ~/.pgpass (chmod 600)"
    )]
    PasswordMissing,
    #[error(
        "channel_binding=require was not met ({cause}); it needs TLS and a SCRAM password on the server, else use channel_binding=prefer"
    )]
    ChannelBinding { cause: String },
    #[error(transparent)]
    Server(Refusal),
    /// Connected, and the session could not be set up.
    #[error("set up the session: {0}")]
    Setup(Refusal),
    #[error("{0}; name a server that suits target_session_attrs, or set it to any")]
    Unsuitable(&'static str),
    #[error("{0}")]
    Broken(String),
}

/// The server's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {sqlstate}){}{}", advice(detail, hint), way_out(remedy(*sqlstate)))]
pub struct Refusal {
    pub sqlstate: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Refusal {
    pub(super) fn of(error: &tokio_postgres::Error) -> Option<Self> {
        let error = error.as_db_error()?;
        let sqlstate = SqlState::try_new(error.code().code()).unwrap_or(SqlState::CANNOT_CONNECT);
        let text = |text: Option<&str>| Some(text?.to_owned());
        let (detail, hint) = (text(error.detail()), text(error.hint()));
        let error = QueryError { sqlstate, message: error.message().to_owned(), detail, hint }.shortened();
        let QueryError { sqlstate, message, detail, hint } = error;
        Some(Self { sqlstate, message, detail, hint })
    }
}

impl Problem {
    pub(super) fn of(
        error: &tokio_postgres::Error,
        is_encrypted: bool,
        address: &Address,
        settings: &Settings,
    ) -> Self {
        if let Some(refusal) = Refusal::of(error) {
            return Self::Server(refusal);
        }
        let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        match io {
            // With TLS 1.3 the server refuses a client's certificate after the handshake.
            Some(io) if is_encrypted => Self::of_handshake(io),
            Some(_) => Self::Broken(with_causes(error)),
            // What remains is tokio-postgres's own objection, or the end of the stream.
            None if error.is_closed() => {
                Self::Broken("the server ended the connection without a word; its log may say why".to_owned())
            }
            None if address.password.is_none() => Self::PasswordMissing,
            None if settings.channel_binding == ChannelBinding::Require => {
                Self::ChannelBinding { cause: with_causes(error) }
            }
            None => Self::Broken(with_causes(error)),
        }
    }

    /// A connection that was open and broke.
    pub(super) fn of_connection(error: &io::Error) -> Self {
        Self::Broken(error.to_string())
    }

    pub(super) fn of_dialling(error: &io::Error, address: &Address, settings: &Settings) -> Self {
        match (error.kind(), &address.host) {
            (io::ErrorKind::ConnectionRefused, _) => Self::Refused,
            (io::ErrorKind::TimedOut, _) => Self::Timeout(settings.connect_timeout),
            (io::ErrorKind::NotFound, Host::Unix(_)) => Self::NoSocket(address.socket().unwrap_or_default()),
            _ => Self::Broken(error.to_string()),
        }
    }

    pub(super) fn of_handshake(error: &io::Error) -> Self {
        use rustls::CertificateError as Flaw;
        let flaw = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let remedy = match flaw {
            Some(rustls::Error::InvalidCertificate(Flaw::UnknownIssuer | Flaw::BadSignature)) => {
                "sslrootcert must name the certificate of the authority that signed the server's"
            }
            Some(rustls::Error::InvalidCertificate(
                Flaw::NotValidForName | Flaw::NotValidForNameContext { .. },
            )) => "connect by a name that the certificate has as subjectAltName, or use sslmode=verify-ca",
            Some(rustls::Error::InvalidCertificate(Flaw::Expired | Flaw::ExpiredContext { .. })) => {
                "renew the server's certificate"
            }
            Some(rustls::Error::AlertReceived(_)) => {
                "the server may ask for a client certificate: sslcert and sslkey"
            }
            _ => "",
        };
        Self::Handshake { cause: error.to_string(), remedy }
    }

    /// Whether TLS instead of none, or none instead of TLS, could have another outcome: pg_hba.conf may ask for either.
    pub(super) fn may_depend_on_tls(&self) -> bool {
        match self {
            Self::Server(refusal) => {
                !matches!(refusal.sqlstate.as_str(), "28P01" | "3D000" | "53300" | "57P03")
            }
            Self::Handshake { .. } => true,
            _ => false,
        }
    }

    /// As with libpq, a server that answered and refused ends the search, unless it is merely not ready.
    pub(super) fn ends_the_search(&self) -> bool {
        match self {
            Self::Server(refusal) => refusal.sqlstate.as_str() != "57P03",
            Self::PasswordMissing | Self::ChannelBinding { .. } | Self::Setup(_) => true,
            Self::Handshake { remedy, .. } => !remedy.is_empty(),
            _ => false,
        }
    }

    fn is_lasting(&self) -> bool {
        match self {
            // Class 28: who you are; 3D: which database; 22, 42: what the setup asks for.
            Self::Server(refusal) | Self::Setup(refusal) => {
                matches!(&refusal.sqlstate.as_str()[..2], "28" | "3D" | "22" | "42")
            }
            Self::PasswordMissing | Self::ChannelBinding { .. } | Self::TlsNotOffered(_) => true,
            Self::Handshake { remedy, .. } => !remedy.is_empty(),
            _ => false,
        }
    }
}

fn remedy(sqlstate: SqlState) -> &'static str {
    match sqlstate.as_str() {
        "28P01" => "check user and password: the URL, PGUSER and PGPASSWORD, or ~/.pgpass",
        "28000" => "check the user, and the server's pg_hba.conf for this host, user, database and sslmode",
        "3D000" => "create the database, or name another one in --database-url or PGDATABASE",
        "53300" => "raise the server's max_connections, or use fewer workers",
        "57P03" => "wait until the server accepts connections",
        "22023" => "check the time zone's name",
        "08P01" => "if a pooler stands between, remove 'options' and PGOPTIONS",
        _ => "",
    }
}

fn advice(detail: &Option<String>, hint: &Option<String>) -> String {
    let advice = [("DETAIL", detail), ("HINT", hint)]
        .map(|(label, text)| text.as_ref().map_or_else(String::new, |text| format!("; {label}: {text}")));
    advice.concat()
}

fn way_out(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!("; {remedy}") }
}

/// A problem of a connection that is already open.
pub(super) fn of_setup(error: &tokio_postgres::Error) -> Problem {
    match Refusal::of(error) {
        Some(refusal) => Problem::Setup(refusal),
        None => Problem::Broken(with_causes(error)),
    }
}

/// An error with its causes; tokio-postgres's own text names only the outermost.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::environment::Environment;

    fn refusal(code: &str) -> Problem {
        let (message, sqlstate) = ("no".to_owned(), SqlState::try_new(code).unwrap());
        Problem::Server(Refusal { sqlstate, message, detail: None, hint: None })
    }

    fn settings(url: &str) -> Settings {
        Settings::resolve(Some(&url.into()), &Environment::empty().with_user("ana")).unwrap()
    }

    #[test]
    fn one_attempt_is_told_plainly_and_several_by_address() {
        let settings = settings("postgresql://a,b/db");
        let one = ConnectError::new(&settings, vec![("a:5432".to_owned(), refusal("3D000"))]);
        assert_eq!(
            one.to_string(),
            "connect to a:5432,b:5432/db as ana: no (SQLSTATE 3D000); create the database, or name another one in --database-url or PGDATABASE"
        );
        assert_eq!(one.sqlstate().as_str(), "3D000");
        let attempts = vec![("a:5432".to_owned(), Problem::Refused), ("b:5432".to_owned(), refusal("XX000"))];
        let two = ConnectError::new(&settings, attempts).to_string();
        assert!(
            two.contains(": a:5432: connection refused") && two.ends_with("; b:5432: no (SQLSTATE XX000)"),
            "{two}"
        );
    }

    #[test]
    fn only_what_somebody_must_change_is_lasting() {
        let settings = settings("postgresql://a/db");
        let lasting = |problem| ConnectError::new(&settings, vec![(String::new(), problem)]).is_lasting();
        assert!(lasting(refusal("28P01")) && lasting(refusal("3D000")) && lasting(Problem::PasswordMissing));
        assert!(!lasting(Problem::Refused) && !lasting(refusal("57P03")) && !lasting(refusal("53300")));
    }

    #[test]
    fn a_wrong_password_is_not_tried_again_without_tls() {
        assert!(!refusal("28P01").may_depend_on_tls());
        assert!(refusal("28000").may_depend_on_tls());
    }

    #[test]
    fn a_server_that_is_starting_up_leaves_the_next_host_to_be_tried() {
        assert!(!refusal("57P03").ends_the_search() && !Problem::Refused.ends_the_search());
        assert!(refusal("28000").ends_the_search());
    }
}
