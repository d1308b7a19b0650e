//! The first connection of a worker, on which the properties of the server are read.

use std::time::{Duration, Instant};

use muster_core::prepare::Database;
use muster_core::protocol::Protocol;
use muster_core::server_identity::ServerIdentity;
use tokio_postgres::Client;

use crate::address::Address;
use crate::connect::{WorkerConnection, connect_worker};
use crate::identity::identify;
use crate::peer::Peer;
use crate::pooler;
use crate::server::{ServerFacts, describe_server};
use crate::session_setup::SessionSetup;
use crate::target::Target;

/// What is known after connecting.
pub(crate) struct Opened {
    /// How long connecting took.
    pub(crate) connect: Duration,
    pub(crate) facts: ServerFacts,
    pub(crate) server: ServerIdentity,
}

/// Connects, reads the server's properties, and checks that the run may use this role and this pooler.
pub(crate) async fn open(target: &Target) -> Result<(WorkerConnection, Opened), String> {
    let connecting = Instant::now();
    let ask = async |client: &Client, address: &Address, peer: &Peer| {
        let connect = connecting.elapsed();
        let facts = describe_server(client).await.map_err(|error| error.to_string())?;
        target.role.check(client).await.map_err(|error| error.to_string())?;
        if facts.is_superuser {
            target.warn_of_superuser();
        }
        let server = identify(client, address).await;
        if peer.is_pooler() && target.spec.load.protocol == Protocol::Prepared {
            pooler::refuse_shared_sessions(client, &target.settings, &target.setup).await?;
        }
        Ok(Opened { connect, facts, server })
    };
    connect_worker(&target.settings, &target.application_name, &target.setup, ask).await
}

/// Describes the database for the report.
pub(crate) fn database(
    facts: ServerFacts,
    server: ServerIdentity,
    setup: &SessionSetup,
    is_pooled: bool,
) -> Database {
    let ServerFacts { server_version, timescaledb, mut settings, .. } = facts;
    if let (true, Some(mode)) = (is_pooled, setup.plan_cache_mode) {
        // Each transaction of the run sets this mode, but the query that read the settings did not.
        settings.insert("plan_cache_mode".to_owned(), mode.to_string());
    }
    Database { server_version, timescaledb, settings, identities: vec![server] }
}
