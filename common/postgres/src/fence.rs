//! Terminates the backends of a lost session before another agent runs its rows, because a machine that is frozen or disconnected cannot
//! cancel its own queries. Uses a separate connection, never a worker's.

use std::sync::Arc;

use muster_core::ids::{Epoch, RunId, SessionId, SlotId};
use muster_core::limits;
use muster_core::query::quote;
use tokio::time::sleep;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::failure::with_causes;
use crate::pool::{Connector, Opened, PoolError, ServerPool};
use crate::role::RoleRule;
use crate::target::Target;

/// Terminates backends of one run in one database.
pub struct Fence {
    pool: ServerPool,
    own_name: String,
    run: RunId,
}

impl Fence {
    /// # Errors
    /// When the pool cannot be created.
    pub fn try_new(target: &Target, run: RunId) -> Result<Self, PoolError> {
        let own_name = format!("muster:{run}:fence");
        let pool = ServerPool::try_new(Connector {
            settings: Arc::clone(&target.settings),
            application_name: own_name.clone(),
            setup: target.setup.clone(),
            // This connection runs none of the coordinator's SQL.
            role: RoleRule::Any,
        })?;
        Ok(Self { pool, own_name, run })
    }

    /// Terminates the backends of `slot` with an epoch before `below`, and waits until none remain. Returns how many were terminated. The
    /// caller limits the time.
    ///
    /// # Errors
    /// When it is not certain that none remain.
    pub async fn end_backends(&self, slot: SlotId, below: Epoch) -> Result<u32, String> {
        let Self { pool, own_name, run } = self;
        let (client, Opened { is_pooled, .. }) = pool.get().await.map_err(|error| error.to_string())?;
        let ended = EarlierBackends { client: &client, own_name, is_pooled, run, slot, below }.end().await;
        drop(client);
        // A server has few connections, and this one may be broken by the time it is needed again.
        pool.end_idle();
        ended
    }
}

/// The backends of a slot's earlier sessions.
struct EarlierBackends<'a> {
    client: &'a Client,
    own_name: &'a str,
    /// True if this connection goes through a pooler. The lost session may have been connected in another way.
    is_pooled: bool,
    run: &'a RunId,
    slot: SlotId,
    below: Epoch,
}

struct Backend {
    process: i32,
    /// True if the session was connected through a pooler. The backend then has the session's name only while it executes its query, and
    /// may serve another client immediately afterwards. It is therefore not terminated. The caller waits for it.
    is_shared: bool,
}

impl EarlierBackends<'_> {
    async fn end(&self) -> Result<u32, String> {
        let mut ended = Vec::new();
        loop {
            let remaining = self.remaining().await?;
            if remaining.is_empty() {
                return Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX));
            }
            for Backend { process, is_shared } in remaining {
                if is_shared || ended.contains(&process) {
                    continue;
                }
                let terminate = format!("SELECT pg_catalog.pg_terminate_backend({process})");
                let terminated = self.client.simple_query(&terminate).await;
                terminated.map_err(|error| format!("end backend {process}: {}", with_causes(&error)))?;
                ended.push(process);
            }
            sleep(limits::BACKENDS_POLL_EVERY).await;
        }
    }

    /// Returns these backends. Fails if the server does not show the name of this connection, because then it shows no names at all.
    async fn remaining(&self) -> Result<Vec<Backend>, String> {
        // Behind a pooler the name of this connection is set for one transaction only, so the shared session is unchanged.
        let own_name = if self.is_pooled {
            format!("SET LOCAL application_name = {}; ", quote(self.own_name))
        } else {
            String::new()
        };
        let query = format!(
            "{own_name}SELECT pid, application_name, pid = pg_catalog.pg_backend_pid() FROM pg_catalog.pg_stat_activity \
             WHERE application_name LIKE {} AND datname = current_database()",
            quote(&format!("muster:{}:%", self.run))
        );
        let messages = self.client.simple_query(&query).await;
        let messages = messages.map_err(|error| format!("read pg_stat_activity: {}", with_causes(&error)))?;
        let mut is_own_visible = false;
        let mut older = Vec::new();
        for message in &messages {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let (process, name, is_own) =
                columns(row).ok_or("unexpected columns in pg_stat_activity, as behind some poolers")?;
            is_own_visible |= is_own && name == self.own_name;
            let epoch = SessionId::epoch_of_application_name(name, self.run, self.slot);
            let is_shared = is_transaction_name(name);
            older.extend(epoch.filter(|epoch| *epoch < self.below).map(|_| Backend { process, is_shared }));
        }
        if is_own_visible {
            Ok(older)
        } else {
            Err("pg_stat_activity does not show application_name, as behind some poolers".to_owned())
        }
    }
}

/// Returns the process id and name of a backend, and whether it serves this connection. `None` if the columns differ, because a program
/// between agent and server may have sent them.
fn columns(row: &SimpleQueryRow) -> Option<(i32, &str, bool)> {
    let [process, name, is_own] = [0, 1, 2].map(|column| row.try_get(column).ok().flatten());
    Some((process?.parse().ok()?, name?, is_own? == "t"))
}

/// Returns true if the name was set for one transaction. Behind a pooler, workers add their number to the session's name and set it for
/// each transaction; see `Target::worker_name`.
fn is_transaction_name(application_name: &str) -> bool {
    application_name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_name_shows_whether_a_session_was_pooled() {
        let session = SessionId {
            run: RunId::try_new("20261130-1200-abcd").unwrap(),
            slot: SlotId::new(3),
            epoch: Epoch::new(7),
        };
        let direct = session.application_name();
        let behind_a_pooler = format!("{direct}/2");
        assert!(!is_transaction_name(&direct) && is_transaction_name(&behind_a_pooler));
        for name in [direct, behind_a_pooler] {
            let epoch = SessionId::epoch_of_application_name(&name, &session.run, session.slot);
            assert_eq!(epoch, Some(Epoch::new(7)), "{name}");
        }
    }
}
