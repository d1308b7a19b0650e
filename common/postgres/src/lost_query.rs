//! Handles the query of a worker's lost connection. The server continues to run it until it notices the loss. The worker terminates this
//! query, or waits for its end, before it runs its next row, so a host never has two queries running at once. The one exception is a server
//! that can no longer be reached after the worker has moved to another one.

use std::time::Instant;

use muster_core::limits;
use muster_core::query::quote;
use muster_core::server_identity::ServerIdentity;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::address::Address;
use crate::connect;
use crate::failure::with_causes;
use crate::identity::identify;
use crate::peer::{Backend, Peer, first_row};
use crate::session_attrs::TargetSessionAttrs;
use crate::session_setup::SessionSetup;
use crate::settings::Settings;

/// A connection that was lost while it executed a query.
#[derive(Debug, Clone)]
pub(crate) struct LostQuery {
    pub(crate) address: Address,
    pub(crate) server: ServerIdentity,
    pub(crate) peer: Peer,
    /// Behind a pooler the name is unique to the worker, and only its transactions have it.
    pub(crate) application_name: String,
    pub(crate) lost_at: Instant,
}

/// Like [`wait_for_end`], after the worker has connected to another server. Uses a separate connection to the first server. If that server
/// cannot be reached, the query may still be running there, and the run continues on the other server.
///
/// # Errors
/// As [`wait_for_end`], and when the first server refuses the connection within [`limits::PREVIOUS_QUERY_TIMEOUT`] after the loss.
pub(crate) async fn wait_for_end_on_other_server(
    settings: &Settings,
    setup: &SessionSetup,
    lost: &LostQuery,
) -> Result<(), String> {
    let mut first = settings.clone();
    first.addresses = vec![lost.address.clone()];
    first.target_session_attrs = TargetSessionAttrs::Any;
    first.connect_timeout = settings.connect_timeout.min(limits::PREVIOUS_SERVER_TIMEOUT);
    let connection = match connect::connect(&first, &lost.application_name, setup).await {
        Ok(connection) => connection,
        Err(error) if error.is_unreachable() || lost.lost_at.elapsed() >= limits::PREVIOUS_QUERY_TIMEOUT => {
            tracing::warn!("a query may still be running on {}: {error}", lost.server);
            return Ok(());
        }
        Err(error) => return Err(unknown(&error.to_string())),
    };
    let driver = tokio::spawn(connection.driver.run());
    let ended = match identify(&connection.client, &lost.address).await {
        server if lost.server.is_same_server(&server) => wait_for_end(&connection.client, lost).await,
        server => {
            tracing::warn!("a query may still be running on {}: its address leads to {server}", lost.server);
            Ok(())
        }
    };
    drop(connection.client);
    // The driver ends after its client was dropped.
    let _ = driver.await;
    ended
}

/// Waits until the query no longer runs. Without a pooler its backend is terminated. Behind a pooler this only waits, because the backend
/// may serve another client when the signal arrives.
///
/// # Errors
/// When it is not known within [`limits::PREVIOUS_QUERY_TIMEOUT`] that the query has ended.
pub(crate) async fn wait_for_end(client: &Client, lost: &LostQuery) -> Result<(), String> {
    let deadline = Instant::now() + limits::PREVIOUS_QUERY_TIMEOUT;
    let (what, ending, asking) = match &lost.peer {
        Peer::Server(Backend { process, started: None }) => {
            return Err(unknown(&format!("the server does not show when backend {process} was started")));
        }
        Peer::Server(Backend { process, started: Some(started) }) => {
            let backend = format!(
                "FROM pg_catalog.pg_stat_get_activity({process}) WHERE extract(epoch FROM backend_start)::text = {}",
                quote(started)
            );
            let ending = format!("SELECT pg_catalog.pg_terminate_backend(pid) {backend}");
            (format!("backend {process}"), Some(ending), format!("SELECT pid {backend}"))
        }
        Peer::Pooler => {
            let asking = format!(
                "SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name = {} AND pid <> pg_catalog.pg_backend_pid()",
                quote(&lost.application_name)
            );
            ("the query behind the pooler".to_owned(), None, asking)
        }
    };
    let mut refusal = None;
    if let Some(ending) = ending
        && let Err(error) = client.simple_query(&ending).await
    {
        // The query may still end on its own.
        refusal = Some(with_causes(&error));
    }
    loop {
        let left = client.simple_query(&asking).await.map_err(|error| unknown(&with_causes(&error)))?;
        if first_row(&left).is_none() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let refusal =
                refusal.map(|refusal| format!("; it cannot be terminated: {refusal}")).unwrap_or_default();
            let within = limits::PREVIOUS_QUERY_TIMEOUT;
            return Err(unknown(&format!("{what} did not end within {within:?}{refusal}")));
        }
        sleep(limits::PREVIOUS_QUERY_POLL_EVERY).await;
    }
}

fn unknown(why: &str) -> String {
    format!(
        "the query of the worker's lost connection may still be running, so no other row of its hosts can be run: {why}"
    )
}
