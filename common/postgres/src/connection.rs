//! One session on one transport: the startup of PostgreSQL's protocol by tokio-postgres, then the settings of the session.

use secrecy::ExposeSecret;
use tokio_postgres::config::{SslMode as Negotiation, SslNegotiation};
use tokio_postgres::{Client, Config};

use crate::address::Address;
use crate::failure::{Problem, of_setup};
use crate::peer::{Peer, first_row};
use crate::session_attrs::TargetSessionAttrs;
use crate::session_setup::SessionSetup;
use crate::settings::Settings;
use crate::transport::{Encrypted, Relay, Transport, Wire};

/// The session that is wanted, whichever server it is opened on.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) application_name: &'a str,
    pub(crate) setup: &'a SessionSetup,
    /// True if the socket is to be passed to a worker.
    pub(crate) is_for_worker: bool,
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
    pub(crate) relay: Option<Relay>,
}

/// The half of a connection that talks to the server.
#[must_use = "a connection does nothing unless it is driven"]
pub struct Driver(tokio_postgres::Connection<Wire, Wire>);

impl Driver {
    /// Runs until the client is dropped or the connection ends. The client reports errors.
    pub async fn run(mut self) {
        self.drive().await;
    }

    pub(crate) async fn drive(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Request<'_> {
    /// Starts a session and sets it up.
    ///
    /// # Errors
    /// The reason why there is no session.
    pub(crate) async fn start_session(
        &self,
        transport: Transport,
        address: &Address,
    ) -> Result<Connection, Problem> {
        let is_encrypted = transport.is_encrypted();
        let config = self.config(address, is_encrypted);
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
        let (client, driver, peer) = self.set_up(client, connection).await?;
        Ok(Connection { client, driver, address: address.clone(), peer, is_encrypted, relay })
    }

    /// Sends the session's settings in one round trip, unless other clients share the session. Drives the connection until this is done.
    async fn set_up(
        &self,
        client: Client,
        mut connection: tokio_postgres::Connection<Wire, Wire>,
    ) -> Result<(Client, Driver, Peer), Problem> {
        let set_up = async {
            let peer = Peer::identify(&client).await.map_err(|error| of_setup(&error))?;
            check_session_attrs(&client, self.settings.target_session_attrs).await?;
            if !peer.is_pooler() {
                client.batch_execute(&self.setup.statement()).await.map_err(|error| of_setup(&error))?;
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

    fn config(&self, address: &Address, is_encrypted: bool) -> Config {
        let Self { settings, application_name, .. } = self;
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
            .application_name(*application_name)
            .channel_binding(settings.channel_binding);
        config
    }
}

/// The query that returns whether the server is a standby and whether its sessions are read-only.
const STATE: &str =
    "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'";

/// Fails unless the server satisfies the attribute. Must precede the setting that makes the session read-only.
async fn check_session_attrs(client: &Client, attrs: TargetSessionAttrs) -> Result<(), Problem> {
    if attrs == TargetSessionAttrs::Any {
        return Ok(());
    }
    let messages = client.simple_query(STATE).await.map_err(|error| of_setup(&error))?;
    let row = first_row(&messages);
    let [is_standby, is_read_only] =
        [0, 1].map(|column| row.is_some_and(|row| matches!(row.try_get(column), Ok(Some("t")))));
    attrs.mismatch(is_standby, is_read_only).map_or(Ok(()), |why| Err(Problem::Unsuitable(why)))
}
