//! A database URL that a coordinator sends to an agent. The agent does not trust it: nothing from the agent's environment, password file,
//! service file or certificates is added to it, and it cannot weaken the `sslmode` that the agent itself demands. The URL is also created
//! here, so that both sides agree on its six parameters.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::address::{Address, Host};
use crate::conninfo::{self, ConninfoError, Parameters};
use crate::environment::Environment;
use crate::settings::{Given, Origin, Settings, SettingsError, refuse_variables};
use crate::tls::{SslMode, TlsError};

const ALLOWED: [&str; 6] = ["dbname", "host", "password", "port", "sslmode", "user"];

/// Parameters that change the session and cannot be sent. The run fails rather than continue without them.
const NEEDED: [&str; 4] = ["channel_binding", "options", "sslcert", "target_session_attrs"];

#[derive(Debug, thiserror::Error)]
pub enum HandedOverError {
    #[error(
        "the database URL from the coordinator {}; an agent accepts only host, port, dbname, user, password and sslmode from a coordinator",
        parameter(name)
    )]
    Parameter {
        /// `None` if the text is not a word, because it may then be part of a password.
        name: Option<String>,
    },
    #[error("the database URL from the coordinator has no {0}, and an agent does not complete it")]
    Missing(&'static str),
    #[error(
        "the database URL from the coordinator names a socket directory, where the server may trust this agent's user without a \
         password; an agent accepts this only from a coordinator that the same user runs on the same machine"
    )]
    Socket,
    #[error("the database URL from the coordinator cannot be used: {0}")]
    Url(SettingsError),
    /// The cause names files and variables of this machine, so it is not sent to the coordinator.
    #[error(
        "the agent's own TLS settings do not allow the database URL from the coordinator; see the agent's log for the cause"
    )]
    Own(#[source] SettingsError),
}

fn parameter(name: &Option<String>) -> String {
    match name {
        Some(name) => format!("has the parameter '{name}'"),
        None => "has a parameter with an invalid name".to_owned(),
    }
}

/// The TLS settings that the agent itself demands for every connection to a database.
#[derive(Debug, Default)]
pub struct Demands {
    mode: Option<SslMode>,
    /// The value of `sslrootcert`, or the default root certificate if it exists.
    root: Option<String>,
    /// libpq's default path of the root certificate.
    default_root: Option<PathBuf>,
}

impl Demands {
    /// Reads the demands from the settings of the agent's own database, if it has one, and from its environment.
    ///
    /// # Errors
    /// When a value is invalid, because ignoring it would weaken the demands.
    pub fn of(own: Option<&Settings>, environment: &Environment) -> Result<Self, HandedOverError> {
        refuse_variables(environment).map_err(HandedOverError::Own)?;
        let of_settings = |name| own.and_then(|own| own.given.get(name)).map(|value| value.expose_secret());
        let of_variables = |variable| environment.variable(variable);
        let texts = [of_settings("sslmode"), of_variables("PGSSLMODE")].into_iter().flatten();
        let modes = texts
            .filter(|text| !text.is_empty())
            .map(|text| SslMode::parse(text).ok_or(HandedOverError::Own(SettingsError::Tls(TlsError::Mode))));
        let mode = modes.collect::<Result<Vec<_>, _>>()?.into_iter().max();
        let named = of_settings("sslrootcert").filter(|path| !path.is_empty());
        let default_root = environment.in_home(".postgresql/root.crt");
        let found = default_root.as_ref().filter(|path| path.exists()).and_then(|path| path.to_str());
        let root = named.or(of_variables("PGSSLROOTCERT")).or(found).map(str::to_owned);
        let mode = match (mode, root.as_deref()) {
            // Both rules are libpq's.
            (_, Some("system")) => Some(SslMode::VerifyFull),
            (Some(SslMode::Require), Some(_)) => Some(SslMode::VerifyCa),
            (mode, _) => mode,
        };
        Ok(Self { mode, root, default_root })
    }

    fn root_for(&self, mode: SslMode) -> String {
        match &self.root {
            Some(root) => root.clone(),
            None if mode == SslMode::VerifyFull => "system".to_owned(),
            // If the file does not exist, the error names it.
            None => self.default_root.as_ref().and_then(|path| path.to_str()).unwrap_or_default().to_owned(),
        }
    }
}

impl Settings {
    /// Resolves a URL from a coordinator. `is_same_user` returns true if the coordinator belongs to this agent's user on this machine. It
    /// is called only if the result matters.
    ///
    /// # Errors
    /// For parameters other than host, port, dbname, user, password and sslmode, and when the agent's own demands cannot be met.
    pub fn handed_over(
        url: &SecretString,
        demands: &Demands,
        is_same_user: impl FnOnce() -> bool,
    ) -> Result<Self, HandedOverError> {
        let mut given = conninfo::parse_all(url).map_err(|error| match error {
            ConninfoError::Unknown { place: _, name } => HandedOverError::Parameter { name },
            error => HandedOverError::Url(error.into()),
        })?;
        if let Some(name) = given.keys().find(|name| !ALLOWED.contains(name)) {
            return Err(HandedOverError::Parameter { name: Some((*name).to_owned()) });
        }
        let is_empty = |name: &&str| given.get(name).is_none_or(|value| value.expose_secret().is_empty());
        if let Some(name) = ["host", "user"].into_iter().find(is_empty) {
            return Err(HandedOverError::Missing(name));
        }
        let mode = match given.get("sslmode").map_or("", |mode| mode.expose_secret()) {
            "" => None,
            text => Some(SslMode::parse(text).ok_or(HandedOverError::Url(TlsError::Mode.into()))?),
        };
        if let Some(mode) = mode.max(demands.mode) {
            given.insert("sslmode", mode.to_string().into());
            if mode >= SslMode::VerifyCa {
                given.insert("sslrootcert", demands.root_for(mode).into());
            }
        }
        let settings = Self::of(Given(given), &Environment::empty()).map_err(|error| match error {
            error @ SettingsError::Tls(_) => HandedOverError::Own(error),
            error => HandedOverError::Url(error),
        })?;
        if settings.addresses.iter().any(Address::is_unix) && !is_same_user() {
            return Err(HandedOverError::Socket);
        }
        Ok(Self { origin: Origin::Coordinator { logged: Arc::default() }, ..settings })
    }

    /// Returns the URL for agents. It is a secret, because it includes values from variables, a service or a password file.
    ///
    /// # Errors
    /// When the session needs a parameter that cannot be sent.
    pub fn to_handed_over(&self) -> Result<SecretString, NotHandedOver> {
        let needed: Vec<&str> = NEEDED.into_iter().filter(|name| self.needs(name)).collect();
        if !needed.is_empty() {
            return Err(NotHandedOver(needed.join(", ")));
        }
        let password =
            |address: &Address| address.password.as_ref().map(|text| text.expose_secret().to_owned());
        let mut passwords = self.addresses.iter().map(password);
        let first = passwords.next().flatten();
        if passwords.any(|other| other != first) {
            return Err(NotHandedOver("a different password for each host".to_owned()));
        }
        let mut given = Parameters::new();
        given.insert("user", self.user.as_str().into());
        given.insert("dbname", self.dbname.as_str().into());
        let list = |item: &dyn Fn(&Address) -> String| {
            let items: Vec<String> = self.addresses.iter().map(item).collect();
            SecretString::from(items.join(","))
        };
        given.insert("host", list(&|address| self.host_for_others(address)));
        given.insert("port", list(&|address| address.port.to_string()));
        if let Some(password) = self.addresses.first().and_then(|address| address.password.clone()) {
            given.insert("password", password);
        }
        // For sockets alone sslmode is omitted, because verify modes would require certificates from the agent.
        if !self.addresses.iter().all(Address::is_unix) {
            given.insert("sslmode", self.mode_for_others().to_string().into());
        }
        let quoted = |value: &SecretString| value.expose_secret().replace('\\', r"\\").replace('\'', r"\'");
        let words: Vec<String> =
            given.iter().map(|(name, value)| format!("{name}='{}'", quoted(value))).collect();
        Ok(words.join(" ").into())
    }

    fn needs(&self, name: &str) -> bool {
        let value = self.given.get(name).map_or("", |value| value.expose_secret());
        match name {
            "channel_binding" => value == "require",
            "target_session_attrs" => !matches!(value, "" | "any"),
            _ => !value.is_empty(),
        }
    }

    /// Returns the `hostaddr`, if given, instead of the host, unless a certificate must contain the host's name.
    fn host_for_others(&self, address: &Address) -> String {
        match &address.host {
            Host::Tcp { ip: Some(ip), .. } if self.tls.mode != SslMode::VerifyFull => ip.to_string(),
            _ => address.host_text(),
        }
    }

    /// With a root certificate `require` means `verify-ca`. Each agent uses its own root certificate.
    fn mode_for_others(&self) -> SslMode {
        let has_root = self.given.get("sslrootcert").is_some_and(|root| !root.expose_secret().is_empty());
        match self.tls.mode {
            SslMode::Require if has_root => SslMode::VerifyCa,
            mode => mode,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this database is not handed over to agents without a database: a URL for agents consists of host, port, dbname, user, password and \
     sslmode, and this one also has {0}; remove it, or set DATABASE_URL for every agent"
)]
pub struct NotHandedOver(String);

#[cfg(test)]
mod tests;

/// Properties that hold for every URL from a coordinator, for the fuzzer and for the tests that replay its findings.
pub mod fuzzing {
    use super::*;

    const OWN: &str = "the-agents-own";

    /// The first byte selects the agent's demands and whether the coordinator belongs to the same user. The rest is the URL.
    pub fn check(data: &[u8]) {
        let Some((how, text)) = data.split_first() else { return };
        let Ok(text) = std::str::from_utf8(text) else { return };
        let mode = [None, Some(SslMode::Allow), Some(SslMode::Prefer), Some(SslMode::Require)];
        let mode = mode[usize::from(how % 4)];
        let demands = Demands { mode, root: None, default_root: Some(OWN.into()) };
        let is_same_user = how & 4 != 0;
        let Ok(settings) = Settings::handed_over(&text.into(), &demands, || is_same_user) else { return };
        let is_socket = |address: &Address| address.is_unix();
        assert!(
            is_same_user || !settings.addresses.iter().any(is_socket),
            "a socket is accepted from another user"
        );
        assert!(
            settings.addresses.iter().all(is_socket) || Some(settings.tls.mode) >= mode,
            "sslmode is weakened"
        );
        let known = |name: &&str| ALLOWED.contains(name) || *name == "sslrootcert";
        assert!(settings.given.keys().all(known), "another parameter is accepted");
        let is_own =
            |address: &Address| address.password.is_some() && !settings.given.contains_key("password");
        assert!(!settings.addresses.iter().any(is_own), "the agent's password is added");
        // The same settings can be sent again, with the same result.
        let again = settings.to_handed_over().expect("the settings have only the allowed parameters");
        let again = Settings::handed_over(&again, &demands, || is_same_user)
            .expect("the same URL was accepted before");
        assert_eq!(again.describe(), settings.describe());
    }
}
