//! Ends what a lost session left running in the database, before anybody else runs its rows: a machine that is frozen or cut off
//! cannot end its own queries. On a connection of its own, never on a worker's.

use std::sync::Arc;
use std::time::Duration;

use muster_common::ids::{Epoch, RunId, SessionId, SlotId};
use muster_common::query::quote;
use tokio::time::sleep;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::executor::Target;
use super::failure::with_causes;
use super::pool::{Connector, Opened, PoolError, ServerPool};
use super::role::RoleRule;

/// How often the server is asked whether they are gone.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Ends backends of one run in one database.
pub(crate) struct Fence {
    pool: ServerPool,
    own_name: String,
    run: RunId,
}

impl Fence {
    /// # Errors
    /// Why there cannot be a pool.
    pub(crate) fn try_new(target: &Target, run: RunId) -> Result<Self, PoolError> {
        let own_name = format!("muster:{run}:fence");
        let pool = ServerPool::try_new(Connector {
            settings: Arc::clone(&target.settings),
            application_name: own_name.clone(),
            setup: target.setup.clone(),
            // It runs no SQL of the coordinator.
            role: RoleRule::Any,
        })?;
        Ok(Self { pool, own_name, run })
    }

    /// Ends the backends of `slot` with an epoch below, and waits until none is left. The caller bounds the time.
    ///
    /// # Errors
    /// Why it is not known that none is left.
    pub(crate) async fn end_backends(&self, slot: SlotId, below: Epoch) -> Result<u32, String> {
        let Self { pool, own_name, run } = self;
        let (client, Opened { is_pooled, .. }) = pool.get().await.map_err(|error| error.to_string())?;
        let ended = Older { client: &client, own_name, is_pooled, run, slot, below }.end().await;
        drop(client);
        // The server's connections are scarce, and this one may be dead when it is needed again.
        pool.end_idle();
        ended
    }
}

/// The backends of a slot's earlier sessions.
struct Older<'a> {
    client: &'a Client,
    own_name: &'a str,
    /// This connection is behind a pooler. It says nothing about the lost session, which may have come another way.
    is_pooled: bool,
    run: &'a RunId,
    slot: SlotId,
    below: Epoch,
}

struct Backend {
    process: i32,
    /// Behind a pooler a backend has the name of a session only while it executes its query, and may serve another client right afterwards.
    /// So such a backend is waited for and never ended.
    is_shared: bool,
}

impl Older<'_> {
    async fn end(&self) -> Result<u32, String> {
        let mut ended = Vec::new();
        loop {
            let left = self.left().await?;
            if left.is_empty() {
                return Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX));
            }
            for Backend { process, is_shared } in left {
                if is_shared || ended.contains(&process) {
                    continue;
                }
                let ending = format!("SELECT pg_catalog.pg_terminate_backend({process})");
                let ending = self.client.simple_query(&ending).await;
                ending.map_err(|error| format!("end backend {process}: {}", with_causes(&error)))?;
                ended.push(process);
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// These backends. Fails where the server does not show our own name, because then it shows no names at all.
    async fn left(&self) -> Result<Vec<Backend>, String> {
        // An unnamed statement, with our own name set for one transaction behind a pooler: nothing stays behind.
        let own_name = if self.is_pooled {
            format!("SET LOCAL application_name = {}; ", quote(self.own_name))
        } else {
            String::new()
        };
        let question = format!(
            "{own_name}SELECT pid, application_name, pid = pg_catalog.pg_backend_pid() FROM pg_catalog.pg_stat_activity \
             WHERE application_name LIKE {} AND datname = current_database()",
            quote(&format!("muster:{}:%", self.run))
        );
        let messages = self.client.simple_query(&question).await;
        let messages = messages.map_err(|error| format!("read pg_stat_activity: {}", with_causes(&error)))?;
        let mut is_own_visible = false;
        let mut older = Vec::new();
        for message in &messages {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let (process, name, is_own) =
                columns(row).ok_or("unexpected columns in pg_stat_activity, as behind some poolers")?;
            is_own_visible |= is_own && name == self.own_name;
            let epoch = SessionId::epoch_of_application_name(name, self.run, self.slot);
            let is_shared = is_of_one_transaction(name);
            older.extend(epoch.filter(|epoch| *epoch < self.below).map(|_| Backend { process, is_shared }));
        }
        if is_own_visible {
            Ok(older)
        } else {
            Err("pg_stat_activity does not show application_name, as behind some poolers".to_owned())
        }
    }
}

/// The process id and the name of a backend, and whether it is our own. `None` for other columns: a program between us and the server may
/// have answered.
fn columns(row: &SimpleQueryRow) -> Option<(i32, &str, bool)> {
    let [process, name, is_own] = [0, 1, 2].map(|column| row.try_get(column).ok().flatten());
    Some((process?.parse().ok()?, name?, is_own? == "t"))
}

/// A worker behind a pooler adds its number to the session's name, and sets it for each transaction; see `Target::worker_name`.
fn is_of_one_transaction(application_name: &str) -> bool {
    application_name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_lost_session_was_connected_is_in_its_name() {
        let session = SessionId {
            run: RunId::try_new("20261130-1200-abcd").unwrap(),
            slot: SlotId::new(3),
            epoch: Epoch::new(7),
        };
        let direct = session.application_name();
        let behind_a_pooler = format!("{direct}/2");
        assert!(!is_of_one_transaction(&direct) && is_of_one_transaction(&behind_a_pooler));
        for name in [direct, behind_a_pooler] {
            let epoch = SessionId::epoch_of_application_name(&name, &session.run, session.slot);
            assert_eq!(epoch, Some(Epoch::new(7)), "{name}");
        }
    }
}
