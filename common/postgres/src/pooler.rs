//! Tests whether a connection pooler shares a session between the transactions of its clients. The test can prove that it does, but not
//! that it does not. Therefore the only session state behind a pooler is what `--protocol prepared` requires: prepared statements. Their
//! names are random, so that another client's statement is never executed, and they are closed at the end.

use muster_core::limits;
use muster_core::sample::SqlState;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::connect;
use crate::failure::with_causes;
use crate::peer::first_row;
use crate::session_setup::SessionSetup;
use crate::settings::Settings;

/// The number of rounds of the test. In each, one of two clients holds a server connection while the other is tested for still having its
/// own.
const ROUNDS: usize = 4;

/// The alternatives for a run through a pooler.
const ALTERNATIVES: &str = "use --protocol extended or --protocol simple, which work through it, or a pooler in session mode \
                        (pool_mode = session in PgBouncer), or connect to the server's own port";

/// Rejects `--protocol prepared` when the pooler shares server connections between transactions.
///
/// # Errors
/// The reason, with the alternatives.
pub(crate) async fn refuse_shared_sessions(
    client: &Client,
    settings: &Settings,
    setup: &SessionSetup,
) -> Result<(), String> {
    let mut opening = std::pin::pin!(connect::connect(settings, "", setup));
    let proof = match timeout(limits::POOLER_TEST_TIMEOUT, opening.as_mut()).await {
        Ok(Ok(other)) => {
            let driver = tokio::spawn(other.driver.run());
            let proof = shared(client, &other.client).await;
            // Aborted at once, because its last query may wait for a server connection.
            driver.abort();
            proof
        }
        // The pool has no second server connection. If this client is still served, it has one of its own.
        Ok(Err(_)) | Err(_) => Ok(timeout(limits::POOLER_TEST_TIMEOUT, process(client, "")).await.is_err()),
    };
    match proof {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!(
            "there is a connection pooler in transaction mode between this agent and the server: it gives one server connection to several \
             clients, and prepared statements belong to a server connection; {ALTERNATIVES}"
        )),
        Err(error) => Err(format!(
            "there is a connection pooler between this agent and the server (the process id in its cancel key is not that of the backend), \
             and the test of its mode failed: {error}; {ALTERNATIVES}"
        )),
    }
}

/// Explains the error of a shared server connection that the test did not detect.
pub(crate) fn hint(sqlstate: SqlState) -> Option<&'static str> {
    (sqlstate.as_str() == "26000").then_some(
        "the connection pooler gave this client another server connection: use --protocol extended or simple, or the server's own port",
    )
}

/// Returns true if two clients were on one server connection, or one client was on two.
async fn shared(one: &Client, other: &Client) -> Result<bool, String> {
    let mut of_one = process(one, "").await?;
    let mut of_other: Option<i32> = None;
    for _ in 0..ROUNDS {
        // Within a transaction the client keeps its server connection.
        let held = match timeout(limits::POOLER_TEST_TIMEOUT, process(other, "BEGIN; ")).await {
            Ok(held) => Some(held?),
            // The pool has no other server connection. If this client is still served, it has one of its own.
            Err(_) => None,
        };
        let now = timeout(limits::POOLER_TEST_TIMEOUT, process(one, "")).await;
        let Ok(now) = now else { return Ok(true) };
        let now = now?;
        let has_moved =
            now != of_one || of_other.is_some_and(|before| held.is_some_and(|held| held != before));
        if has_moved || held == Some(now) {
            let _ = other.simple_query("ROLLBACK").await;
            return Ok(true);
        }
        of_one = now;
        of_other = held;
        if held.is_none() {
            return Ok(false);
        }
        other.simple_query("ROLLBACK").await.map_err(|error| with_causes(&error))?;
    }
    Ok(false)
}

async fn process(client: &Client, before: &str) -> Result<i32, String> {
    let query = format!("{before}SELECT pg_catalog.pg_backend_pid()");
    let messages = client.simple_query(&query).await.map_err(|error| with_causes(&error))?;
    let process = first_row(&messages).and_then(|row| row.try_get(0).ok().flatten());
    process.and_then(|process| process.parse().ok()).ok_or_else(|| "the result has no process id".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_takes_less_than_half_of_the_prepare_timeout() {
        let rounds = u32::try_from(ROUNDS).unwrap();
        assert!(limits::POOLER_TEST_TIMEOUT * (2 * rounds + 1) < limits::PREPARE_TIMEOUT / 2);
    }
}
