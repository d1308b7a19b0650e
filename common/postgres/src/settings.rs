//! The connection settings of a database, from the same sources as in psql: a URL or connection string, then a service, then `PG*`
//! variables, then libpq's defaults. Everything is checked here, before a connection is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_core::limits;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::ChannelBinding;

use crate::address::{self, Address, AddressError};
use crate::conninfo::{self, ConninfoError, PARAMETERS, Parameters};
use crate::environment::Environment;
use crate::pgpass;
use crate::service::{self, ServiceError};
use crate::session_attrs::TargetSessionAttrs;
use crate::tls::{Tls, TlsError};

/// Variables that restrict which servers are trusted. They are not supported, and ignoring them would weaken security, so setting one is an
/// error.
const REFUSED: [&str; 4] = ["PGREQUIREAUTH", "PGREQUIREPEER", "PGSSLCRL", "PGSSLCRLDIR"];

/// Variables that name a database. A user or a password alone does not.
const NAMING: [&str; 5] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"];

#[derive(Debug, Clone)]
pub struct Settings {
    /// The addresses in the order in which they are tried. Never empty.
    pub(crate) addresses: Vec<Address>,
    pub(crate) dbname: String,
    pub(crate) user: String,
    pub(crate) tls: Tls,
    pub(crate) channel_binding: ChannelBinding,
    /// The time limit for each address. Includes connecting, TLS, authentication and session setup.
    pub(crate) connect_timeout: Duration,
    pub(crate) options: Option<String>,
    pub(crate) target_session_attrs: TargetSessionAttrs,
    /// The parameters from which these settings were resolved.
    pub(crate) given: Parameters,
    pub(crate) origin: Origin,
}

/// The origin of the database's name.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// The user of this process.
    Own,
    /// A coordinator. It is sent only the server's SQLSTATE when a connection fails. `logged` is the message that was logged last, so that
    /// repeated attempts do not fill the log.
    Coordinator { logged: Arc<Mutex<Option<String>>> },
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Conninfo(#[from] ConninfoError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    // No value is quoted, because it may be part of a password.
    #[error("{name} is not one of {allowed}")]
    Value { name: &'static str, allowed: &'static str },
    #[error("options must begin with '-', as in -c work_mem=64MB")]
    Options,
    #[error("connect_timeout is not a whole number of seconds")]
    Timeout,
    #[error(
        "the {0} name contains a character that is not allowed, such as ':' or a quote, and may include a password; write \
         postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
    Name(&'static str),
    #[error(
        "the variable {0} begins with a quote, which is part of the value: `docker run --env-file` keeps quotes; write it without them"
    )]
    Quoted(&'static str),
    #[error("the variable {0} is set but not supported; unset it for this program")]
    Variable(&'static str),
    #[error("no database user is given and the operating system user is unknown; set PGUSER")]
    NoUser,
}

impl Settings {
    /// Resolves the settings. `url` is `--database-url` or `DATABASE_URL`, in either of libpq's notations.
    pub fn resolve(url: Option<&SecretString>, environment: &Environment) -> Result<Self, SettingsError> {
        Self::of(Given::collect(url, environment)?, environment)
    }

    pub(crate) fn of(given: Given, environment: &Environment) -> Result<Self, SettingsError> {
        let user = match given.get("user") {
            "" => environment.user().ok_or(SettingsError::NoUser)?,
            user => user,
        };
        let dbname = match given.get("dbname") {
            "" => user,
            dbname => dbname,
        };
        // The server would quote these values in its own messages.
        check_name("user", user)?;
        check_name("database", dbname)?;
        // The server accepts only options that begin with '-', and would quote any others. Proxies in front of it also accept a pair of
        // words, such as `endpoint=NAME`.
        let options = given.get("options").trim_start();
        let is_word =
            |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let is_pair = options.split_once('=').is_some_and(|(name, value)| is_word(name) && is_word(value));
        if !options.is_empty() && !options.starts_with('-') && !is_pair {
            return Err(SettingsError::Options);
        }
        let addresses =
            address::parse(given.get("host"), given.get("hostaddr"), given.get("port"), environment)?;
        let addresses = with_passwords(addresses, &given, dbname, user, environment);
        // Unix sockets never use TLS, and libpq then reads no certificates either.
        let tls = if addresses.iter().all(Address::is_unix) {
            Tls::disabled()
        } else {
            Tls::resolve(&given.0, environment)?
        };
        Ok(Self {
            dbname: dbname.to_owned(),
            user: user.to_owned(),
            addresses,
            tls,
            channel_binding: channel_binding(given.get("channel_binding"))?,
            connect_timeout: connect_timeout(given.get("connect_timeout"))?,
            options: Some(options.to_owned()).filter(|options| !options.is_empty()),
            target_session_attrs: target_session_attrs(given.get("target_session_attrs"))?,
            given: given.0,
            origin: Origin::Own,
        })
    }

    /// Returns true if a database is named by the URL or a variable. If not, `--local` may start one.
    pub fn is_named(url: Option<&SecretString>, environment: &Environment) -> bool {
        let in_url = url.is_some_and(|url| !url.expose_secret().trim().is_empty());
        in_url || NAMING.iter().any(|name| environment.variable(name).is_some())
    }

    /// Returns `host:port/database as user`, without secrets.
    pub fn describe(&self) -> String {
        let hosts: Vec<_> = self.addresses.iter().map(Address::to_string).collect();
        self.describe_at(&hosts.join(","))
    }

    pub(crate) fn describe_at(&self, host: &dyn fmt::Display) -> String {
        format!("{host}/{} as {}", self.dbname, self.user)
    }
}

/// The given parameters. The URL takes precedence over the service, and the service over the variables.
pub(crate) struct Given(pub(crate) Parameters);

impl Given {
    fn collect(url: Option<&SecretString>, environment: &Environment) -> Result<Self, SettingsError> {
        refuse_variables(environment)?;
        let mut given = Parameters::new();
        for (parameter, variable) in PARAMETERS {
            if let Some(value) = environment.variable(variable) {
                if value.starts_with(['"', '\'']) && parameter != "password" {
                    return Err(SettingsError::Quoted(variable));
                }
                given.insert(parameter, value.into());
            }
        }
        let from_url = match url.filter(|url| !url.expose_secret().trim().is_empty()) {
            Some(url) => conninfo::parse(url)?,
            None => Parameters::new(),
        };
        let service = from_url.get("service").or(given.get("service")).cloned();
        if let Some(service) = service.filter(|service| !service.expose_secret().is_empty()) {
            given.extend(service::lookup(service.expose_secret(), environment)?);
        }
        given.extend(from_url);
        Ok(Self(given))
    }

    /// Returns the parameter's value. Empty if it was not given.
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.expose_secret())
    }
}

pub(crate) fn refuse_variables(environment: &Environment) -> Result<(), SettingsError> {
    let set = REFUSED.into_iter().find(|name| environment.variable(name).is_some());
    set.map_or(Ok(()), |name| Err(SettingsError::Variable(name)))
}

fn with_passwords(
    mut addresses: Vec<Address>,
    given: &Given,
    dbname: &str,
    user: &str,
    environment: &Environment,
) -> Vec<Address> {
    let password = given.0.get("password").filter(|_| !given.get("password").is_empty());
    let file = match given.get("passfile") {
        "" => environment.in_home(".pgpass"),
        path => Some(PathBuf::from(path)),
    };
    for address in &mut addresses {
        let host = address.host_text();
        let login = pgpass::Login { host: &host, port: address.port, dbname, user };
        address.password = match (password, &file) {
            (Some(password), _) => Some(password.clone()),
            (None, Some(file)) => pgpass::lookup(file, &login),
            (None, None) => None,
        };
    }
    addresses
}

fn channel_binding(value: &str) -> Result<ChannelBinding, SettingsError> {
    match value {
        "disable" => Ok(ChannelBinding::Disable),
        "" | "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        _ => Err(SettingsError::Value { name: "channel_binding", allowed: "disable, prefer, require" }),
    }
}

fn target_session_attrs(value: &str) -> Result<TargetSessionAttrs, SettingsError> {
    let allowed = TargetSessionAttrs::ALLOWED;
    let name = "target_session_attrs";
    TargetSessionAttrs::parse(value).ok_or(SettingsError::Value { name, allowed })
}

/// Rejects unusual characters in a name. '@' is allowed in user names, because some providers use `user@server`.
fn check_name(part: &'static str, name: &str) -> Result<(), SettingsError> {
    let is_usual = |c: char| c.is_alphanumeric() || "_-.$+~ ".contains(c) || (c == '@' && part == "user");
    if name.chars().all(is_usual) { Ok(()) } else { Err(SettingsError::Name(part)) }
}

/// Parses the timeout in seconds. With 0 libpq waits forever. Here every wait has a limit, so 0 is the default.
fn connect_timeout(value: &str) -> Result<Duration, SettingsError> {
    match value.trim() {
        "" | "0" => Ok(limits::CONNECT_TIMEOUT),
        seconds => match seconds.parse::<u32>() {
            Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
            Err(_) => Err(SettingsError::Timeout),
        },
    }
}

#[cfg(test)]
mod tests;
