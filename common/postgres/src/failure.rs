//! Errors of connection attempts. Each message states what failed, where, and how to fix it. tokio-postgres does not expose the kind of its
//! errors, so the cause is determined by the type of the error and by how far the attempt got, never by the error's text.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use muster_core::sample::{QueryError, SqlState};
use tokio_postgres::config::ChannelBinding;

use crate::address::{Address, Host};
use crate::settings::{Origin, Settings};
use crate::tls::SslMode;

/// The failure of all addresses, with the problems in the order of the attempts.
#[derive(Debug, Clone)]
pub struct ConnectError {
    target: String,
    /// True if the database URL came from the coordinator. Its message then contains only the server's SQLSTATE, and reveals nothing about
    /// this machine and its network.
    is_handed_over: bool,
    attempts: Vec<(String, Problem)>,
}

impl ConnectError {
    pub(crate) fn new(settings: &Settings, attempts: Vec<(String, Problem)>) -> Self {
        let is_handed_over = matches!(settings.origin, Origin::Coordinator { .. });
        Self { target: settings.describe(), is_handed_over, attempts }
    }

    /// Returns the problem of the last attempt.
    pub fn problem(&self) -> Option<&Problem> {
        self.attempts.last().map(|(_, problem)| problem)
    }

    /// Returns the server's SQLSTATE, or `08001` if the server did not send one.
    pub fn sqlstate(&self) -> SqlState {
        match self.problem() {
            Some(Problem::Server(refusal) | Problem::Setup(refusal)) => refusal.sqlstate,
            _ => SqlState::CANNOT_CONNECT,
        }
    }

    /// Returns the full message, for this agent's log.
    pub(crate) fn in_full(&self) -> String {
        Self { is_handed_over: false, ..self.clone() }.to_string()
    }

    /// Returns true if every address was tried and at least one server did not satisfy `target_session_attrs`.
    pub(crate) fn found_unsuitable_server(&self) -> bool {
        let is_unsuitable = |(_, problem): &(String, Problem)| matches!(problem, Problem::Unsuitable(_));
        self.attempts.iter().any(is_unsuitable) && !self.problem().is_some_and(Problem::ends_attempts)
    }

    /// Returns true if no connection to any address could be opened.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.attempts.iter().all(|(_, problem)| {
            matches!(
                problem,
                Problem::Unresolved { .. } | Problem::Refused | Problem::NoSocket(_) | Problem::Timeout(_)
            )
        })
    }

    /// Returns true if the same attempt will fail until a person changes something, such as a wrong password or an unknown database.
    pub fn is_permanent(&self) -> bool {
        self.problem().is_some_and(Problem::is_permanent)
    }
}

impl std::error::Error for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_handed_over {
            f.write_str("cannot connect to the database at the coordinator's URL")?;
            if let Some(Problem::Server(refusal) | Problem::Setup(refusal)) = self.problem() {
                write!(f, " (SQLSTATE {})", refusal.sqlstate)?;
            }
            return f.write_str("; see the agent's log for the cause");
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
        "connection refused: no server listens on this address; start the server, or check host, port and the server's listen_addresses"
    )]
    Refused,
    #[error("the server's socket '{}' does not exist; start the server, or name a host with --database-url", .0.display())]
    NoSocket(PathBuf),
    #[error("no answer within {} s; check host, port and firewalls, or raise connect_timeout", .0.as_secs())]
    Timeout(Duration),
    #[error(
        "the server does not offer TLS, but sslmode={0} requires it; enable ssl on the server, or use sslmode=prefer on a trusted network"
    )]
    TlsNotOffered(SslMode),
    #[error("TLS handshake failed: {cause}{}", suffix(remedy))]
    Handshake { cause: String, remedy: &'static str },
    #[error(
        "the server requires a password and none was given; set PGPASSWORD, or add a line to ~/.pgpass (chmod 600)"
    )]
    PasswordMissing,
    #[error(
        "channel_binding=require cannot be satisfied ({cause}); it needs TLS and a SCRAM password on the server; otherwise use \
         channel_binding=prefer"
    )]
    ChannelBinding { cause: String },
    #[error(transparent)]
    Server(Refusal),
    /// The connection was opened, but its session could not be set up.
    #[error("set up the session: {0}")]
    Setup(Refusal),
    #[error("{0}; use a server that satisfies target_session_attrs, or set target_session_attrs=any")]
    Unsuitable(&'static str),
    #[error("{0}")]
    Broken(String),
}

/// An error that the server sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {sqlstate}){}{}", advice(detail, hint), suffix(remedy(*sqlstate)))]
pub struct Refusal {
    pub sqlstate: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Refusal {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Option<Self> {
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
    pub(crate) fn of(
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
            // The remaining errors are checks of tokio-postgres itself, or the end of the stream.
            None if error.is_closed() => Self::Broken(
                "the server closed the connection without an error message; see the server's log".to_owned(),
            ),
            None if address.password.is_none() => Self::PasswordMissing,
            None if settings.channel_binding == ChannelBinding::Require => {
                Self::ChannelBinding { cause: with_causes(error) }
            }
            None => Self::Broken(with_causes(error)),
        }
    }

    /// The loss of an open connection.
    pub(crate) fn of_connection(error: &io::Error) -> Self {
        Self::Broken(error.to_string())
    }

    pub(crate) fn of_dialling(error: &io::Error, address: &Address, settings: &Settings) -> Self {
        match (error.kind(), &address.host) {
            (io::ErrorKind::ConnectionRefused, _) => Self::Refused,
            (io::ErrorKind::TimedOut, _) => Self::Timeout(settings.connect_timeout),
            (io::ErrorKind::NotFound, Host::Unix(_)) => Self::NoSocket(address.socket().unwrap_or_default()),
            _ => Self::Broken(error.to_string()),
        }
    }

    pub(crate) fn of_handshake(error: &io::Error) -> Self {
        use rustls::CertificateError as CertError;
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let remedy = match cause {
            Some(rustls::Error::InvalidCertificate(CertError::UnknownIssuer | CertError::BadSignature)) => {
                "sslrootcert must name the CA certificate that issued the server's certificate"
            }
            Some(rustls::Error::InvalidCertificate(
                CertError::NotValidForName | CertError::NotValidForNameContext { .. },
            )) => {
                "connect with a host name that the certificate contains as subjectAltName, or use sslmode=verify-ca"
            }
            Some(rustls::Error::InvalidCertificate(
                CertError::Expired | CertError::ExpiredContext { .. },
            )) => "renew the server's certificate",
            Some(rustls::Error::AlertReceived(_)) => {
                "the server may ask for a client certificate: sslcert and sslkey"
            }
            _ => "",
        };
        Self::Handshake { cause: error.to_string(), remedy }
    }

    /// Returns true if the result could differ with TLS instead of none, or none instead of TLS, because pg_hba.conf may require either.
    pub(crate) fn may_depend_on_tls(&self) -> bool {
        match self {
            Self::Server(refusal) => {
                !matches!(refusal.sqlstate.as_str(), "28P01" | "3D000" | "53300" | "57P03")
            }
            Self::Handshake { .. } => true,
            _ => false,
        }
    }

    /// Returns true if no other address is tried. As with libpq, this is the case when a server refused the connection, unless the server
    /// is only starting up.
    pub(crate) fn ends_attempts(&self) -> bool {
        match self {
            Self::Server(refusal) => refusal.sqlstate.as_str() != "57P03",
            Self::PasswordMissing | Self::ChannelBinding { .. } | Self::Setup(_) => true,
            Self::Handshake { remedy, .. } => !remedy.is_empty(),
            _ => false,
        }
    }

    fn is_permanent(&self) -> bool {
        match self {
            // Classes: 28 is authorization, 3D is the database name, 22 and 42 are the settings of the session.
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
        "3D000" => "create the database, or choose another one with --database-url or PGDATABASE",
        "53300" => "raise the server's max_connections, or use fewer workers",
        "57P03" => "wait until the server accepts connections",
        "22023" => "check the time zone's name",
        "08P01" => "if the connection goes through a pooler, remove 'options' and PGOPTIONS",
        _ => "",
    }
}

fn advice(detail: &Option<String>, hint: &Option<String>) -> String {
    let advice = [("DETAIL", detail), ("HINT", hint)]
        .map(|(label, text)| text.as_ref().map_or_else(String::new, |text| format!("; {label}: {text}")));
    advice.concat()
}

fn suffix(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!("; {remedy}") }
}

/// The problem of a failed set-up query on an open connection.
pub(crate) fn of_setup(error: &tokio_postgres::Error) -> Problem {
    match Refusal::of(error) {
        Some(refusal) => Problem::Setup(refusal),
        None => Problem::Broken(with_causes(error)),
    }
}

/// Formats an error with its causes. The text of tokio-postgres errors contains only the outermost one.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
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
    use crate::environment::Environment;

    fn refusal(code: &str) -> Problem {
        let (message, sqlstate) = ("no".to_owned(), SqlState::try_new(code).unwrap());
        Problem::Server(Refusal { sqlstate, message, detail: None, hint: None })
    }

    fn settings(url: &str) -> Settings {
        Settings::resolve(Some(&url.into()), &Environment::empty().with_user("ana")).unwrap()
    }

    #[test]
    fn one_problem_is_shown_without_its_address_and_several_with_theirs() {
        let settings = settings("postgresql://a,b/db");
        let one = ConnectError::new(&settings, vec![("a:5432".to_owned(), refusal("3D000"))]);
        assert_eq!(
            one.to_string(),
            "connect to a:5432,b:5432/db as ana: no (SQLSTATE 3D000); create the database, or choose another one with --database-url \
             or PGDATABASE"
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
    fn only_problems_that_a_person_must_fix_are_permanent() {
        let settings = settings("postgresql://a/db");
        let is_permanent =
            |problem| ConnectError::new(&settings, vec![(String::new(), problem)]).is_permanent();
        assert!(
            is_permanent(refusal("28P01"))
                && is_permanent(refusal("3D000"))
                && is_permanent(Problem::PasswordMissing)
        );
        assert!(
            !is_permanent(Problem::Refused)
                && !is_permanent(refusal("57P03"))
                && !is_permanent(refusal("53300"))
        );
    }

    #[test]
    fn a_wrong_password_is_not_tried_again_without_tls() {
        assert!(!refusal("28P01").may_depend_on_tls());
        assert!(refusal("28000").may_depend_on_tls());
    }

    #[test]
    fn the_next_host_is_tried_when_a_server_is_starting_up() {
        assert!(!refusal("57P03").ends_attempts() && !Problem::Refused.ends_attempts());
        assert!(refusal("28000").ends_attempts());
    }
}
