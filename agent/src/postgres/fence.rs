//! Ends what a lost session left running in the database, before anybody else runs its rows: a machine that is frozen or cut off
//! cannot end its own queries. Asked on a connection of its own, never on a worker's.

use std::time::Duration;

use muster_common::ids::{Epoch, RunId, SessionId, SlotId};
use tokio::time::sleep;
use tokio_postgres::{Client, Row};

use super::connect::{self, SessionSetup};
use super::failure::with_causes;
use super::settings::Settings;

/// How often the server is asked whether they are gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends this run's backends of `slot` with an epoch below, and waits until none is left. The caller bounds the time.
/// Returns how many were ended, or why it is not known that none is left.
pub(crate) async fn end_backends(
    settings: &Settings,
    setup: &SessionSetup,
    run: &RunId,
    slot: SlotId,
    below: Epoch,
) -> Result<u32, String> {
    let own_name = format!("muster:{run}:fence");
    let connection = connect::connect(settings, &own_name, setup).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection.driver.run());
    let ended = end_all(&connection.client, &own_name, run, slot, below).await;
    drop(connection.client);
    // It ends with its client.
    let _ = driver.await;
    ended
}

async fn end_all(
    client: &Client,
    own_name: &str,
    run: &RunId,
    slot: SlotId,
    below: Epoch,
) -> Result<u32, String> {
    let mut ended = Vec::new();
    loop {
        let left = older_backends(client, own_name, run, slot, below).await?;
        if left.is_empty() {
            return Ok(u32::try_from(ended.len()).unwrap_or(u32::MAX));
        }
        for process in left.into_iter().filter(|process| !ended.contains(process)).collect::<Vec<_>>() {
            let ending = client.query_one("SELECT pg_terminate_backend($1)", &[&process]).await;
            ending.map_err(|error| format!("end backend {process}: {}", with_causes(&error)))?;
            ended.push(process);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Their process ids. An error where the server does not show our own name: then it shows nobody's, as behind some poolers.
async fn older_backends(
    client: &Client,
    own_name: &str,
    run: &RunId,
    slot: SlotId,
    below: Epoch,
) -> Result<Vec<i32>, String> {
    let look = "SELECT pid, application_name, pid = pg_backend_pid() FROM pg_stat_activity \
                WHERE application_name LIKE $1 AND datname = current_database()";
    let pattern = format!("muster:{run}:%");
    let rows = client.query(look, &[&pattern]).await;
    let rows = rows.map_err(|error| format!("look at pg_stat_activity: {}", with_causes(&error)))?;
    let mut is_own_visible = false;
    let mut older = Vec::new();
    for row in rows {
        let (process, name, is_own) = backend(&row).map_err(|error| {
            format!("read pg_stat_activity, which is not as PostgreSQL has it: {}", with_causes(&error))
        })?;
        is_own_visible |= is_own && name == own_name;
        let epoch = SessionId::epoch_of_application_name(&name, run, slot);
        older.extend(epoch.filter(|epoch| *epoch < below).map(|_| process));
    }
    if is_own_visible {
        Ok(older)
    } else {
        Err("pg_stat_activity does not show application_name, as behind some poolers".to_owned())
    }
}

/// Its process id, its name and whether it is our own. Something between us and the server may answer with other types.
fn backend(row: &Row) -> Result<(i32, String, bool), tokio_postgres::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}
